"""Opening a slide: the formats, asked one after the other, and the slide over the first that knows the file."""

from __future__ import annotations

import importlib
from pathlib import Path

from tiling.errors import SlideError
from tiling.slides.level import LevelReader
from tiling.slides.readers import srgb
from tiling.slides.slide import Slide

__all__ = ["FORMATS", "open_slide"]

FORMATS: tuple[str, ...] = (
    # Asked in this order. Each module has ``open_reader(path) -> LevelReader | None`` (None: not my format).
    "tiling.slides.readers.ome_zarr",
    "tiling.slides.readers.openslide",
    "tiling.slides.readers.tiff",
    "tiling.slides.readers.image",
)


def open_slide(
    path: str | Path, mpp: float | None = None, mpp_source: str = "--mpp", *, icc: bool = False
) -> Slide:
    """Open a slide of any known format.

    Parameters
    ----------
    path : str or Path
        A file, or the folder of a DICOM series or OME-Zarr image.
    mpp : float, optional
        µm per level-0 pixel; overrides what the file says.
    mpp_source : str
        How the user gave ``mpp``, for messages and the receipt.
    icc : bool
        Convert colours to sRGB by the profile in the file, if it has one. Off by default: models are trained on
        colours as they are stored.

    Returns
    -------
    Slide
        Also when the file does not say its resolution: then ``slide.mpp`` is None.

    Raises
    ------
    SlideError
        When the path is missing, no format knows the file, or it is damaged.
    ResolutionError
        When ``mpp`` is implausible.
    """
    path = Path(path)
    if not path.exists():
        raise SlideError(f"{path} does not exist; check the path.")
    problems: list[SlideError] = []
    for name in FORMATS:
        try:
            reader = importlib.import_module(name).open_reader(path)
        except SlideError as error:
            problems.append(error)
            continue
        except OSError as error:
            raise SlideError(f"{path} cannot be read: {error.strerror or error}; check the file.") from error
        if reader is not None:
            return _as_slide(reader, mpp, mpp_source, icc)
    if problems:
        raise problems[-1]
    raise SlideError(
        f"{path} is not a slide that OpenSlide, tifffile, Pillow or zarr can read; "
        "check that the file is complete, or convert it to a pyramidal TIFF."
    )


def _as_slide(reader: LevelReader, mpp: float | None, mpp_source: str, icc: bool) -> Slide:
    """Return the slide over a reader; close the reader when that fails."""
    try:
        if icc:
            reader = srgb.in_srgb(reader)
        return Slide(reader, mpp, mpp_source)
    except SlideError:
        reader.close()
        raise
