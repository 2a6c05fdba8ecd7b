"""The Teach dock: from clicks on tiles to a map of the whole slide, and to a model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
