from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from napari_wsss.plugin.teach.tissue import at_places
from tiling.geometry import Box
from tiling.grid import TileGrid


@given(st.integers(40, 400), st.integers(40, 400), st.integers(1, 7), st.integers(0, 2**31))
def test_a_mask_of_the_canvas_itself_is_looked_up_at_the_middles(
    height: int, width: int, places: int, seed: int
) -> None:
    grid = TileGrid.cover(Box(0, 0, width, height), 1.0, 1.0, tile=28, overlap=0)
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    found = at_places(mask, grid, places)
    assert found.shape == (grid.rows * places, grid.columns * places)
    for row in range(found.shape[0]):
        for column in range(0, found.shape[1], 5):
            y, x = ((2 * i + 1) * 14 // places for i in (row, column))
            assert found[row, column] == (y < height and x < width and mask[y, x])
