"""The result store of one slide: its layout, its writing row by row, its receipt, its reading."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
