"""What a person taught: slides, tile labels, features, a head, and the models that follow."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
