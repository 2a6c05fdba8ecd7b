"""One slide of a batch: what it is called, where it lies, and what its manifest says of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tiling.errors import JobError

__all__ = ["SlideJob", "check_slide_id", "expanded"]

_FORBIDDEN_IN_IDS = frozenset('/\\:*?"<>|\0')


@dataclass(frozen=True)
class SlideJob:
    """One slide of a batch.

    Attributes
    ----------
    slide_id : str
        Name of the result: ``<slide_id>.zarr``.
    path : Path
        The slide: a file, or a folder for DICOM and OME-Zarr.
    mpp : float or None
        µm per pixel from the manifest; None leaves it to the slide's own metadata.
    """

    slide_id: str
    path: Path
    mpp: float | None = None


def check_slide_id(slide_id: str, where: str) -> None:
    """Refuse an id that cannot be a file name.

    Raises
    ------
    JobError
        Its message starts with ``where``.
    """
    if slide_id in ("", ".", "..") or _FORBIDDEN_IN_IDS & set(slide_id) or not slide_id.isprintable():
        raise JobError(
            f"{where} slide_id {slide_id!r} cannot be a file name; use letters, digits, '-', '_' and '.'."
        )


def expanded(path: str, where: str) -> Path:
    """Return a path with ``~`` and ``~name`` replaced by home folders.

    Raises
    ------
    JobError
        When there is no such user, or the path holds a zero byte.
    """
    if "\0" in path:
        raise JobError(f"{where} the path {path!r} holds a zero byte, which no file name can.")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise JobError(
            f"{where} the path {path!r} names the home folder of a user who does not exist."
        ) from error
