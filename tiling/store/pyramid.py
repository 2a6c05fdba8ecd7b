"""Pyramids that grow line by line: each line of every level is written once, in whole chunks.

Level *k* + 1 is made from pairs of lines of level *k* as soon as they are there, so a pyramid of any height needs
memory for one row of chunks only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.store.chunks import ChunkFiles

__all__ = ["LineBuffer", "LinePyramid", "halve_labels", "halve_mean", "level_shapes"]

Halve = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def level_shapes(height: int, width: int, smallest: int = 512) -> tuple[tuple[int, int], ...]:
    """Return (height, width) of every level: halved, rounded up, until both sides are ≤ ``smallest``."""
    shapes = [(height, width)]
    while max(shapes[-1]) > smallest:
        h, w = shapes[-1]
        shapes.append((-(-h // 2), -(-w // 2)))
    return tuple(shapes)


def _quads(lines: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """Split an image into the four pixels of each 2 × 2 cell; an odd edge is repeated."""
    height, width = lines.shape
    if height % 2 or width % 2:
        lines = np.pad(lines, ((0, height % 2), (0, width % 2)), mode="edge")
    return lines[::2, ::2], lines[::2, 1::2], lines[1::2, ::2], lines[1::2, 1::2]


def halve_labels(lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halve a label image by the most frequent label of each 2 × 2 cell; never invents a label.

    Parameters
    ----------
    lines : (h, w) uint8

    Returns
    -------
    (ceil(h / 2), ceil(w / 2)) uint8
        Ties go to the pair that comes first in reading order.
    """
    a, b, c, d = _quads(lines)
    result = a.copy()
    # a wins unless it stands alone and two of the others agree. Few cells are that mixed, so only those are looked at.
    mixed = (a != b) & (a != c) & (a != d)
    if mixed.any():
        second, third, fourth = b[mixed], c[mixed], d[mixed]
        chosen = a[mixed]
        np.copyto(chosen, third, where=third == fourth)
        np.copyto(chosen, second, where=(second == third) | (second == fourth))
        result[mixed] = chosen
    return result


def halve_mean(lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halve an intensity image by the rounded mean of each 2 × 2 cell, (h, w) uint8."""
    total = np.full(tuple(-(-n // 2) for n in lines.shape), 2, np.uint16)
    for part in _quads(lines):
        total += part
    return (total >> 2).astype(np.uint8)


class LinePyramid:
    """Appends lines to the finest level and keeps all coarser levels in step.

    Parameters
    ----------
    arrays : sequence of ChunkFiles
        (height, width) uint8, finest first, each level half of the one before.
    halve : callable
        How two lines become one.
    """

    def __init__(self, arrays: Sequence[ChunkFiles], halve: Halve) -> None:
        self.levels = [_Level(array) for array in arrays]
        self._halve = halve

    def append(self, lines: NDArray[np.uint8]) -> None:
        """Append finished lines, (n, width) uint8."""
        for index, level in enumerate(self.levels):
            level.append(lines)
            if index + 1 == len(self.levels):
                return
            pairs = level.take_pairs(lines)
            if pairs is None:
                return
            lines = self._halve(pairs)

    def pending(self) -> dict[str, NDArray[np.uint8]]:
        """Return what is not yet in a chunk: enough to go on after a kill."""
        state: dict[str, NDArray[np.uint8]] = {}
        for index, level in enumerate(self.levels):
            state[f"{index}.lines"] = level.lines()
            state[f"{index}.odd"] = level.odd
        return state

    def restore(self, state: dict[str, NDArray[np.uint8]], finest_line: int) -> None:
        """Go on from the state that :meth:`pending` gave when ``finest_line`` lines had been appended."""
        line = finest_line
        for index, level in enumerate(self.levels):
            level.restore(line, state[f"{index}.lines"])
            level.odd = state[f"{index}.odd"].copy()
            line = -(-line // 2) if line >= level.height else line // 2


class LineBuffer:
    """Appends lines to an array and writes whole rows of chunks; keeps the lines that do not fill one yet.

    Parameters
    ----------
    array : ChunkFiles
        A line is all that one index along the first axis holds.
    """

    def __init__(self, array: ChunkFiles) -> None:
        self.array = array
        self.height = array.shape[0]
        self._buffer = np.zeros((array.chunks[0], *array.shape[1:]), array.dtype)
        self._filled = 0
        self.line = 0
        """Lines appended so far."""

    def append(self, lines: NDArray[Any]) -> None:
        """Buffer lines; write every row of chunks that is complete (or the last of the array)."""
        done = 0
        while done < len(lines):
            count = min(len(lines) - done, len(self._buffer) - self._filled)
            self._buffer[self._filled : self._filled + count] = lines[done : done + count]
            self._filled += count
            self.line += count
            done += count
            if self._filled == len(self._buffer) or self.line == self.height:
                self.array[self.line - self._filled : self.line] = self._buffer[: self._filled]
                self._filled = 0

    @property
    def chunks_written(self) -> int:
        """Chunks along the first axis that are written."""
        return -(-(self.line - self._filled) // len(self._buffer))

    def lines(self) -> NDArray[Any]:
        """Return the lines that are in no chunk yet, (n, …)."""
        return self._buffer[: self._filled]

    def restore(self, line: int, lines: NDArray[Any]) -> None:
        """Set the state of an earlier buffer after ``line`` lines."""
        self.line = line
        self._filled = len(lines)
        self._buffer[: self._filled] = lines


class _Level(LineBuffer):
    """One level of a pyramid: also keeps the odd line that waits for its partner."""

    def __init__(self, array: ChunkFiles) -> None:
        super().__init__(array)
        self.odd: NDArray[np.uint8] = np.zeros((0, array.shape[1]), np.uint8)

    def take_pairs(self, lines: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return the lines that form whole pairs now; the last line of the image forms one by itself."""
        joined = np.concatenate([self.odd, lines]) if len(self.odd) else lines
        even = len(joined) if self.line == self.height else len(joined) - len(joined) % 2
        self.odd = joined[even:].copy()
        return joined[:even] if even else None
