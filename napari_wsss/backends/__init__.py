"""What runs the networks of a bundle, torch or OpenVINO, behind one small interface."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
