"""Blending: constants survive, order does not matter, the sweep equals a plain whole-canvas sum."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import assume, example, given, strategies as st
from numpy.typing import NDArray

from tiling.engine.blend import RowBlender, Strip, blend_window
from tiling.geometry import Box
from tiling.grid import MAX_OVERLAP, TileGrid


def cover(width: int, height: int, tile: int, overlap: float, holding: bool) -> TileGrid:
    grid = TileGrid.cover(Box(0, 0, width, height), 1, 1, tile, overlap)
    return grid.holding() if holding else grid


grids = st.builds(
    cover,
    st.integers(1, 120),
    st.integers(1, 90),
    st.integers(4, 32),
    st.floats(0, MAX_OVERLAP),
    st.booleans(),
)


def sweep(
    grid: TileGrid, tiles: dict[tuple[int, int], NDArray[np.float32]], channels: int, batch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """Blend with the RowBlender; returns sums, weights and labels over the canvas."""
    sums = np.zeros((channels, grid.height, grid.width), np.float32)
    weights = np.zeros((grid.height, grid.width), np.float32)
    labels = np.zeros((grid.height, grid.width), np.uint8)
    row = 0

    def take(strip: Strip) -> None:
        lines = slice(*grid.finished_lines(row))
        sums[:, lines][:, *strip.place] = strip.sums
        weights[lines][strip.place] = strip.weights
        labels[lines][strip.place] = strip.labels()

    blender = RowBlender(grid, channels, take)
    for row in range(grid.rows):
        columns = [c for c in range(grid.columns) if (row, c) in tiles]
        blender.begin_row(row)
        for i in range(0, len(columns), batch):
            some = tuple(columns[i : i + batch])
            blender.add(some, np.stack([tiles[row, c] for c in some]))
        blender.end_row()
    return sums, weights, labels


def plain(
    grid: TileGrid, tiles: dict[tuple[int, int], NDArray[np.float32]], channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add everything on one big canvas, in float64 and in any order."""
    window = blend_window(grid.tile, grid.shared).astype(np.float64)
    shape = (grid.height + grid.tile, grid.padded_width + grid.tile)
    sums, weights = np.zeros((channels, *shape)), np.zeros(shape)
    for (row, column), value in tiles.items():
        box = grid.tile_box(row, column)
        area = (slice(box.y, box.bottom), slice(box.x, box.right))
        sums[:, *area] += np.rint((value * window.astype(np.float32)).astype(np.float64))
        weights[area] += window
    return sums[:, : grid.height, : grid.width], weights[: grid.height, : grid.width]


@given(grids, st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(0.1, 1))
def test_sweep_equals_the_plain_sum_for_every_subset_of_tiles(
    grid: TileGrid, seed: int, channels: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    tiles = {
        # As of a softmax, one class is clear of 0: where all are 0, nothing would seem to have contributed.
        (r, c): np.maximum(rng.random((channels, grid.tile, grid.tile), np.float32), np.float32(1 / 8))
        for r in range(grid.rows)
        for c in range(grid.columns)
        if rng.random() < share
    }
    expected_sums, expected_weights = plain(grid, tiles, channels)
    for batch in (1, 3, 100):
        sums, weights, labels = sweep(grid, tiles, channels, batch)
        if grid.shared or grid.held:
            # Exactly equal: the sums are whole numbers, whatever the order and the batch.
            np.testing.assert_array_equal(sums, expected_sums)
            np.testing.assert_array_equal(weights, expected_weights)
        else:  # nothing to sum: the tiles themselves
            expected = np.divide(expected_sums, expected_weights, where=expected_weights > 0, out=sums * 0.0)
            np.testing.assert_allclose(sums, expected, atol=2**-20)
            np.testing.assert_array_equal(weights > 0, expected_weights > 0)
            expected_sums, expected_weights = sums.astype(np.float64), weights.astype(np.float64)
        expected = np.where(expected_weights > 0, expected_sums.argmax(0) + 1, 0)
        np.testing.assert_array_equal(labels, expected)


@given(grids, st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_the_order_of_tiles_does_not_change_a_bit(grid: TileGrid, seed: int, chance: Random) -> None:
    rng = np.random.default_rng(seed)
    places = [(r, c) for r in range(grid.rows) for c in range(grid.columns)]
    tiles = {place: rng.random((2, grid.tile, grid.tile), np.float32) for place in places}
    swept, weights, _ = sweep(grid, tiles, 2, 3)
    if not grid.shared and not grid.held:
        return  # nothing is added up
    window = blend_window(grid.tile, grid.shared)
    chance.shuffle(places)
    shape = (grid.height + grid.tile, grid.padded_width + grid.tile)
    sums, weight = np.zeros((2, *shape), np.float32), np.zeros(shape, np.float32)
    for place in places:
        box = grid.tile_box(*place)
        area = (slice(box.y, box.bottom), slice(box.x, box.right))
        sums[:, *area] += np.rint(tiles[place] * window)
        weight[area] += window
    np.testing.assert_array_equal(sums[:, : grid.height, : grid.width], swept)
    np.testing.assert_array_equal(weight[: grid.height, : grid.width], weights)


@given(grids, st.lists(st.floats(0, 1, width=32), min_size=2, max_size=5))
def test_constant_in_constant_out(grid: TileGrid, values: list[float]) -> None:
    constant = np.array(values, np.float32)
    constant = constant / max(float(constant.sum()), 1e-3)
    tile = np.broadcast_to(constant[:, None, None], (len(values), grid.tile, grid.tile))
    tiles = {(r, c): tile for r in range(grid.rows) for c in range(grid.columns)}
    sums, weights, _ = sweep(grid, tiles, len(values), 4)
    assert weights.min() > 0
    means = Strip(0, 0, sums, weights).means()
    # The smallest weight is 2^8, so rounding to whole sums moves a mean by 2^-9 at the very most.
    np.testing.assert_allclose(means, np.broadcast_to(constant[:, None, None], means.shape), atol=2**-9)


@given(st.integers(4, 400), st.floats(0, MAX_OVERLAP))
def test_window_weights_are_whole_and_positive(tile: int, overlap: float) -> None:
    window = blend_window(tile, int(overlap * tile))
    assert window.dtype == np.float32
    assert (window == np.rint(window)).all()
    assert window.min() >= 2**8
    assert window.max() <= 2**20
    np.testing.assert_array_equal(window, window.T)


@pytest.mark.parametrize("tile", [5, 16, 32, 224])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, MAX_OVERLAP])
def test_sums_stay_in_the_exact_range_of_float32(tile: int, overlap: float) -> None:
    grid = TileGrid.cover(Box(0, 0, 4 * tile, 4 * tile), 1, 1, tile, overlap)
    profile = np.zeros(grid.padded_width)
    line = blend_window(tile, grid.shared).max(0) / 2**20
    for column in range(grid.columns):
        profile[column * grid.stride : column * grid.stride + tile] += line
    assert profile.max() ** 2 * 2**20 < 2**24


