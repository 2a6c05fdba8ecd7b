"""Two label rasters on one slide: where they agree, and how well per class. Streams; any two resolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.view import coarsest_level, levels_on_disk, resident
from tiling.classes import ClassSchema
from tiling.confusion import Scores, confusion, scores_of
from tiling.errors import DataError

__all__ = ["AGREE", "DIFFER", "Comparison", "LabelRaster", "agreement_pyramid", "compare"]

AGREE, DIFFER = 1, 2
"""Values of the agreement image; 0 is where at least one of the two says nothing."""

STRIP = 1024
TURNED = 1e-6


@dataclass(frozen=True)
class LabelRaster:
    """Store labels with a place in the world.

    Attributes
    ----------
    levels : sequence of (h, w) integer arrays
        Finest first, each half of the one before.
    matrix : (3, 3) float
        From finest pixel indices (y, x, 1) to the world.
    schema : ClassSchema
    """

    levels: Sequence[Any]
    matrix: NDArray[np.float64]
    schema: ClassSchema


@dataclass(frozen=True)
class Comparison:
    """How two rasters agree where both have a class.

    Attributes
    ----------
    names : tuple of str
        Classes of either, matched by name.
    confusion : (K, K) int64
        Pixels of the first raster: row = its class, column = the other's.
    only_first, only_second : int
        Pixels that only one of them has labelled.
    """

    names: tuple[str, ...]
    confusion: NDArray[np.int64]
    only_first: int
    only_second: int

    @property
    def scores(self) -> Scores:
        """Those of the compared pixels, the second raster against the first; NaN for what neither has there."""
        return scores_of(self.confusion)

    @property
    def coverage(self) -> float:
        """Share of what either has labelled that both have labelled."""
        compared = int(self.confusion.sum())
        total = compared + self.only_first + self.only_second
        return compared / total if total else float("nan")


def compare(
    first: LabelRaster, second: LabelRaster, on_rows: Callable[[int, int], None] | None = None
) -> Comparison:
    """Count the classes of every pixel of the first raster against the pixel of the second under its centre.

    Parameters
    ----------
    first, second : LabelRaster
        Both are read in strips at their finest level.
    on_rows : callable, optional
        Called as ``on_rows(rows done, rows)``.

    Raises
    ------
    DataError
        When one is turned against the other.
    """
    names, luts = _common_classes(first.schema, second.schema)
    a, pair = first.levels[0], _Pair(first, second, 0, 0)
    size = len(names) + 1
    table = np.zeros((size, size), np.int64)
    height, width = a.shape
    for top in range(0, height, STRIP):
        rows = slice(top, min(top + STRIP, height))
        own, other = pair.read(rows, slice(0, width))
        table += confusion(luts[0][own], luts[1][other], size)
        if on_rows is not None:
            on_rows(rows.stop, height)
    return Comparison(names, table[1:, 1:].copy(), int(table[1:, 0].sum()), int(table[0, 1:].sum()))


def agreement_pyramid(first: LabelRaster, second: LabelRaster) -> list[Any]:
    """Return the agreement image in the first raster's pixels, for napari: computed where it is looked at.

    Returns
    -------
    list of (h, w) uint8 arrays
        Values :data:`AGREE`, :data:`DIFFER` or 0; lazy levels and a small array in memory at the end.
    """
    _, luts = _common_classes(first.schema, second.schema)
    on_disk = levels_on_disk(first.levels)
    _, step = coarsest_level(first.levels)
    lazy = []
    for level in range(len(on_disk)):
        fitting = [k for k in range(len(second.levels)) if _size(second, k) <= _size(first, level) * 1.5]
        lazy.append(AgreementLevel(_Pair(first, second, level, max(fitting, default=0)), luts))
    last = lazy[-1]
    inner = max(1, step // 2 ** (len(lazy) - 1))
    coarse = np.zeros((-(-last.shape[0] // inner), -(-last.shape[1] // inner)), np.uint8)
    lines = inner * max(1, STRIP // inner)
    for top in range(0, last.shape[0], lines):
        part = last[top : top + lines, :][::inner, ::inner]
        coarse[top // inner : top // inner + len(part)] = part
    return [*lazy, resident(coarse)]


class AgreementLevel:
    """One level of an agreement image as an (h, w) array that computes what is sliced."""

    dtype = np.dtype(np.uint8)
    ndim = 2

    def __init__(self, pair: _Pair, luts: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
        self._pair = pair
        self._luts = luts
        self.shape: tuple[int, int] = pair.shape
        self.size = self.shape[0] * self.shape[1]
        self.chunks = tuple(min(512, side) for side in self.shape)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        spans = [
            part if isinstance(part, slice) else slice(int(part), int(part) + 1) for part in (rows, columns)
        ]
        own, other = self._pair.read(
            *(slice(*span.indices(n)) for span, n in zip(spans, self.shape, strict=True))
        )
        a, b = self._luts[0][own], self._luts[1][other]
        codes = np.where((a > 0) & (b > 0), np.where(a == b, AGREE, DIFFER), 0).astype(np.uint8)
        return codes[
            0 if not isinstance(rows, slice) else slice(None),
            0 if not isinstance(columns, slice) else slice(None),
        ]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:, :]
        return whole if dtype is None else whole.astype(dtype)


class _Pair:
    """A level of one raster, and the pixels of a level of the other that lie under its centres."""

    def __init__(self, first: LabelRaster, second: LabelRaster, level: int, other_level: int) -> None:
        self._a, self._b = first.levels[level], second.levels[other_level]
        self.shape: tuple[int, int] = tuple(self._a.shape)
        matrix = (
            np.linalg.inv(second.matrix @ _level_matrix(other_level)) @ first.matrix @ _level_matrix(level)
        )
        turn = abs(matrix[0, 1]) * self.shape[1] + abs(matrix[1, 0]) * self.shape[0]
        if turn > TURNED * max(self.shape) + 0.5 or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise DataError("The two layers are turned against each other; put both on the same slide.")
        self._rows = _nearest(matrix[0, 0], matrix[0, 2], self.shape[0], self._b.shape[0])
        self._columns = _nearest(matrix[1, 1], matrix[1, 2], self.shape[1], self._b.shape[1])

    def read(self, rows: slice, columns: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return both rasters' labels for a part of the first."""
        own = np.asarray(self._a[rows, columns])
        other = np.zeros_like(own)
        y, x = self._rows[rows], self._columns[columns]
        inside_y, inside_x = np.flatnonzero(y >= 0), np.flatnonzero(x >= 0)
        if len(inside_y) and len(inside_x):
            y, x = y[inside_y], x[inside_x]
            part = np.asarray(self._b[y[0] : y[-1] + 1, x[0] : x[-1] + 1])
            picked = part[np.ix_(y - y[0], x - x[0])]
            other[np.ix_(inside_y, inside_x)] = picked
        return own, other


