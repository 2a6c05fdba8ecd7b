"""What every dock uses: background jobs, messages, preferences, small widgets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
