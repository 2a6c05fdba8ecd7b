"""The typed errors of the project: each message is one sentence that names the file, what is wrong and what to do.

They are raised anywhere and turned into messages only at the borders (the CLI and the napari panel).
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "DataError",
    "DeviceError",
    "ExportError",
    "RegionError",
    "ResolutionError",
    "RunTooLargeError",
    "SlideError",
    "StoreError",
    "StoreLockedError",
    "StoreMismatchError",
    "TrainingError",
    "WsssError",
]


class WsssError(Exception):
    """Base of all errors that a user can cause or mend."""


class SlideError(WsssError):
    """A slide cannot be opened or read."""


class ResolutionError(SlideError):
    """The µm per pixel of a slide is missing, implausible or contradictory."""


class RegionError(WsssError):
    """A region or region of interest does not fit the slide."""


class StoreError(WsssError):
    """A result store cannot be written, read or trusted."""


class StoreLockedError(StoreError):
    """Another process owns the store."""


class StoreMismatchError(StoreError):
    """The store was made from another slide, bundle or parameters."""


class ExportError(WsssError):
    """A result cannot be exported."""


class BundleError(WsssError):
    """A model bundle or a weights file cannot be used."""


class DataError(WsssError):
    """A training or evaluation set is not as it must be."""


class TrainingError(WsssError):
    """A training run cannot go on."""


class DeviceError(WsssError):
    """The device, precision or backend asked for is not there."""


class RunTooLargeError(WsssError):
    """The run needs more memory than there is."""
