"""What is trained: stage 1 with its CAMs, stage 2 with its gate, losses and initial weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
