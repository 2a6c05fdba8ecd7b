"""A slide made of numpy arrays: for tests, and for API users whose pixels are already in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiling.errors import SlideError
from tiling.geometry import Box
from tiling.slides.level import Level
from tiling.slides.resolution import exact_downsample
from tiling.slides.statements import Statement

__all__ = ["ArrayReader"]


class ArrayReader:
    """A :class:`tiling.slides.level.LevelReader` over arrays, with the oddities of real slides on demand.

    Parameters
    ----------
    levels : (h, w, 3) uint8, or a sequence of them
        The pyramid, finest first.
    mpp : float or (float, float), optional
        µm per level-0 pixel, or one value per axis; None for a slide that does not say.
    downsamples : sequence of float, optional
        True downsample of each level when it cannot be read off the sizes.
    bounds : Box, optional
        Scanned area in level-0 pixels; the whole slide by default.
    alpha : sequence of (h, w) uint8, optional
        Coverage of each level: 0 = never scanned (white), 255 = scanned.
    fail_at : Box, optional
        Level-0 box: a read that touches it raises :class:`SlideError`, like a corrupt tile.
    fail_level : int, optional
        Only reads of this level fail there; all levels by default.
    delay : float
        Seconds that every read sleeps, like a slow disk.
    path : str or Path
        Name for messages and identity; need not exist.

    Attributes
    ----------
    reads : list of (int, Box)
        Every read so far: level and box in level pixels.
    """

    format = "array"
    fingerprint = ""

    def __init__(
        self,
        levels: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
        *,
        mpp: float | tuple[float, float] | None = None,
        downsamples: Sequence[float] | None = None,
        bounds: Box | None = None,
        alpha: Sequence[NDArray[np.uint8]] | None = None,
        fail_at: Box | None = None,
        fail_level: int | None = None,
        delay: float = 0.0,
        path: str | Path = "array",
    ) -> None:
        arrays = (levels,) if isinstance(levels, np.ndarray) else tuple(levels)
        if not arrays:
            raise SlideError("A slide of arrays needs at least one level.")
        for array in arrays:
            if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
                raise SlideError(
                    f"A level must be an array (height, width, 3) of uint8; got {array.shape} {array.dtype}."
                )
        if alpha is not None:
            arrays = tuple(_on_white(a, coverage) for a, coverage in zip(arrays, alpha, strict=True))
        self._arrays = arrays
        height, width = arrays[0].shape[:2]
        sizes = [(a.shape[1], a.shape[0]) for a in arrays]
        if downsamples is None:
            downsamples = [exact_downsample((width, height), s) or width / s[0] for s in sizes]
        self.path = Path(path)
        self.files: tuple[Path, ...] = ()
        self.vendor = ""
        self.levels = tuple(Level(w, h, float(d)) for (w, h), d in zip(sizes, downsamples, strict=True))
        self.bounds = bounds or Box(0, 0, width, height)
        x, y = mpp if isinstance(mpp, tuple) else (mpp, mpp)
        self.statements = () if mpp is None else (Statement(x, y, "array"),)
        self.held_bytes = sum(array.nbytes for array in arrays)
        self.icc_profile: bytes | None = None
        self.warnings: tuple[str, ...] = ()
        self.reads: list[tuple[int, Box]] = []
        self._fail_at, self._fail_level, self._delay = fail_at, fail_level, delay

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a part of one level, (height, width, 3) uint8, white where the level has no pixels."""
        box = Box(x, y, width, height)
        self.reads.append((level, box))
        if self._delay:
            time.sleep(self._delay)
        array, scale = self._arrays[level], self.levels[level].downsample
        if self._fail_at is not None and self._fail_level in (None, level):
            # Compared in level-0 pixels, rounded outwards.
            left, top = int(x * scale), int(y * scale)
            touched = Box(left, top, int((x + width) * scale) + 1 - left, int((y + height) * scale) + 1 - top)
            if not touched.intersection(self._fail_at).is_empty:
                raise SlideError(f"{self.path} cannot be read at {touched}: corrupt on purpose.")
        inside = box.intersection(Box(0, 0, array.shape[1], array.shape[0]))
        result = np.full((height, width, 3), 255, np.uint8)
        result[inside.y - y : inside.bottom - y, inside.x - x : inside.right - x] = array[
            inside.y : inside.bottom, inside.x : inside.right
        ]
        return result

    def close(self) -> None:
        """Do nothing: arrays need no closing."""


def _on_white(pixels: NDArray[np.uint8], coverage: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composite (h, w, 3) pixels on white by (h, w) coverage 0–255."""
    share = coverage[..., None].astype(np.uint16)
    return ((pixels * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)
