"""Blending of overlapping tiles: exact weighted sums, one tile row at a time. Pure, no I/O.

Every contribution ``weight × probability`` is rounded to a whole number and the weights are whole numbers too, so all
sums stay below 2²⁴ where float32 counts exactly. Hence sums do not depend on the order of their terms: the bytes
of a result are the same for every batch size, thread count and interruption.

A row of tiles is swept from left to right. What leaves the sweep is final in its upper lines; its lower lines, which
the next row overlaps, are *carried*. Only the carry has the width of the slide: memory does not know its height.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiling.grid import TileGrid

__all__ = ["PEAK_WEIGHT", "RowBlender", "Strip", "blend_window"]

PEAK_WEIGHT = 2**20
"""Weight at the centre of a tile. With the largest overlap the summed weights stay below 2²⁴."""

_RUN = 4
"""Most neighbouring tiles that are summed at a time: what one step touches stays in the processor's cache."""

_FLOOR = 1 / 64
"""Smallest weight along one axis, relative to the peak: keeps lone corners of a tile above rounding.

There a probability is counted in 256 steps, so of two classes that are closer than that either may be the label.
"""


def blend_window(tile: int, shared: int) -> NDArray[np.float32]:
    """Return the weights of one tile, whole numbers from 2⁸ to 2²⁰.

    Neighbouring tiles fade into each other over all that they share, and only there. What remains of a weight at the
    very edge of a tile is a step in the blend: it shows as a seam.

    Parameters
    ----------
    tile : int
        Side of a tile in pixels.
    shared : int
        Pixels shared with the next tile; 0 gives constant weights.

    Returns
    -------
    (tile, tile) float32
        Products of two profiles, each with a squared sine at both ends.
    """
    fade = min(shared, tile / 2)
    if not fade:
        return np.full((tile, tile), PEAK_WEIGHT, np.float32)
    place = np.arange(tile) + 0.5
    inside = np.minimum(place, tile - place) / fade
    profile = np.maximum(np.sin(np.pi / 2 * np.minimum(inside, 1)) ** 2, _FLOOR)
    window: NDArray[np.float32] = np.rint(np.outer(profile, profile) * PEAK_WEIGHT).astype(np.float32)
    return window


@dataclass(frozen=True)
class Strip:
    """Finished pixels of one tile row.

    Attributes
    ----------
    x : int
        Canvas column of the first pixel.
    y : int
        Its line within the finished lines of the row.
    sums : (C, lines, width) float32
        Weighted sums per class; their largest is positive wherever a tile contributed.
    weights : (lines, width) float32
        Summed weights, 0 where no tile contributed.
    """

    x: int
    y: int
    sums: NDArray[np.float32]
    weights: NDArray[np.float32]

    @property
    def place(self) -> tuple[slice, slice]:
        """Where the strip belongs in the finished lines of its row."""
        lines, width = self.weights.shape
        return slice(self.y, self.y + lines), slice(self.x, self.x + width)

    def part(self, start: int, stop: int) -> Strip:
        """Return some columns, counted from its first."""
        return Strip(self.x + start, self.y, self.sums[:, :, start:stop], self.weights[:, start:stop])

    def labels(self) -> NDArray[np.uint8]:
        """Return store labels (lines, width): the first class with the largest sum + 1; 0 where nothing is."""
        labels: NDArray[np.uint8] = (self.sums[0] > 0).view(np.uint8)
        best = self.sums[0].copy()
        # The last class that exceeds all before it. Whole planes: masked copies are twenty times as slow.
        for label, plane in enumerate(self.sums[1:], 2):
            found = (plane > best).view(np.uint8)
            found *= np.uint8(label)
            np.maximum(labels, found, out=labels)
            np.maximum(best, plane, out=best)
        return labels

    def means(self) -> NDArray[np.float32]:
        """Return blended values (C, lines, width): sums over weights, 0 where no tile contributed."""
        return np.divide(self.sums, self.weights, out=np.zeros_like(self.sums), where=self.weights > 0)


