from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from napari_wsss.plugin.segment.growing import GrowingLevel, GrowingPyramid, shown_chunks
from tiling.geometry import Box
from tiling.store.pyramid import LinePyramid, halve_labels, level_shapes
from tiling.store.reader import open_store


class Chunked(np.ndarray):
    """An array that claims chunks, as zarr arrays do."""

    chunks = (16, 16)


def arrays_of(height: int, width: int) -> list[Chunked]:
    return [np.zeros(shape, np.uint8).view(Chunked) for shape in level_shapes(height, width, smallest=12)]


@given(
    st.integers(20, 120),
    st.integers(13, 60),
    st.lists(st.integers(1, 23), min_size=1, max_size=12),
    st.integers(0, 10),
)
@settings(deadline=None, max_examples=60)
def test_every_level_shows_every_committed_line(
    height: int, width: int, blocks: list[int], seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(1, 5, (height, width), dtype=np.uint8)
    arrays = arrays_of(height, width)
    writer, shown = LinePyramid(arrays, halve_labels), GrowingPyramid(arrays, coarsest_max=12)
    line = 0
    for count in blocks:
        part = labels[line : line + count]
        if not len(part):
            break
        writer.append(part)
        shown.add(Box(0, line, width, len(part)), part)
        line += len(part)
        np.testing.assert_array_equal(shown.levels[0][:line, :], labels[:line])
        assert not np.asarray(shown.levels[0])[line:].any()
        for k, level in enumerate(shown.levels):
            picture = np.asarray(level)
            full = -(-line // 2**k)
            assert (picture[:full] > 0).all()
            assert (picture[full:] == 0).all()
    shown.finish()
    if line == height:
        for level, array in zip(shown.levels, arrays, strict=False):
            np.testing.assert_array_equal(np.asarray(level), array)


def test_memory_holds_only_what_is_not_on_disk() -> None:
    array = np.zeros((64, 8), np.uint8).view(Chunked)
    level = GrowingLevel(array, 1, len(array))
    for line in range(0, 64, 8):
        level.add(Box(0, line, 8, 8), np.ones((8, 8), np.uint8))
        assert sum(len(block) for _, block in level._tail) <= 16
    assert level._tail == []


def test_slices_and_integers() -> None:
    array = np.zeros((32, 8), np.uint8).view(Chunked)
    level = GrowingLevel(array, 1, len(array))
    level.add(Box(2, 3, 4, 2), np.full((2, 4), 7, np.uint8))
    assert level[3, 2] == 7
    assert level[3].tolist() == [0, 0, 7, 7, 7, 7, 0, 0]
    assert level[:, 5][3:5].tolist() == [7, 7]
    assert level[4:6, 5:8].tolist() == [[7, 0, 0], [0, 0, 0]]
    with pytest.raises(IndexError):
        level[::2]


def test_on_a_real_store(store_of: Callable[..., Path]) -> None:
    labels = np.random.default_rng(1).integers(0, 5, (700, 900), dtype=np.uint8)
    arrays = open_store(store_of(labels)).labels()
    shown = GrowingPyramid(arrays, coarsest_max=500)
    np.testing.assert_array_equal(np.asarray(shown.levels[0]), labels)
    assert shown.levels[0].chunks == shown_chunks(arrays[0].chunks)
    shown.add(Box(0, 690, 900, 10), np.full((10, 900), 3, np.uint8))
    assert (shown.coarsest[345:] == 3).all()


@given(st.integers(60, 200), st.integers(13, 40), st.integers(1, 59), st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_a_resumed_run_shows_all_that_was_done(height: int, width: int, chunks_done: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(1, 5, (height, width), dtype=np.uint8)
    arrays = arrays_of(height, width)
    # The engine's finest chunks are whole tile rows: what is committed is on disk there.
    done = min(height, chunks_done * arrays[0].chunks[0])
    LinePyramid(arrays, halve_labels).append(labels[:done])
    shown = GrowingPyramid(arrays, coarsest_max=12, lines_done=done)
    for k, level in enumerate(shown.levels):
        picture = np.asarray(level)
        full = -(-done // 2**k)
        assert (picture[:full] > 0).all()
        assert (picture[full:] == 0).all()


@given(st.integers(1, 2000), st.integers(1, 5000))
def test_napari_asks_for_pieces_that_are_neither_flat_nor_wide(rows: int, columns: int) -> None:
    shown = shown_chunks((rows, columns))
    assert shown[0] % rows == 0, "whole rows of chunks: each is decoded once"
    assert min(512, rows) <= shown[0] < 512 + rows
    assert shown[1] == min(columns, 768)
