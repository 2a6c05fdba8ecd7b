"""Synthetic tissue: seeded H&E-like slides with known truth, and weakly labelled patches cut from them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
