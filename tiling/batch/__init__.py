"""Many slides: which ones, each on its own, alone or on a cluster, and the summary."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
