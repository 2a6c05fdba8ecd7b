"""Tile geometry: every pixel is covered, nothing lies outside, orders are fixed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tiling.errors import RegionError
from tiling.geometry import Box
from tiling.grid import MAX_OVERLAP, TileGrid, select_tiles

grids = st.builds(
    lambda w, h, x, y, smpp, mpp, tile, overlap: TileGrid.cover(Box(x, y, w, h), smpp, mpp, tile, overlap),
    st.integers(1, 150),
    st.integers(1, 150),
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.floats(0.5, 2),
    st.floats(0.5, 2),
    st.integers(8, 64),
    st.floats(0, MAX_OVERLAP),
)


@given(grids)
def test_every_canvas_pixel_is_in_a_tile(grid: TileGrid) -> None:
    covered = np.zeros((grid.height, grid.width), np.bool_)
    for row in range(grid.rows):
        for column in range(grid.columns):
            box = grid.tile_box(row, column)
            assert box.x < grid.width
            assert box.y < grid.height
            covered[box.y : box.bottom, box.x : box.right] = True
    assert covered.all()


@given(grids)
def test_finished_lines_partition_the_canvas(grid: TileGrid) -> None:
    ends = [grid.finished_lines(row) for row in range(grid.rows)]
    assert ends[0][0] == 0
    assert ends[-1][1] == grid.height
    assert all(a[1] == b[0] for a, b in pairwise(ends))
    # A later row never reaches into finished lines, and a row can finish only lines that it reaches.
    for row, (first, last) in enumerate(ends):
        assert first <= last <= grid.tile_box(row, 0).bottom
        if row + 1 < grid.rows:
            assert grid.tile_box(row + 1, 0).y >= last


@given(grids)
def test_canvas_covers_the_bounds(grid: TileGrid) -> None:
    right, bottom = grid.level0(grid.width, grid.height)
    again = grid.canvas_box(Box(*grid.origin, int(right - grid.origin[0]), int(bottom - grid.origin[1])))
    assert again.width <= grid.width
    assert again.height <= grid.height


@given(grids, st.data())
def test_selected_tiles_are_those_that_touch_the_mask(grid: TileGrid, data: st.DataObject) -> None:
    # At canvas resolution the question has an exact answer.
    mask = np.zeros((grid.height, grid.width), np.bool_)
    y = data.draw(st.integers(0, grid.height - 1))
    x = data.draw(st.integers(0, grid.width - 1))
    mask[y, x] = True
    selected = select_tiles(grid, mask)
    for row in range(grid.rows):
        for column in range(grid.columns):
            box = grid.tile_box(row, column)
            inside = box.y <= y < box.bottom and box.x <= x < box.right
            assert selected[row, column] == inside


def test_runs_are_split_at_gaps_and_at_the_longest() -> None:
    grid = TileGrid.cover(Box(0, 0, 1000, 10), 1, 1, 10, 0)
    active = np.zeros(grid.columns, np.bool_)
    active[[0, 1, 2, 3, 7, 9, 10]] = True
    assert [run.columns for run in grid.runs(0, active, 3)] == [(0, 1, 2), (3,), (7,), (9, 10)]


@pytest.mark.parametrize("overlap", [-0.1, 0.81, 1.0])
def test_impossible_overlap_is_refused(overlap: float) -> None:
    with pytest.raises(RegionError, match="overlap"):
        TileGrid.cover(Box(0, 0, 10, 10), 1, 1, 4, overlap)


def test_region_becomes_the_covering_canvas_box() -> None:
    grid = TileGrid.cover(Box(100, 50, 1000, 800), 0.25, 0.5, 64, 0.25)
    assert grid.canvas_box(Box(100, 50, 1000, 800)) == Box(0, 0, 500, 400)
    assert grid.canvas_box(Box(101, 51, 10, 10)) == Box(0, 0, 6, 6)
    assert grid.canvas_box(Box(5000, 50, 10, 10)).is_empty
