"""One slide of a batch: what it is called, where it lies, and what its manifest says of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tiling.errors import JobError

__all__ = ["SlideJob", "check_slide_id"]

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
