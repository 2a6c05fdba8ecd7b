"""Growing pyramids: any cut into lines gives the same levels; labels are never invented."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import zarr
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from tiling.store.pyramid import LinePyramid, halve_labels, halve_mean, level_shapes

images = st.tuples(st.integers(1, 60), st.integers(1, 40), st.integers(0, 2**32 - 1)).map(
    lambda t: np.random.default_rng(t[2]).integers(0, 5, t[:2]).astype(np.uint8)
)


def arrays_for(image: NDArray[np.uint8], chunk: int) -> list[zarr.Array[Any]]:
    return [
        zarr.create_array({}, shape=shape, chunks=(min(chunk, shape[0]), min(16, shape[1])), dtype="uint8")
        for shape in level_shapes(*image.shape, smallest=8)
    ]


@given(images)
def test_halving_labels_takes_the_most_frequent(image: NDArray[np.uint8]) -> None:
    half = halve_labels(image)
    height, width = image.shape
    assert half.shape == (-(-height // 2), -(-width // 2))
    for y in range(half.shape[0]):
        for x in range(half.shape[1]):
            cell = image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel()
            counts = np.bincount(cell, minlength=6)
            assert counts[half[y, x]] == counts.max()


@given(images)
def test_halving_means_rounds(image: NDArray[np.uint8]) -> None:
    padded = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2)), mode="edge").astype(float)
    mean = (padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]) / 4
    np.testing.assert_array_equal(halve_mean(image), np.floor(mean + 0.5))


@settings(max_examples=15)
@given(images, st.integers(1, 9), st.lists(st.integers(1, 20), min_size=1, max_size=60), st.integers(0, 59))
def test_any_cut_and_any_interruption_give_the_same_pyramid(
    image: NDArray[np.uint8], chunk: int, cuts: list[int], stop: int
) -> None:
    expected = [image]
    while max(expected[-1].shape) > 8:
        expected.append(halve_labels(expected[-1]))
    arrays = arrays_for(image, chunk)
    pyramid = LinePyramid(arrays, halve_labels)
    line = 0
    for index in range(len(cuts) + image.shape[0]):
        if line == image.shape[0]:
            break
        count = cuts[index % len(cuts)]
        pyramid.append(image[line : line + count])
        line = min(line + count, image.shape[0])
        if index == stop:  # as after a kill: new object, state from the journal
            state = {k: v.copy() for k, v in pyramid.pending().items()}
            pyramid = LinePyramid(arrays, halve_labels)
            pyramid.restore(state, line)
    for array, level in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array[...], level)


@given(images)
def test_coarse_levels_hold_only_labels_of_the_finest(image: NDArray[np.uint8]) -> None:
    known, level = set(np.unique(image)), image
    while max(level.shape) > 1:
        level = halve_labels(level)
        assert set(np.unique(level)) <= known


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_levels_halve_until_small(height: int, width: int) -> None:
    shapes = level_shapes(height, width)
    assert shapes[0] == (height, width)
    assert max(shapes[-1]) <= 512
    for (h, w), (hh, ww) in pairwise(shapes):
        assert (hh, ww) == (-(-h // 2), -(-w // 2))


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4))
def test_only_chunks_that_hold_something_are_written(filled: list[list[bool]]) -> None:
    image = np.kron(np.array(filled, np.uint8), np.pad(np.uint8([[3]]), ((0, 7), (15, 0))))
    store: dict[str, Any] = {}
    array = zarr.create_array(store, shape=image.shape, chunks=(8, 16), dtype="uint8")
    LinePyramid([array], halve_labels).append(image)
    assert sum(key.startswith("c/") for key in store) == sum(map(sum, filled))
    np.testing.assert_array_equal(array[...], image)
