"""Annotations that people drew, as polygons in level-0 pixels: one reader per file format."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
