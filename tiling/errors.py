"""The tree of typed errors: each message is one sentence that names the file, what is wrong and what to do.

They are raised anywhere and turned into messages only at the borders (the command line and the napari panel). Every
class has a ``code`` that never changes: what ``--json``, logs and scripts carry, and what the panel finds its words
by::

    WsssError                       error
    ├── UsageProblem                usage               the command itself is wrong
    ├── JobError                    slide-list          the slides, folders or manifest of a batch
    ├── ClusterError                cluster             worker processes, Dask
    ├── SlideError                  slide
    │   ├── ResolutionError         resolution          no µm per pixel, or an implausible one
    │   ├── SlideChangedError       slide-changed       while it was being read
    │   └── SlideContactError       slide-contact       opening it crashes, never ends, takes all memory
    ├── RegionError                 region
    ├── StoreError                  store
    │   ├── StoreLockedError        store-locked        another process writes it
    │   ├── StoreMismatchError      store-mismatch      made from something else
    │   ├── StoreDamagedError       store-damaged       not what was written
    │   └── StoreFullError          disk-full
    ├── ExportError                 export
    ├── BundleError                 bundle
    ├── PredictionError             prediction          what a network returned
    ├── DataError                   data                a training or evaluation set
    │   └── AnnotationError         annotations         a file of annotations
    ├── TrainingError               training
    ├── ProjectError                project             a folder of what a person taught
    │   ├── ProjectReadOnlyError    project-read-only   opened elsewhere, or for reading
    │   ├── LabelError              label               a tile label or its log
    │   ├── FeaturesError           features            not prepared, or for something else
    │   └── FewLabelsError          few-labels          nothing to fit or to train on yet
    ├── DeviceError                 device
    └── RunTooLargeError            memory
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

__all__ = [
    "AnnotationError",
    "BundleError",
    "ClusterError",
    "DataError",
    "DeviceError",
    "ExportError",
    "FeaturesError",
    "FewLabelsError",
    "JobError",
    "LabelError",
    "PredictionError",
    "ProjectError",
    "ProjectReadOnlyError",
    "RegionError",
    "ResolutionError",
    "RunTooLargeError",
    "SlideChangedError",
    "SlideContactError",
    "SlideError",
    "StoreDamagedError",
    "StoreError",
    "StoreFullError",
    "StoreLockedError",
    "StoreMismatchError",
    "TrainingError",
    "UsageProblem",
    "WsssError",
    "disk_errors_as",
]


class WsssError(Exception):
    """Base of all errors that a user can cause or mend.

    Attributes
    ----------
    code : str
        Stable name of the kind of error, for programs.
    """

    code: ClassVar[str] = "error"


class UsageProblem(WsssError):
    """The command itself is wrong: nothing was started."""

    code = "usage"


class JobError(WsssError):
    """The list of slides cannot be used as it is; nothing was started."""

    code = "slide-list"


class ClusterError(WsssError):
    """Dask is not installed, its scheduler cannot be reached, or workers cannot be started."""

    code = "cluster"


class SlideError(WsssError):
    """A slide cannot be opened or read. Its message is one line, however many the library below has written."""

    code = "slide"

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


class ResolutionError(SlideError):
    """The µm per pixel of a slide is missing, implausible or contradictory."""

    code = "resolution"


class SlideChangedError(SlideError):
    """A slide is no longer the file that it was when its run began."""

    code = "slide-changed"


class SlideContactError(SlideError):
    """Opening a slide crashes the program that does it, does not end, or takes all memory."""

    code = "slide-contact"


class RegionError(WsssError):
    """A region or region of interest does not fit the slide."""

    code = "region"


class StoreError(WsssError):
    """A result store cannot be written, read or trusted."""

    code = "store"


class StoreLockedError(StoreError):
    """Another process owns the store."""

    code = "store-locked"


class StoreMismatchError(StoreError):
    """The store was made from another slide, bundle or parameters."""

    code = "store-mismatch"


class StoreDamagedError(StoreError):
    """The store does not hold what was written to it: files are lost, changed, added or cannot be read."""

    code = "store-damaged"


class StoreFullError(StoreError):
    """The disk has no room left for the store."""

    code = "disk-full"


class ExportError(WsssError):
    """A result cannot be exported."""

    code = "export"


class BundleError(WsssError):
    """A model bundle or a weights file cannot be used."""

    code = "bundle"


class PredictionError(WsssError):
    """A network returned something that is no prediction: another shape than promised, or numbers that are none."""

    code = "prediction"


class DataError(WsssError):
    """A training or evaluation set is not as it must be."""

    code = "data"


class AnnotationError(DataError):
    """A file of annotations cannot be read, or holds nothing that can be used."""

    code = "annotations"


class TrainingError(WsssError):
    """A training run cannot go on."""

    code = "training"


class DeviceError(WsssError):
    """The device, precision or backend asked for is not there."""

    code = "device"


class RunTooLargeError(WsssError):
    """The run needs more memory than there is."""

    code = "memory"


class ProjectError(WsssError):
    """A project's folder cannot be made, read or changed."""

    code = "project"


class ProjectReadOnlyError(ProjectError):
    """The project is open somewhere else, or was opened for reading."""

    code = "project-read-only"


class LabelError(ProjectError):
    """A tile label cannot be given, kept or read."""

    code = "label"


class FeaturesError(ProjectError):
    """The features of a slide are missing, or were made for something else."""

    code = "features"


class FewLabelsError(ProjectError):
    """There are too few labels for what was asked."""

    code = "few-labels"


@contextmanager
def disk_errors_as(kind: type[WsssError], what: str, advice: str) -> Iterator[None]:
    """Turn an ``OSError`` into an error of ours: what cannot be done, why the system says so, and what to do.

    Parameters
    ----------
    kind : type
        Of the error that is raised.
    what, advice : str
        Start and end of its sentence.
    """
    try:
        yield
    except OSError as error:
        raise kind(f"{what}: {error.strerror or error}; {advice}.") from error
