from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st
from shapely import Point, Polygon

from napari_wsss.plugin.teach.selection import tiles_inside
from tiling.geometry import Box
from tiling.grid import TileGrid

GRID = TileGrid.cover(Box(100, 60, 3000, 2000), 0.25, 0.5, tile=64, overlap=0)
place = st.tuples(st.integers(0, GRID.rows - 1), st.integers(0, GRID.columns - 1))


def middle(row: int, column: int) -> tuple[float, float]:
    return GRID.level0((column + 0.5) * GRID.tile, (row + 0.5) * GRID.tile)


@given(place, place)
def test_a_rectangle_holds_the_tiles_whose_middle_it_holds(a: tuple[int, int], b: tuple[int, int]) -> None:
    (top, left), (bottom, right) = map(min, a, b), map(max, a, b)
    x0, y0 = middle(top, left)
    x1, y1 = middle(bottom, right)
    corners = [(x0 - 1, y0 - 1), (x1 + 1, y0 - 1), (x1 + 1, y1 + 1), (x0 - 1, y1 + 1)]
    wanted = [(r, c) for r in range(top, bottom + 1) for c in range(left, right + 1)]
    assert tiles_inside(GRID, corners) == wanted
    assert tiles_inside(GRID, corners[::-1]) == wanted


@given(st.lists(st.tuples(st.floats(-500, 3500), st.floats(-500, 2500)), min_size=3, max_size=8))
def test_a_lasso_agrees_with_shapely_where_that_has_an_opinion(outline: list[tuple[float, float]]) -> None:
    polygon = Polygon(outline)
    if not polygon.is_valid or polygon.area < 1:
        return
    found = set(tiles_inside(GRID, outline))
    for row in range(GRID.rows):
        for column in range(GRID.columns):
            point = Point(*middle(row, column))
            if polygon.exterior.distance(point) > 1e-6:
                assert ((row, column) in found) == polygon.contains(point)


def test_glass_is_left_out() -> None:
    tissue = np.zeros((GRID.rows, GRID.columns), bool)
    tissue[1, 2] = True
    whole = [(0.0, 0.0), (9e3, 0.0), (9e3, 9e3), (0.0, 9e3)]
    assert tiles_inside(GRID, whole, tissue) == [(1, 2)]
    assert len(tiles_inside(GRID, whole)) == GRID.rows * GRID.columns
    assert tiles_inside(GRID, whole[:2]) == []
