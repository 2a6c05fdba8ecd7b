"""The presence field: equal to a plain computation over the whole canvas, however strips are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from wsss_toys import ColourPredictor, colourful, tree_bytes

from tiling.engine import Planned, RowBlender, Strip, run
from tiling.engine.field import FieldGate
from tiling.geometry import Box
from tiling.grid import MAX_OVERLAP, TileGrid
from tiling.plan import RunOptions
from tiling.slides import Slide
from tiling.slides.readers.array import ArrayReader
from tiling.store import open_store

CLASSES = 3
Tiles = dict[tuple[int, int], NDArray[np.float32]]

grids = st.builds(
    lambda w, h, tile, overlap: TileGrid.cover(Box(0, 0, w, h), 1, 1, tile, overlap).holding(),
    st.integers(1, 100),
    st.integers(1, 80),
    st.integers(4, 24),
    st.floats(0, MAX_OVERLAP),
)


def as_slide(image: NDArray[np.uint8]) -> Slide:
    return Slide(ArrayReader(image, mpp=0.5))


def sweep(
    grid: TileGrid, tiles: Tiles, presence: Tiles, thresholds: tuple[float, ...], batch: int, stop: int = -1
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """Blend and gate; at row ``stop`` go on with fresh objects, as a resumed run does."""
    sums = np.zeros((CLASSES, grid.height, grid.width), np.float32)
    weights = np.zeros((grid.height, grid.width), np.float32)
    labels = np.zeros((grid.height, grid.width), np.uint8)
    row = 0

    def take(strip: Strip) -> None:
        lines = slice(*grid.finished_lines(row))
        sums[:, lines][:, *strip.place] = strip.sums
        weights[lines][strip.place] = strip.weights
        labels[lines][strip.place] = strip.labels()

    def fresh() -> tuple[FieldGate, RowBlender]:
        gate = FieldGate(grid, thresholds, CLASSES, take)
        return gate, RowBlender(grid, CLASSES, gate.take)

    gate, blender = fresh()
    for row in range(grid.rows):
        if row == stop:
            before = gate.presence.copy(), blender.carry.copy()
            gate, blender = fresh()
            gate.restore(before[0])
            blender.restore(before[1])
        columns = [c for c in range(grid.columns) if (row, c) in tiles]
        gate.begin_row(row)
        blender.begin_row(row)
        for i in range(0, len(columns), batch):
            some = tuple(columns[i : i + batch])
            gate.know(some, np.stack([presence[row, c] for c in some]))
            blender.add(some, np.stack([tiles[row, c] for c in some]))
        blender.end_row()
        gate.end_row()
    return sums, weights, labels


def some_tiles(grid: TileGrid, seed: int, share: float) -> tuple[Tiles, Tiles]:
    rng = np.random.default_rng(seed)
    places = [(r, c) for r in range(grid.rows) for c in range(grid.columns) if rng.random() < share]
    tiles = {}
    for place in places:
        value = np.maximum(rng.random((CLASSES, grid.tile, grid.tile), np.float32), np.float32(1 / 8))
        tiles[place] = value / value.sum(0)
    return tiles, {place: rng.random(CLASSES, np.float32) for place in places}


def ungated(grid: TileGrid, tiles: Tiles) -> NDArray[np.float32]:
    """Return the blended sums before any gate, (C, height, width)."""
    sums = np.zeros((CLASSES, grid.height, grid.width), np.float32)
    row = 0

    def take(strip: Strip) -> None:
        sums[:, slice(*grid.finished_lines(row))][:, *strip.place] = strip.sums

    blender = RowBlender(grid, CLASSES, take)
    for row in range(grid.rows):
        columns = tuple(c for c in range(grid.columns) if (row, c) in tiles)
        blender.begin_row(row)
        if columns:
            blender.add(columns, np.stack([tiles[row, c] for c in columns]))
        blender.end_row()
    return sums


def plain_margins(
    grid: TileGrid, presence: Tiles, thresholds: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum over all centres what each gives to each pixel: (C, height, width) margins, and (height, width) of say."""

    def hat(count: int, extent: int) -> NDArray[np.float64]:
        place = np.clip((np.arange(extent) + 0.5 - grid.tile / 2) / grid.stride, 0, count - 1)
        return np.maximum(0, 1 - np.abs(place[None] - np.arange(count)[:, None]))

    def logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(np.log(p) - np.log1p(-p), -5, 5)

    down, across = hat(grid.rows, grid.height), hat(grid.columns, grid.width)
    margins = np.zeros((CLASSES, grid.height, grid.width))
    say = np.zeros((grid.height, grid.width))
    limits = logit(np.array(thresholds))
    for (r, c), value in presence.items():
        weight = np.outer(down[r], across[c])
        say += weight
        margins += weight * (logit(value.astype(float)) - limits)[:, None, None]
    return margins, say


