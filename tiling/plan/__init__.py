"""What a run will do, decided before anything is written: tissue, region of interest, tiles."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