def _level_matrix(level: int) -> NDArray[np.float64]:
    """From pixel indices of a level to those of the finest, centres on centres."""
    factor = 2.0**level
    shift = (factor - 1) / 2
    return np.array([[factor, 0, shift], [0, factor, shift], [0, 0, 1]])


def _size(raster: LabelRaster, level: int) -> float:
    """World units per pixel of a level."""
    return float(np.linalg.norm(raster.matrix[:2, 0])) * 2.0**level


def _nearest(scale: float, offset: float, count: int, limit: int) -> NDArray[np.int64]:
    """Index of the pixel under each of ``count`` centres; -1 outside."""
    index = np.floor(np.arange(count) * scale + offset + 0.5 + 1e-9).astype(np.int64)
    return np.where((index >= 0) & (index < limit), index, -1)


def _common_classes(
    first: ClassSchema, second: ClassSchema
) -> tuple[tuple[str, ...], tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return the classes of either, and for each a table from its store labels to 1 + index among them."""
    names = list(first.names)
    known = {name.casefold() for name in names}
    names += [name for name in second.names if name.casefold() not in known]
    place = {name.casefold(): index for index, name in enumerate(names, start=1)}
    luts = []
    for schema in (first, second):
        lut = np.zeros(256, np.uint8)
        for label, name in enumerate(schema.names, start=1):
            lut[label] = place[name.casefold()]
        luts.append(lut)
    return tuple(names), (luts[0], luts[1])
