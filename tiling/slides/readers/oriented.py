"""The orientation of a stored picture (TIFF tag 274, EXIF): turn and mirror another reader's levels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiling.geometry import Box
from tiling.slides.level import Level, LevelReader

__all__ = ["OrientedReader", "oriented"]

# What the stored axes mean: are rows and columns swapped, and then, does x and does y run backwards?
_MEANING: dict[int, tuple[bool, bool, bool]] = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def oriented(reader: LevelReader, orientation: int) -> LevelReader:
    """Return a reader that shows the picture upright; the same one when it already is.

    Parameters
    ----------
    reader : LevelReader
        Levels as they are stored.
    orientation : int
        TIFF/EXIF orientation, 1 to 8; anything else counts as 1.
    """
    return reader if orientation not in range(2, 9) else OrientedReader(reader, orientation)


class OrientedReader:
    """A :class:`tiling.slides.level.LevelReader` in upright coordinates over one in stored coordinates."""

    def __init__(self, reader: LevelReader, orientation: int) -> None:
        self._reader = reader
        self._swap, self._flip_x, self._flip_y = _MEANING[orientation]
        self.path: Path = reader.path
        self.format: str = reader.format
        self.vendor: str = reader.vendor
        self.files = reader.files
        self.icc_profile = reader.icc_profile
        self.warnings = (
            *reader.warnings,
            f"The picture is stored with orientation {orientation} and turned.",
        )
        self.levels = tuple(self._upright_level(level) for level in reader.levels)
        self.bounds = self._upright_box(reader.bounds)
        self.held_bytes = reader.held_bytes
        self.fingerprint = reader.fingerprint
        self.beside = getattr(reader, "beside", ())
        self.statements = reader.statements
        if self._swap:
            self.statements = tuple(s.turned() for s in reader.statements)

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a part of one level in upright coordinates; see :class:`tiling.slides.level.LevelReader`."""
        info = self.levels[level]
        if self._flip_x:
            x = info.width - x - width
        if self._flip_y:
            y = info.height - y - height
        if self._swap:
            pixels = self._reader.read_level(level, y, x, height, width).swapaxes(0, 1)
        else:
            pixels = self._reader.read_level(level, x, y, width, height)
        if self._flip_x:
            pixels = pixels[:, ::-1]
        if self._flip_y:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)

    def close(self) -> None:
        """Close the reader below."""
        self._reader.close()

    def _upright_level(self, level: Level) -> Level:
        if not self._swap:
            return level
        tile = None if level.tile is None else (level.tile[1], level.tile[0])
        return replace(level, width=level.height, height=level.width, tile=tile)

    def _upright_box(self, box: Box) -> Box:
        width, height = self.levels[0].width, self.levels[0].height
        if self._swap:
            box = Box(box.y, box.x, box.height, box.width)
        x = width - box.right if self._flip_x else box.x
        y = height - box.bottom if self._flip_y else box.y
        return Box(x, y, box.width, box.height)
