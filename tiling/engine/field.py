"""The presence field: which classes may appear at each pixel, interpolated between the centres of tiles. Pure, no I/O.

A gate that decides tile by tile paves a slide with squares. Here stage 1's probability of a class belongs to the centre
of its tile, is interpolated linearly (on the scale of its logit) between the four centres around a pixel, and the class
may appear at the pixel where that passes the class's threshold. At a centre, and in a picture of one tile, this is
what the gate of the tile says (:func:`napari_wsss.models.apply_gate`). Tiles without a presence (glass) have no say.

Strips of ungated sums come in, gated ones go out, as far as the centres around them are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiling.engine.blend import Strip
from tiling.grid import TileGrid

__all__ = ["FieldGate", "presence_field"]

_SUREST = 5.0
"""Logits are cut here (a probability of 0.993): how much surer a network is must not move a border."""

Floats = NDArray[np.float32]
Allowed = NDArray[np.bool_] | bool
"""Where a class may appear, (lines, width); True and False stand for everywhere and nowhere."""


@dataclass(frozen=True)
class _Span:
    """Pixels along one axis between two neighbouring centres: these, and how much of the second each pixel takes."""

    start: int
    stop: int
    first: int
    second: int
    share: Floats

    @classmethod
    def cut(cls, start: int, stop: int, grid: TileGrid, count: int) -> Iterator[_Span]:
        """Yield those of pixels start … stop; beyond the outermost centres these hold."""
        while start < stop:
            place = (start + 0.5 - grid.tile / 2) / grid.stride
            first = min(max(math.floor(place), 0), count - 1)
            # The first pixel that does not lie before the next centre.
            after = math.ceil((0 if place < 0 else first + 1) * grid.stride + grid.tile / 2 - 0.5)
            end = stop if place >= count - 1 else min(after, stop)
            places = (np.arange(start, end) + 0.5 - grid.tile / 2) / grid.stride
            places = np.clip(places, 0, count - 1)
            share = (places - first).astype(np.float32)
            yield cls(start, end, first, math.ceil(places[-1]), share)
            start = end


@dataclass(frozen=True)
class _Cell:
    """Pixels between four centres: what these say, (≤ 2 rows, ≤ 2 columns, C), and how the pixels lie between them."""

    presence: Floats
    margins: Floats
    down: Floats
    across: Floats

    def opened(self) -> list[Allowed]:
        """Return where each class may appear."""
        opened: list[Allowed] = []
        for margins in np.moveaxis(self.margins, 2, 0):
            some, not_all = bool((margins > 0).any()), bool((margins < 0).any())
            opened.append(self._between(margins) > 0 if some and not_all else some)
        unknown = np.isnan(self.presence[:, :, 0])
        if (
            unknown.any()
        ):  # Far from all centres (large overlaps, at the rim of the tissue) nothing is closed.
            blank = self._between((~unknown).astype(np.float32)) == 0
            opened = [where | blank for where in opened] if blank.any() else opened
        if any(where is True for where in opened):
            return opened
        passed = np.logical_or.reduce([np.broadcast_to(where, self.shape) for where in opened])
        if not passed.all():
            best = self.fullest(~passed, [True] * len(opened))
            found = np.zeros((len(opened), *self.shape), np.bool_)
            found[best, *np.nonzero(~passed)] = True
            opened = [
                where | more if more.any() else where for where, more in zip(opened, found, strict=True)
            ]
        return opened

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and width of the cell."""
        return len(self.down), len(self.across)

    def close(self, sums: Floats, weights: Floats) -> Floats:
        """Close classes in the sums (C, lines, width) of the cell, in place; return what is left of the weights."""
        opened = self.opened()
        for plane, where in zip(sums, opened, strict=True):
            if where is False:
                plane[...] = 0
            elif where is not True:
                plane *= where
        total: Floats = sums.sum(0)
        lost = (total == 0) & (weights > 0)
        if lost.any():  # Stage 2 is sure of closed classes only.
            best = self.fullest(lost, opened)
            sums[best, *np.nonzero(lost)] = weights[lost]
            total[lost] = weights[lost]
        return total

    def fullest(self, pixels: NDArray[np.bool_], among: list[Allowed]) -> NDArray[np.intp]:
        """Return the class with the highest presence among the allowed ones for each of some pixels."""
        presence = np.nan_to_num(self.presence)
        values = np.stack([self._between(presence[:, :, c])[pixels] for c in range(presence.shape[2])])
        allowed = np.stack([np.broadcast_to(where, self.shape)[pixels] for where in among])
        return np.asarray(np.where(allowed, values, -1).argmax(0))

    def _between(self, values: Floats) -> Floats:
        """Interpolate values (rows, columns) for every pixel, (lines, width)."""
        down, across, one = self.down[:, None], self.across, np.float32(1)
        lines = values[0] * (one - down) + values[-1] * down
        found: Floats = lines[:, :1] * (one - across)
        found += lines[:, -1:] * across
        return found