@given(
    grids, st.integers(0, 2**32 - 1), st.floats(0.2, 1), st.sampled_from([(0.05, 0.1, 0.2), (0.3, 0.5, 0.4)])
)
@settings(max_examples=60, deadline=None)
def test_the_field_equals_a_plain_one_and_no_cut_shows(
    grid: TileGrid, seed: int, share: float, thresholds: tuple[float, ...]
) -> None:
    tiles, presence = some_tiles(grid, seed, share)
    sums, weights, labels = sweep(grid, tiles, presence, thresholds, 100)
    margins, say = plain_margins(grid, presence, thresholds)
    before = ungated(grid, tiles)
    # Beyond the reach of all centres nothing is closed; where no class passes one does.
    opened = (margins > 0) | (say == 0)
    judged = (say == 0) | ((np.abs(margins) > 2e-3).all(0) & opened.any(0))
    expected = np.where(opened, before, 0)
    np.testing.assert_array_equal(sums[:, judged], expected[:, judged])
    assert ((labels > 0) == (before > 0).any(0)).all(), "every pixel with a tile gets a class"
    for batch, stop in ((1, -1), (3, grid.rows // 2)):
        again = sweep(grid, tiles, presence, thresholds, batch, stop)
        for one, other in zip((sums, weights, labels), again, strict=True):
            np.testing.assert_array_equal(one, other)


@given(
    st.integers(4, 24), st.integers(0, 2**32 - 1), st.sampled_from([(0.2,), (0.5, 0.9, 0.9), (0.0,), (1.0,)])
)
def test_one_tile_is_gated_as_tiles_are(tile: int, seed: int, thresholds: tuple[float, ...]) -> None:
    grid = TileGrid.cover(Box(0, 0, tile, tile), 1, 1, tile, 0.25).holding()
    tiles, presence = some_tiles(grid, seed, 1.1)
    labels = sweep(grid, tiles, presence, thresholds, 1)[2]
    passed = presence[0, 0] > np.array(thresholds, np.float32)
    passed[presence[0, 0].argmax()] |= not passed.any()
    expected = np.where(passed[:, None, None], tiles[0, 0], -1).argmax(0) + 1
    # Sums are whole numbers: probabilities nearer than that are equal.
    best = np.sort(np.where(passed[:, None, None], tiles[0, 0], -1), axis=0)
    clear = best[-1] - best[-2] > 2**-11
    np.testing.assert_array_equal(labels[clear], expected[clear])


def test_glass_has_no_say() -> None:
    grid = TileGrid.cover(Box(0, 0, 80, 16), 1, 1, 16, 0.25).holding()
    tile = np.broadcast_to(np.array([0.6, 0.3, 0.1], np.float32)[:, None, None], (3, 16, 16))
    open_, shut = np.array([0.9, 0.9, 0.9], np.float32), np.array([0.01, 0.9, 0.9], np.float32)
    alone = sweep(grid, {(0, 2): tile}, {(0, 2): shut}, (0.1,), 1)[2]
    assert set(np.unique(alone[:, 24:40])) == {2}
    beside = sweep(grid, {(0, 2): tile, (0, 3): tile}, {(0, 2): shut, (0, 3): open_}, (0.1,), 1)[2]
    # From one centre (column 32) to the next (44) the class opens once.
    assert (beside[0, 24:33] == 2).all()
    assert (beside[0, 43:52] == 1).all()
    assert np.count_nonzero(np.diff(beside[0, 24:52].astype(int))) == 1


def test_a_pixel_that_only_closed_classes_want_gets_the_most_present_open_class() -> None:
    grid = TileGrid.cover(Box(0, 0, 8, 8), 1, 1, 8, 0).holding()
    sure = np.zeros((3, 8, 8), np.float32)
    sure[0] = 1
    presence = np.array([0.01, 0.5, 0.9], np.float32)
    sums, weights, labels = sweep(grid, {(0, 0): sure}, {(0, 0): presence}, (0.1,), 1)
    assert (labels == 3).all()
    np.testing.assert_array_equal(sums[2], weights)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_batches_and_threads_do_not_change_a_store(tmp_path: Path, overlap: float) -> None:
    slide = as_slide(colourful(150, 210))
    stores = []
    for batch, threads in ((1, 1), (4, 3), (100, 2)):
        options = RunOptions(
            mpp=0.5,
            tissue=None,
            overlap=overlap,
            batch_size=batch,
            read_threads=threads,
            gate_mode="field",
            probabilities=True,
        )
        out = tmp_path / f"{batch}.zarr"
        list(run(slide, ColourPredictor(32, thresholds=(0.45,)), out, options, name="same"))
        stores.append(tree_bytes(out))
    assert stores[0] == stores[1] == stores[2]


def test_the_receipt_says_which_gate(tmp_path: Path) -> None:
    options = RunOptions(mpp=0.5, tissue=None, gate_mode="field")
    cases = {
        "field": (colourful(100, 100), (0.4,)),
        "tile": (colourful(30, 20), (0.4,)),  # one tile: both are the same
        "none": (colourful(100, 100), None),
    }
    for name, (image, thresholds) in cases.items():
        out = tmp_path / f"{name}.zarr"
        slide = as_slide(image)
        planned = next(iter(run(slide, ColourPredictor(32, thresholds=thresholds), out, options)))
        assert isinstance(planned, Planned)
        said = open_store(out).run["parameters"]["gate_mode"]
        assert said == ("field" if name == "field" else "tile")
