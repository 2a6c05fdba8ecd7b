"""Networks, CAM, gate, checkpoints and bundles: shared by the plugin, the command line and training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
