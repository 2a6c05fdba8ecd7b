"""Slides and results as napari layers: frames of coordinates, pyramids, colours, markers.

Other rooms use the names listed in ``__init__.pyi``; each is loaded on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
