"""Slides of every format as one thing: pixels of any region at any µm per pixel."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
