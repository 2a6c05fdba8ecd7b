"""TIFF and OME-TIFF through tifffile, piece by piece: pyramids and flat pictures that OpenSlide does not read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.errors import SlideError
from tiling.folders import is_own_export
from tiling.geometry import Box
from tiling.slides.level import LevelReader
from tiling.slides.ome_xml import other_files
from tiling.slides.pictures import Picture, left_out, main_picture
from tiling.slides.readers.oriented import oriented
from tiling.slides.readers.segments import SegmentReader
from tiling.slides.readers.tiff_file import PositionedFile, is_tiff, opened
from tiling.slides.readers.tiff_layout import Plane, levels_of, sources
from tiling.slides.readers.tiff_pixels import JPEG, samples_of
from tiling.slides.readers.tiff_says import channels_of, picture_of, statements_of

__all__ = ["TiffReader", "open_reader"]

_ORIENTATION, _ICC = 274, 34675


def open_reader(path: Path) -> LevelReader | None:
    """Open a TIFF with tifffile; None when the file is no TIFF.

    Raises
    ------
    SlideError
        When the file is damaged, holds pixels that the models do not understand, or cannot be read in pieces.
    """
    if path.is_dir() or not is_tiff(path):
        return None
    if is_own_export(path):
        raise SlideError(
            f"{path} is a label image that we exported, not a slide; name the slide it was made from."
        )
    with opened(path) as tiff:
        others = other_files(tiff.ome_metadata or "") if tiff.is_ome else ()
        if others:
            raise SlideError(
                f"{path} is one of {len(others)} files of an OME-TIFF, and a slide must be one file; "
                "export it as a single OME-TIFF."
            )
        series, pictures = _main_series(path, tiff)
        reader = TiffReader(path, tiff, series, pictures)
        return oriented(reader, _orientation(series.keyframe))


class TiffReader(SegmentReader):
    """A :class:`tiling.slides.LevelReader` over one picture of a TIFF file.

    Parameters
    ----------
    path : Path
    tiff : tifffile.TiffFile
        Open while the reader is made; not used later.
    series : tifffile.TiffPageSeries
        The picture.
    pictures : sequence of Picture
        This one, and what else the file holds.
    """

    format = "tiff"

    def __init__(self, path: Path, tiff: Any, series: Any, pictures: Sequence[Picture]) -> None:
        self.vendor = "ome" if tiff.is_ome else ("imagej" if tiff.is_imagej else "")
        self.files = (path,)
        self._samples = samples_of(path, series, channels_of(tiff, series))
        note = left_out(pictures, 0)
        self.warnings = (*self._samples.warnings, *((note,) if note else ()))
        self.beside = tuple(str(picture) for picture in pictures[1:])
        self._stored = levels_of(path, tiff, series, self._samples.planes)
        super().__init__(path, tuple(stored.level for stored in self._stored))
        self.bounds = Box(0, 0, self.levels[0].width, self.levels[0].height)
        self.statements = statements_of(tiff, series)
        profile = series.keyframe.tags.get(_ICC)
        self.icc_profile = profile.value if profile is not None and isinstance(profile.value, bytes) else None
        # All are cached on first use: from a file that is closed by then, and in a way not safe for threads.
        for stored in self._stored:
            for plane in stored.planes:
                plane.page.decode  # noqa: B018
                plane.page.jpegtables  # noqa: B018
        self._file = PositionedFile(path)

    def decode(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Return one tile or strip as (h, w, 3) uint8; see :class:`SegmentReader`."""
        stored = self._stored[level]
        info = stored.level
        assert info.tile is not None
        if stored.row_bytes is not None:
            rows = min(info.tile[1], info.height - row * info.tile[1])
            start, size = row * info.tile[1] * stored.row_bytes, rows * stored.row_bytes
            read = (self._file.read(plane.offset + start, size) for plane in stored.planes)
            parts = [np.frombuffer(data, np.uint8).reshape(rows, info.width, -1) for data in read]
        else:
            index = row * math.ceil(info.width / info.tile[0]) + column
            decoded = [self._decode_piece(plane, index) for plane in stored.planes]
            parts = [part for part in decoded if part is not None]
            if len(parts) < len(decoded):
                return np.full((info.tile[1], info.tile[0], 3), 255, np.uint8)
        return self._samples.to_rgb(parts[0] if len(parts) == 1 else np.concatenate(parts, 2))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        super().close()
        self._file.close()

    def _decode_piece(self, plane: Plane, index: int) -> NDArray[np.uint8] | None:
        """Return (h, w, samples) of a piece; None when the file leaves it out (nothing was scanned)."""
        page, index = plane.page, plane.first + index
        if page.databytecounts[index] == 0:
            return None
        data = self._file.read(page.dataoffsets[index], page.databytecounts[index])
        options = {}
        if page.compression in JPEG:
            options = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        piece = page.decode(data, index, **options)[0]
        if piece is None:
            return None
        pixels: NDArray[np.uint8] = piece[0]
        return pixels


def _main_series(path: Path, tiff: Any) -> tuple[Any, list[Picture]]:
    """Return the picture of the file that is the slide; what is known of it, and of those that are left out."""
    found = [s for s in tiff.series if s.keyframe is not None and 0 not in s.shape]
    if not found:
        raise SlideError(f"{path} is a TIFF without a picture; copy or export it again.")
    pictures = [picture_of(tiff, series) for series in found]
    chosen = main_picture(pictures)
    used = sources(tiff, found[chosen])
    others = [pictures[i] for i, series in enumerate(found) if i != chosen and series not in used]
    return found[chosen], [pictures[chosen], *others]


def _orientation(page: Any) -> int:
    """Return the TIFF orientation, 1 (upright) where the tag is missing or senseless."""
    tag = page.tags.get(_ORIENTATION)
    return tag.value if tag is not None and isinstance(tag.value, int) else 1
