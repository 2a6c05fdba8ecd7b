"""Results of slides: what each store is, which there are of a slide, what is called how, and their numbers. No Qt."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
