"""Tile geometry: where the tiles of a slide lie on the output canvas. Pure, no I/O.

Two frames are used. *Level-0 pixels* are those of the slide. *Canvas pixels* are the pixels of the result: squares
of ``mpp`` µm whose (0, 0) corner is the top-left corner of the slide's bounds.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiling.errors import RegionError
from tiling.geometry import Box

__all__ = ["MAX_OVERLAP", "TileGrid", "TileRun", "select_tiles"]

MAX_OVERLAP = 0.8
"""Largest overlap as a fraction of a tile: beyond it the exact sums of :mod:`tiling.engine.blend` could overflow."""


@dataclass(frozen=True)
class TileRun:
    """Neighbouring tiles of one row that are read with one request.

    Attributes
    ----------
    row : int
        Tile row.
    columns : tuple of int
        Consecutive tile columns.
    """

    row: int
    columns: tuple[int, ...]


@dataclass(frozen=True)
class TileGrid:
    """A regular grid of square tiles that covers the canvas.

    Attributes
    ----------
    width, height : int
        Canvas extent in canvas pixels; the last tile of a row or column may hang over the edge.
    tile : int
        Side of a tile in canvas pixels.
    stride : int
        Distance between the corners of neighbouring tiles.
    scale : float
        Level-0 pixels per canvas pixel (``mpp / slide.mpp``).
    origin : (int, int)
        Level-0 x, y of the canvas corner: the corner of the slide's bounds.
    held : int
        Lines at the end of a row that wait for the next one before they are finished; see :meth:`holding`.
    """

    width: int
    height: int
    tile: int
    stride: int
    scale: float
    origin: tuple[int, int]
    held: int = 0

    @classmethod
    def cover(cls, bounds: Box, slide_mpp: float, mpp: float, tile: int, overlap: float) -> TileGrid:
        """Plan the grid over the bounds of a slide.

        Parameters
        ----------
        bounds : Box
            Scanned area in level-0 pixels.
        slide_mpp, mpp : float
            µm per level-0 pixel and per canvas pixel.
        tile : int
            Side of a tile in canvas pixels.
        overlap : float
            Shared fraction of neighbouring tiles, 0 … :data:`MAX_OVERLAP`.

        Raises
        ------
        RegionError
            When the overlap is out of range or the bounds are empty.
        """
        if not 0 <= overlap <= MAX_OVERLAP:
            raise RegionError(f"The overlap is {overlap}; choose a fraction between 0 and {MAX_OVERLAP}.")
        if bounds.is_empty:
            raise RegionError("The slide's scanned area is empty; there is nothing to tile.")
        scale = mpp / slide_mpp
        return cls(
            width=max(1, _ceil(bounds.width / scale)),
            height=max(1, _ceil(bounds.height / scale)),
            tile=tile,
            stride=max(1, round(tile * (1 - overlap))),
            scale=scale,
            origin=(bounds.x, bounds.y),
        )

    def holding(self) -> TileGrid:
        """Return the grid whose rows are finished down to the centres of their tiles.

        What lies below a row of centres depends on the row of tiles below it, when something is interpolated between
        tiles (:mod:`tiling.engine.field`).
        """
        return dataclasses.replace(self, held=max(0, self.stride - self.tile // 2))

    @property
    def rows(self) -> int:
        """Number of tile rows."""
        return _count(self.height, self.tile, self.stride)

    @property
    def columns(self) -> int:
        """Number of tile columns."""
        return _count(self.width, self.tile, self.stride)

    @property
    def shared(self) -> int:
        """Lines (or columns) that neighbouring tiles share."""
        return self.tile - self.stride

    @property
    def padded_width(self) -> int:
        """Width up to the right edge of the last tile."""
        return (self.columns - 1) * self.stride + self.tile

    def tile_box(self, row: int, column: int) -> Box:
        """Return the canvas box of a tile; it may hang over the right and bottom edge."""
        return Box(column * self.stride, row * self.stride, self.tile, self.tile)

    def run_box(self, run: TileRun) -> Box:
        """Return the canvas box that holds all tiles of a run."""
        first, last = run.columns[0], run.columns[-1]
        return Box(
            first * self.stride, run.row * self.stride, (last - first) * self.stride + self.tile, self.tile
        )

    def level0(self, x: float, y: float) -> tuple[float, float]:
        """Convert a canvas position to level-0 pixels."""
        return self.origin[0] + x * self.scale, self.origin[1] + y * self.scale

    def canvas_box(self, level0: Box) -> Box:
        """Return the smallest canvas box that covers a level-0 box, cut to the canvas."""
        x0 = math.floor((level0.x - self.origin[0]) / self.scale + 1e-9)
        y0 = math.floor((level0.y - self.origin[1]) / self.scale + 1e-9)
        x1 = _ceil((level0.right - self.origin[0]) / self.scale)
        y1 = _ceil((level0.bottom - self.origin[1]) / self.scale)
        box = Box(x0, y0, max(0, x1 - x0), max(0, y1 - y0))
        return box.intersection(Box(0, 0, self.width, self.height))

    def finished_lines(self, row: int) -> tuple[int, int]:
        """Return the half-open range of canvas lines that no later row will touch."""
        first = row * self.stride - self.held
        return max(0, first), self.height if row == self.rows - 1 else first + self.stride

    def runs(self, row: int, active: NDArray[np.bool_], longest: int) -> list[TileRun]:
        """Group the active tiles of a row into runs of neighbours, left to right.

        Parameters
        ----------
        row : int
            Tile row.
        active : (columns,) bool
            Which tiles of the row are wanted.
        longest : int
            Largest number of tiles in one run.
        """
        found: list[TileRun] = []
        pending: list[int] = []
        for column in np.flatnonzero(active).tolist():
            if pending and (column != pending[-1] + 1 or len(pending) == longest):
                found.append(TileRun(row, tuple(pending)))
                pending = []
            pending.append(column)
        if pending:
            found.append(TileRun(row, tuple(pending)))
        return found


def select_tiles(grid: TileGrid, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the tiles that touch wanted tissue.

    Parameters
    ----------
    grid : TileGrid
    wanted : (h, w) bool
        Coarse mask over the whole canvas, any resolution.

    Returns
    -------
    (rows, columns) bool
        True where at least one mask pixel under the tile is wanted.
    """
    if wanted.all():
        return np.ones((grid.rows, grid.columns), np.bool_)
    height, width = wanted.shape
    # An integral image answers "is anything wanted in this box" for all tiles at once.
    integral = np.zeros((height + 1, width + 1), np.int32)
    np.cumsum(np.cumsum(wanted, axis=0, dtype=np.int32), axis=1, out=integral[1:, 1:])

    def edges(count: int, extent: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        start = np.arange(count) * grid.stride
        first = np.floor(start * cells / extent + 1e-9).astype(np.int64)
        last = np.ceil((start + grid.tile) * cells / extent - 1e-9).astype(np.int64)
        return np.clip(first, 0, cells - 1), np.clip(last, 1, cells)

    y0, y1 = edges(grid.rows, grid.height, height)
    x0, x1 = edges(grid.columns, grid.width, width)
    total = (
        integral[np.ix_(y1, x1)]
        - integral[np.ix_(y0, x1)]
        - integral[np.ix_(y1, x0)]
        + integral[np.ix_(y0, x0)]
    )
    return np.asarray(total > 0)


def _ceil(value: float) -> int:
    """Round up, but forgive the last bits of a quotient that should have been whole."""
    return math.ceil(value - 1e-6)


def _count(extent: int, tile: int, stride: int) -> int:
    return 1 if extent <= tile else -(-(extent - tile) // stride) + 1