class RowBlender:
    """Weighted sums of one tile row at a time, carried into the next.

    Parameters
    ----------
    grid : TileGrid
        Geometry; ``grid.tile`` is the side of the arrays given to :meth:`add`.
    channels : int
        Number of classes C.
    emit : callable
        Receives every finished :class:`Strip`, left to right, within :meth:`add` and :meth:`end_row`; columns
        that no tile reached are not emitted.

    Notes
    -----
    Memory: ``4 · (C + 1) · (held + shared) · padded_width`` bytes for the carry, plus one batch.
    """

    def __init__(self, grid: TileGrid, channels: int, emit: Callable[[Strip], None]) -> None:
        self._grid = grid
        self._channels = channels
        self._emit = emit
        self._window = blend_window(grid.tile, grid.shared)
        # The last channel holds the weights themselves.
        self.carry = np.zeros((channels + 1, grid.held + grid.shared, grid.padded_width), np.float32)
        self._live = np.zeros(grid.padded_width, np.bool_)
        self._open = np.zeros((channels + 1, grid.tile, grid.shared), np.float32)
        self._open_columns = 0
        self._frontier = 0
        self._row = 0

    def restore(self, carry: NDArray[np.float32]) -> None:
        """Take over the carry of an interrupted run, shape (C + 1, held + shared, padded_width)."""
        self.carry[...] = carry
        self._live[...] = carry.any(axis=(0, 1))

    def begin_row(self, row: int) -> None:
        """Start a tile row; the carry must be that of the row before."""
        self._row = row
        self._frontier = 0
        self._open_columns = 0

    def add(self, columns: tuple[int, ...], values: NDArray[np.float32]) -> None:
        """Add predicted tiles of the current row.

        Parameters
        ----------
        columns : tuple of int
            Tile columns, ascending, all to the right of those added before.
        values : (N, C, tile, tile) float32 in 0 … 1
        """
        start = 0
        for index in range(1, len(columns) + 1):
            gap = index == len(columns) or columns[index] != columns[index - 1] + 1
            if gap or index - start == _RUN:
                self._add_run(columns[start:index], values[start:index])
                start = index

    def end_row(self) -> None:
        """Finish the row up to the right edge of the canvas."""
        self._advance(self._grid.padded_width)

    def _add_run(self, columns: tuple[int, ...], values: NDArray[np.float32]) -> None:
        """Add neighbouring tiles: sum them in a small work area, close all columns no later tile can reach."""
        grid = self._grid
        x0 = columns[0] * grid.stride
        if x0 < self._frontier:
            raise ValueError(f"tile column {columns[0]} was added after a tile to its right")
        self._advance(x0)
        if grid.held + grid.shared == 0:
            self._emit_alone(x0, values)
            return
        closed = len(columns) * grid.stride
        work = np.zeros((self._channels + 1, grid.tile, closed + grid.shared), np.float32)
        work[:, :, : self._open_columns] = self._open[:, :, : self._open_columns]
        contribution = np.empty((self._channels, grid.tile, grid.tile), np.float32)
        for index, value in enumerate(values):
            x = index * grid.stride
            np.multiply(value, self._window, out=contribution)
            np.rint(contribution, out=contribution)
            work[:-1, :, x : x + grid.tile] += contribution
            work[-1, :, x : x + grid.tile] += self._window
        self._open[...] = work[:, :, closed:]
        self._open_columns = grid.shared
        self._close(work[:, :, :closed])

    def _emit_alone(self, x: int, values: NDArray[np.float32]) -> None:
        """Emit tiles that share nothing with others: their values are the means, nothing needs to be summed."""
        grid = self._grid
        first, last = grid.finished_lines(self._row)
        weights = np.broadcast_to(np.float32(1), (last - first, grid.tile))
        for value in values:
            width = min(grid.tile, grid.width - x)
            self._emit(Strip(x, 0, value[:, : last - first, :width], weights[:, :width]))
            x += grid.tile
        self._frontier = x

    def _advance(self, x: int) -> None:
        """Move the frontier to column x through an area without tiles of this row."""
        step = min(x - self._frontier, self._open_columns)
        if step > 0:  # what earlier tiles of this row left open
            self._close(self._open[:, :, :step].copy())
            self._open_columns -= step
            self._open[:, :, : self._open_columns] = self._open[:, :, step : step + self._open_columns].copy()
        while self._frontier < x:  # only what the row above carried
            live = np.flatnonzero(self._live[self._frontier : x])
            if live.size == 0:
                self._frontier = x
                return
            self._frontier += int(live[0])
            width = min(x - self._frontier, self._grid.tile)
            self._close(np.zeros((self._channels + 1, self._grid.tile, width), np.float32))

    def _close(self, work: NDArray[np.float32]) -> None:
        """Join the carry of the row above at the frontier, emit the final lines, carry the rest."""
        grid, held = self._grid, self._grid.held
        x = self._frontier
        columns = slice(x, x + work.shape[2])
        width = min(columns.stop, grid.width) - x
        above = self.carry[:, :, columns]
        first, last = grid.finished_lines(self._row)
        top = self._row * grid.stride - first  # lines that the row above held back
        live = bool(self._live[columns].any())
        if live:
            work[:, : grid.shared] += above[:, held:]
        if live and top and width > 0:
            self._emit(Strip(x, 0, above[:-1, :top, :width], above[-1, :top, :width]))
        if width > 0:
            done = work[:, : last - first - top, :width]
            self._emit(Strip(x, top, done[:-1], done[-1]))
        rest = work[:, grid.stride - held :]
        self.carry[:, :, columns] = rest
        self._live[columns] = rest[-1].any(axis=0)
        self._frontier = columns.stop
