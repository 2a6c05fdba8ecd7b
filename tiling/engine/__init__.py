"""The engine: slide and predictor in, store out, told as a stream of events."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