class FieldGate:
    """Closes classes in the strips of one tile row after the other.

    Parameters
    ----------
    grid : TileGrid
        One that is :meth:`~tiling.grid.TileGrid.holding`: the lines of a row then need no later row.
    thresholds : sequence of float
        One for all classes or one per class; a class passes where its presence is strictly above.
    classes : int
        Number of classes C.
    emit : callable
        Receives gated strips, left to right; their ``weights`` are the sums over the open classes.

    Notes
    -----
    Every pixel is computed by itself: the result does not depend on how strips are cut.
    """

    def __init__(
        self, grid: TileGrid, thresholds: Sequence[float], classes: int, emit: Callable[[Strip], None]
    ) -> None:
        self._grid = grid
        self._thresholds = np.broadcast_to(np.asarray(thresholds, np.float32), (classes,))
        self._emit = emit
        # A pixel lies less than half a tile from the centre of a tile that covers it.
        above = -(-grid.tile // (2 * grid.stride))
        self.presence: Floats = np.full((above + 1, grid.columns, classes), np.nan, np.float32)
        self._margins = np.zeros_like(self.presence)
        self._pending: list[Strip] = []
        self._row = 0
        self._known = 0

    def restore(self, presence: Floats) -> None:
        """Take over the presence of the last rows of an interrupted run, (rows, columns, C), NaN for none."""
        self.presence[...] = presence
        self._margins[...] = self._margins_of(self.presence)

    def begin_row(self, row: int) -> None:
        """Start a tile row; the presence must be that of the rows before."""
        self._row = row
        self._known = 0
        for rows, blank in ((self.presence, np.nan), (self._margins, 0)):
            rows[:-1] = rows[1:].copy()
            rows[-1] = blank

    def know(self, columns: tuple[int, ...], presence: Floats) -> None:
        """Learn the presence (N, C) of tiles of this row, before their strips come."""
        if not columns:
            return
        at = list(columns)
        self.presence[-1, at] = presence
        self._margins[-1, at] = self._margins_of(self.presence[-1, at])
        self._known = columns[-1] * self._grid.stride + self._grid.tile // 2
        self._flush()

    def take(self, strip: Strip) -> None:
        """Gate a strip (its sums are changed) as far as the centres around it are known; keep the rest."""
        width = strip.weights.shape[1]
        known = min(max(self._known - strip.x, 0), width)
        if known:
            self._gate(strip.part(0, known))
        if known < width:
            rest = strip.part(known, width)
            self._pending.append(Strip(rest.x, rest.y, rest.sums.copy(), rest.weights.copy()))

    def end_row(self) -> None:
        """Gate what is left: no further tile of this row comes."""
        self._known = self._grid.padded_width
        self._flush()

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        for strip in pending:
            self.take(strip)

    def _margins_of(self, presence: Floats) -> Floats:
        """Return by how much the logit of each class passes its threshold, (…, C); 0 without a presence."""
        with np.errstate(invalid="ignore"):
            passed = presence > self._thresholds
        margins: Floats = np.abs(_logit(presence) - _logit(self._thresholds))
        # The comparison itself decides the sign: logits are rounded and cut.
        margins = np.maximum(margins, np.float32(1e-3)) * np.where(passed, np.float32(1), np.float32(-1))
        return np.asarray(np.nan_to_num(margins), np.float32)

    def _gate(self, strip: Strip) -> None:
        """Close classes in a strip and emit it, cell by cell: most lie between centres that agree."""
        grid = self._grid
        lines, width = strip.weights.shape
        first = grid.finished_lines(self._row)[0] + strip.y
        oldest = self._row - len(self.presence) + 1
        across = list(_Span.cut(strip.x, strip.x + width, grid, grid.columns))
        total = np.empty_like(strip.weights)
        for rows in _Span.cut(first, first + lines, grid, grid.rows):
            down = slice(rows.start - first, rows.stop - first)
            for columns in across:
                place = down, slice(columns.start - strip.x, columns.stop - strip.x)
                kept = (
                    slice(rows.first - oldest, rows.second - oldest + 1),
                    slice(columns.first, columns.second + 1),
                )
                cell = _Cell(self.presence[kept], self._margins[kept], rows.share, columns.share)
                total[place] = cell.close(strip.sums[:, *place], strip.weights[place])
        self._emit(Strip(strip.x, strip.y, strip.sums, total))


def presence_field(grid: TileGrid, presence: Floats, step: int) -> Floats:
    """Return the field of a whole picture in memory, as a presence that a gate can be asked about.

    Parameters
    ----------
    grid : TileGrid
    presence : (rows, columns, C) float32
        Of all tiles.
    step : int
        Side of the squares of canvas pixels whose middles are looked at.

    Returns
    -------
    (ceil(height / step), ceil(width / step), C) float32
        At the middle of a square a class may appear where this is above its threshold (up to rounding, and where
        thresholds lie within what :class:`FieldGate` tells apart).
    """
    logits = _logit(presence)
    for axis, extent, count in ((0, grid.height, grid.rows), (1, grid.width, grid.columns)):
        middles = np.minimum(np.arange(0, extent, step) + step / 2, extent)
        place = np.clip((middles - grid.tile / 2) / grid.stride, 0, count - 1)
        first = np.floor(place).astype(np.intp)
        share = (place - first).reshape([-1, 1, 1] if axis == 0 else [1, -1, 1])
        second = np.minimum(first + 1, count - 1)
        logits = logits.take(first, axis) * (1 - share) + logits.take(second, axis) * share
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _logit(probability: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        logit: Floats = np.log(probability) - np.log1p(-probability)
    return np.asarray(np.clip(logit, -_SUREST, _SUREST))