@example(400, MAX_OVERLAP)
@given(st.integers(8, 400), st.floats(0.05, MAX_OVERLAP))
def test_tiles_fade_into_each_other_without_a_step(tile: int, overlap: float) -> None:
    grid = TileGrid.cover(Box(0, 0, 3 * tile, tile), 1, 1, tile, overlap)
    assume(grid.shared >= 2)
    weights = np.zeros((grid.columns, grid.padded_width))
    for column in range(grid.columns):
        weights[column, column * grid.stride :][:tile] = blend_window(tile, grid.shared).max(0)
    shares = weights / weights.sum(0)
    # No steeper than a squared sine over what two tiles share (or half a tile), and the floor at its foot.
    steepest = np.pi / 2 / min(grid.shared, tile / 2) + 0.04
    assert np.abs(np.diff(shares)).max() < steepest
    # Where no neighbour reaches, a tile speaks for itself: nothing of it is wasted.
    assert (shares.max(0)[np.count_nonzero(weights, axis=0) == 1] == 1).all()


def test_a_restored_carry_goes_on_as_if_nothing_had_happened() -> None:
    grid = TileGrid.cover(Box(0, 0, 60, 50), 1, 1, 16, 0.5)
    rng = np.random.default_rng(0)
    values = rng.random((grid.rows, grid.columns, 2, 16, 16), np.float32)
    seen: list[NDArray[np.float32]] = []
    first = RowBlender(grid, 2, lambda strip: seen.append(strip.sums.copy()))
    second: RowBlender | None = None
    for row in range(grid.rows):
        blender = second or first
        blender.begin_row(row)
        blender.add(tuple(range(grid.columns)), values[row])
        blender.end_row()
        if row == 2:
            second = RowBlender(grid, 2, lambda strip: seen.append(strip.sums.copy()))
            second.restore(first.carry.copy())
    got, seen[:] = list(seen), []
    whole = RowBlender(grid, 2, lambda strip: seen.append(strip.sums.copy()))
    for row in range(grid.rows):
        whole.begin_row(row)
        whole.add(tuple(range(grid.columns)), values[row])
        whole.end_row()
    assert len(got) == len(seen)
    for a, b in zip(got, seen, strict=True):
        np.testing.assert_array_equal(a, b)


def test_tiles_must_come_from_left_to_right() -> None:
    grid = TileGrid.cover(Box(0, 0, 60, 16), 1, 1, 16, 0.5)
    blender = RowBlender(grid, 1, lambda strip: None)
    blender.begin_row(0)
    one = np.ones((1, 1, 16, 16), np.float32)
    blender.add((2,), one)
    with pytest.raises(ValueError, match="tile to its right"):
        blender.add((0,), one)
