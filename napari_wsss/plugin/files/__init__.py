"""Files into napari and out of it: readers, writers, the sample slide, exports."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
