"""Polygons to pixels: a pixel is inside when its centre is, whatever the number of polygons.

Edges cross the line of pixel centres or they do not: crossings are summed with their direction, and between the first
that makes a sum and the one that takes it back it is inside. Edges are looked up by line: a band costs what lies in it.

Method: the even scan line of every graphics text book, with half-open edges so that neighbours share no pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["PolygonRaster"]

_LINES_AT_ONCE = 32


class PolygonRaster:
    """Valid polygons, ready to be drawn at any place and size; where they overlap they count once.

    Parameters
    ----------
    polygons : sequence of shapely.Polygon or shapely.MultiPolygon
        Valid.
    """

    def __init__(self, polygons: Sequence[shapely.Geometry]) -> None:
        starts, stops = _edges(polygons)
        down = stops[:, 1] > starts[:, 1]
        upper, lower = np.where(down[:, None], starts, stops), np.where(down[:, None], stops, starts)
        order = np.argsort(upper[:, 1], kind="stable")
        self._upper, self._lower = upper[order], lower[order]
        self._top, self._bottom = self._upper[:, 1].copy(), self._lower[:, 1].copy()
        self._sign = np.where(down, 1, -1).astype(np.int32)[order]

    def draw(
        self, x: float, y: float, step_x: float, step_y: float, width: int, height: int, first: int = 0
    ) -> NDArray[np.bool_]:
        """Draw a window.

        Parameters
        ----------
        x, y : float
            Outer corner of its first pixel.
        step_x, step_y : float
            Size of a pixel.
        width, height : int
        first : int
            Draw lines ``first`` … ``first + height − 1``: a window drawn in parts is the same to the last pixel.

        Returns
        -------
        (height, width) bool
            Pixels whose centre lies inside.
        """
        inside = np.zeros((height, width), np.bool_)
        corner, step = np.array([x, y]), np.array([step_x, step_y])
        for top in range(first, first + height, _LINES_AT_ONCE):
            bottom = min(top + _LINES_AT_ONCE, first + height)
            before = np.searchsorted(self._top, y + bottom * step_y)
            here = np.flatnonzero(self._bottom[:before] >= y + top * step_y)
            if len(here):
                # In pixels whose centres are whole numbers.
                upper = (self._upper[here] - corner) / step - 0.5
                lower = (self._lower[here] - corner) / step - 0.5
                _draw_lines(inside[top - first : bottom - first], top, upper, lower, self._sign[here])
        return inside

    def touched(
        self, x: float, y: float, step_x: float, step_y: float, width: int, height: int
    ) -> NDArray[np.bool_]:
        """Return every pixel of a window that a polygon may touch: a little too many, never too few."""
        inside = self.draw(x, y, step_x, step_y, width, height)
        corner, step = np.array([x, y]), np.array([step_x, step_y])
        upper, lower = ((points - corner) / step - 0.5 for points in (self._upper, self._lower))
        for rows, columns in _along(upper, lower, height, width):
            inside[rows, columns] = True
        tall = inside.copy()
        tall[1:] |= inside[:-1]
        tall[:-1] |= inside[1:]
        grown = tall.copy()
        grown[:, 1:] |= tall[:, :-1]
        grown[:, :-1] |= tall[:, 1:]
        return grown


def _draw_lines(
    inside: NDArray[np.bool_],
    top: int,
    upper: NDArray[np.float64],
    lower: NDArray[np.float64],
    sign: NDArray[np.int32],
) -> None:
    """Draw lines ``top`` and following of a window into ``inside``, given the edges that reach them."""
    height, width = inside.shape
    first = np.clip(np.ceil(upper[:, 1]), top, top + height).astype(np.int64)
    last = np.clip(np.ceil(lower[:, 1]), top, top + height).astype(
        np.int64
    )  # lines first … last − 1 are crossed
    crosses = np.flatnonzero(last > first)
    if not len(crosses):
        return
    counts = (last - first)[crosses]
    edge = np.repeat(crosses, counts)
    within = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    line = within + np.repeat(first[crosses], counts)
    slope = (lower[:, 0] - upper[:, 0])[edge] / (lower[:, 1] - upper[:, 1])[edge]
    crossing = np.ceil(upper[edge, 0] + (line - upper[edge, 1]) * slope)
    column = np.clip(crossing, 0, width).astype(np.int64)
    # Along a line of centres it is inside between the crossing that makes the sum of directions other than 0 and
    # the one that brings it back; at the end of a line it is always back.
    order = np.argsort((line - top) * (width + 1) + column, kind="stable")
    depth = np.cumsum(sign[edge[order]])
    before = np.concatenate([[0], depth[:-1]])
    starts, stops = order[(before == 0) & (depth != 0)], order[(before != 0) & (depth == 0)]
    lines = (line[starts] - top).tolist()
    for at, first_column, last_column in zip(
        lines, column[starts].tolist(), column[stops].tolist(), strict=True
    ):
        inside[at, first_column:last_column] = True


def _edges(polygons: Sequence[shapely.Geometry]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return start and stop of every edge, (n, 2) each, outlines one way round and holes the other."""
    parts = shapely.get_parts(np.array(polygons, dtype=object))
    rings = shapely.get_rings(shapely.orient_polygons(parts))
    points, owner = shapely.get_coordinates(rings, return_index=True)
    same = owner[:-1] == owner[1:]
    return points[:-1][same], points[1:][same]


def _along(
    start: NDArray[np.float64], stop: NDArray[np.float64], height: int, width: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pixels along the edges at half-pixel steps, as far as they lie in the picture."""
    way = stop - start
    low, high = np.zeros(len(start)), np.ones(len(start))
    # Cut to the picture and a pixel around it (Liang and Barsky): a corner far away costs nothing.
    for axis, size in ((0, width), (1, height)):
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = (-2.0 - start[:, axis]) / way[:, axis], (size + 1.0 - start[:, axis]) / way[:, axis]
        flat = way[:, axis] == 0
        outside = flat & ((start[:, axis] < -2) | (start[:, axis] > size + 1))
        low = np.where(flat, low, np.fmax(low, np.fmin(one, other)))
        high = np.where(flat, np.where(outside, -1.0, high), np.fmin(high, np.fmax(one, other)))
    kept = high >= low
    start, way = start[kept] + way[kept] * low[kept][:, None], way[kept] * (high - low)[kept][:, None]
    steps = np.ceil(np.abs(way).max(axis=1, initial=0) * 2).astype(np.int64) + 1
    for chunk in np.array_split(np.arange(len(start)), max(1, int(steps.sum() >> 20) + 1)):
        count = steps[chunk] + 1
        edge = np.repeat(chunk, count)
        place = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        points = start[edge] + way[edge] * (place / steps[edge])[:, None]
        columns, rows = np.rint(points).astype(np.int64).T
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        yield rows[inside], columns[inside]
