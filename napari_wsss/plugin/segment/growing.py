"""The label pyramid of a run that is still going on, kept so that every zoom level shows the last committed line."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.view import COARSEST_MAX, coarsest_level, levels_on_disk
from tiling.geometry import Box

__all__ = ["GrowingLevel", "GrowingPyramid", "shown_chunks"]

_STRIP = 512
_SHOWN = (512, 768)


class GrowingLevel:
    """One level on disk plus the finished lines that fill no row of chunks yet, as an (h, w) array.

    The engine writes whole rows of chunks only. Without the lines in between, the result would grow in jumps of
    some hundred lines at fine zoom levels and of some thousand at middle ones.

    Parameters
    ----------
    array : (h, w) uint8 array on disk
        Rows of chunks appear in it from top to bottom.
    step : int
        Finest pixels per pixel of this level.
    finest_height : int
        Lines of the finest level.

    Attributes
    ----------
    chunks : (int, int)
        Pieces in which napari is to ask for it; see :func:`shown_chunks`.
    """

    ndim = 2

    def __init__(self, array: Any, step: int, finest_height: int) -> None:
        self.shape: tuple[int, int] = tuple(array.shape)
        self.dtype = np.dtype(array.dtype)
        self.size = int(np.prod(self.shape))
        self.chunks = shown_chunks(tuple(array.chunks))
        self._rows: int = array.chunks[0]
        self._array = array
        self._step = step
        self._finest_height = finest_height
        self._tail: list[tuple[Box, NDArray[Any]]] = []
        self._lock = Lock()

    def add(self, box: Box, labels: NDArray[Any]) -> None:
        """Take finished labels of a box of finest pixels; every ``step``-th pixel is kept until it is on disk."""
        step = self._step
        top, left = -(-box.y // step), -(-box.x // step)
        part = labels[top * step - box.y :: step, left * step - box.x :: step]
        block = Box(left, top, part.shape[1], part.shape[0])
        # A line of this level is on disk once all finest lines under it are done and its row of chunks is full.
        whole_chunks = box.bottom // step // self._rows * self._rows
        done = self.shape[0] if box.bottom == self._finest_height else whole_chunks
        with self._lock:
            self._tail = [kept for kept in [*self._tail, (block, part.copy())] if kept[0].bottom > done]

    def finish(self) -> None:
        """Forget the lines in memory: everything is on disk."""
        with self._lock:
            self._tail = []

    def __getitem__(self, key: Any) -> NDArray[Any]:
        with self._lock:
            tail = self._tail
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        whole_rows, whole_columns = _as_slice(rows), _as_slice(columns)
        out = np.asarray(self._array[whole_rows, whole_columns])
        top, left = whole_rows.indices(self.shape[0])[0], whole_columns.indices(self.shape[1])[0]
        view = Box(left, top, out.shape[1], out.shape[0])
        seen = [(part, box, labels) for box, labels in tail if not (part := box.intersection(view)).is_empty]
        if seen:
            out = out.copy()
        for part, box, labels in seen:
            out[part.y - top : part.bottom - top, part.x - left : part.right - left] = labels[
                part.y - box.y : part.bottom - box.y, part.x - box.x : part.right - box.x
            ]
        return out[
            slice(None) if isinstance(rows, slice) else 0, slice(None) if isinstance(columns, slice) else 0
        ]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:, :]
        return whole if dtype is None else whole.astype(dtype)


def shown_chunks(stored: tuple[int, int]) -> tuple[int, int]:
    """Return the pieces in which an array that is stored in flat, wide ones is best shown.

    napari widens a view to whole chunks, keeps what it has got, and asks again when an edge of the view enters another
    chunk: flat chunks make it ask often, wide ones make it ask for much. Decoding more than is shown costs less.

    Parameters
    ----------
    stored : (int, int)
        Rows and columns of a chunk on disk.
    """
    rows, columns = stored
    return rows * max(1, -(-_SHOWN[0] // rows)), min(columns, _SHOWN[1])


def _as_slice(part: Any) -> slice:
    if not isinstance(part, slice):
        return slice(int(part), int(part) + 1)
    if part.step not in (None, 1):
        raise IndexError("a growing level is sliced without steps")
    return part


class GrowingPyramid:
    """All levels of a result that grows: what napari shows, and where finished blocks go in.

    napari keeps the coarsest level of a layer in memory and never asks again; so that level is an array that is
    changed in place here. After :meth:`add`, one ``layer.refresh(extent=False)`` shows the block at every zoom.

    Parameters
    ----------
    arrays : sequence of (h, w) uint8 arrays on disk
        The store's label pyramid, finest first, each level half of the one before.
    coarsest_max : int
        Longest side of the level in memory.
    lines_done : int
        Finest lines that an interrupted run has left. Coarse levels on disk lag behind them by up to a row of
        their chunks; that part is shown from the finest level.

    Attributes
    ----------
    levels : list
        For napari: finest first, the last is an ``ndarray``.
    """

    def __init__(self, arrays: Sequence[Any], coarsest_max: int = COARSEST_MAX, lines_done: int = 0) -> None:
        self._arrays = arrays
        self._coarsest_max = coarsest_max
        self._growing = [
            GrowingLevel(array, 2**k, arrays[0].shape[0])
            for k, array in enumerate(levels_on_disk(arrays, coarsest_max))
        ]
        self.coarsest, self._step = coarsest_level(arrays, coarsest_max)
        self.levels: list[Any] = [*self._growing, self.coarsest]
        if lines_done:
            first = min(lines_done // 2**k // a.chunks[0] * a.chunks[0] * 2**k for k, a in enumerate(arrays))
            for top in range(first, lines_done, _STRIP):
                lines = np.asarray(arrays[0][top : min(top + _STRIP, lines_done)])
                self.add(Box(0, top, lines.shape[1], len(lines)), lines)

    def add(self, box: Box, labels: NDArray[Any]) -> None:
        """Take the finished labels of a box.

        Parameters
        ----------
        box : Box
            Pixels of the finest level.
        labels : (box.height, box.width) uint8
        """
        for level in self._growing:
            level.add(box, labels)
        step = self._step
        top, left = -(-box.y // step), -(-box.x // step)
        part = labels[top * step - box.y :: step, left * step - box.x :: step]
        self.coarsest[top : top + part.shape[0], left : left + part.shape[1]] = part

    def finish(self) -> None:
        """Take the finished levels from disk: the mode of each cell replaces the samples shown while growing."""
        for level in self._growing:
            level.finish()
        self.coarsest[...] = coarsest_level(self._arrays, self._coarsest_max)[0]
