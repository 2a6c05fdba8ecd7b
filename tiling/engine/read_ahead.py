"""Reading ahead: threads fetch the next batches of tiles while the current one is predicted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tiling.engine.quality import tile_quality
from tiling.errors import SlideError
from tiling.grid import TileGrid, TileRun
from tiling.plan import TileBatch
from tiling.slides import Slide

__all__ = ["BatchPixels", "ReadAhead", "read_batch"]

LOOKAHEAD_PER_THREAD = 2
"""Batches in flight per reading thread: enough to hide a slow read, few enough to bound memory."""


@dataclass(frozen=True)
class BatchPixels:
    """The pixels of one batch.

    Attributes
    ----------
    batch : TileBatch
    pixels : (N, T, T, 3) uint8
    unreadable : tuple of int
        Columns that could not be read and are white instead (only when errors are to be filled).
    doubts : (N,) uint8, optional
        Flags of what is wrong with the tiles; see :mod:`tiling.engine.quality`.
    """

    batch: TileBatch
    pixels: NDArray[np.uint8]
    unreadable: tuple[int, ...] = ()
    doubts: NDArray[np.uint8] | None = None


def read_batch(slide: Slide, grid: TileGrid, mpp: float, batch: TileBatch, fill: bool) -> BatchPixels:
    """Read the tiles of a batch, neighbours with one request.

    Parameters
    ----------
    slide : Slide
    grid : TileGrid
    mpp : float
        µm per canvas pixel.
    batch : TileBatch
    fill : bool
        Whether unreadable tiles become white instead of raising.

    Raises
    ------
    SlideError
        When pixels cannot be read and ``fill`` is off.
    """
    tile = grid.tile
    wanted = np.zeros(grid.columns, np.bool_)
    wanted[list(batch.columns)] = True
    pixels = np.empty((len(batch.columns), tile, tile, 3), np.uint8)
    unreadable: list[int] = []
    index = 0
    for run in grid.runs(batch.row, wanted, longest=len(batch.columns)):
        try:
            strip = _read_run(slide, grid, mpp, run)
        except SlideError:
            if not fill:
                raise
            strip, lost = _read_singly(slide, grid, mpp, run)
            unreadable += lost
        for offset in range(len(run.columns)):
            x = offset * grid.stride
            pixels[index] = strip[:, x : x + tile]
            index += 1
    return BatchPixels(batch, pixels, tuple(unreadable), tile_quality(pixels, mpp))


def _read_run(slide: Slide, grid: TileGrid, mpp: float, run: TileRun) -> NDArray[np.uint8]:
    box = grid.run_box(run)
    x, y = grid.level0(box.x, box.y)
    return slide.read(x, y, box.width, box.height, mpp=mpp)


def _read_singly(
    slide: Slide, grid: TileGrid, mpp: float, run: TileRun
) -> tuple[NDArray[np.uint8], list[int]]:
    """Read the tiles of a run one by one and leave out those that fail."""
    box = grid.run_box(run)
    strip = np.full((box.height, box.width, 3), 255, np.uint8)
    lost: list[int] = []
    for column in run.columns:
        x = grid.tile_box(run.row, column).x - box.x
        try:
            strip[:, x : x + grid.tile] = _read_run(slide, grid, mpp, TileRun(run.row, (column,)))
        except SlideError:
            lost.append(column)
    return strip, lost


class ReadAhead:
    """Gives batches row by row while threads read the next ones.

    A context manager: reading begins with it.

    Parameters
    ----------
    slide : Slide
    grid : TileGrid
    mpp : float
    batches : iterable of TileBatch
    threads : int
    fill : bool
        See :func:`read_batch`.
    """

    def __init__(
        self, slide: Slide, grid: TileGrid, mpp: float, batches: Iterable[TileBatch], threads: int, fill: bool
    ) -> None:
        self._slide, self._grid, self._mpp, self._fill = slide, grid, mpp, fill
        self._batches = iter(batches)
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="wsss-read")
        self._waiting: deque[tuple[TileBatch, Future[BatchPixels]]] = deque()
        self.busy_seconds = 0.0

    def __enter__(self) -> Self:
        self._top_up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def of_row(self, row: int) -> Iterator[BatchPixels]:
        """Yield what is read of a tile row; rows are asked for in their order."""
        while self._waiting and self._waiting[0][0].row == row:
            yield self._next()

    def __iter__(self) -> Iterator[BatchPixels]:
        while self._waiting:
            yield self._next()

    def _next(self) -> BatchPixels:
        _, reading = self._waiting.popleft()
        pixels = reading.result()
        self._top_up()
        return pixels

    def _top_up(self) -> None:
        while len(self._waiting) < LOOKAHEAD_PER_THREAD * self.threads:
            batch = next(self._batches, None)
            if batch is None:
                return
            self._waiting.append((batch, self._pool.submit(self._read, batch)))

    def _read(self, batch: TileBatch) -> BatchPixels:
        started = time.perf_counter()
        try:
            return read_batch(self._slide, self._grid, self._mpp, batch, self._fill)
        finally:
            # A float added by few threads a few times a second; a lost update would only blur a display.
            self.busy_seconds += time.perf_counter() - started
