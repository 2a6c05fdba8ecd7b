"""Rasters become polygons and come back: exact, valid, without seams, neighbours edge to edge."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from tiling.polygons import Region, label_regions


def rasterised(regions: list[Region], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw by pixel centres, and fail where two regions overlap."""
    x, y = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    image = np.zeros(shape, np.uint8)
    for region in regions:
        inside = shapely.contains_xy(region.polygon, x, y)
        assert not image[inside].any()
        image[inside] = region.label
    return image


def count_regions(labels: NDArray[np.uint8]) -> int:
    return sum(ndimage.label(labels == value)[1] for value in np.unique(labels) if value)


def blobs(height: int, width: int, seed: int, sigma: float = 4) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.standard_normal((height, width)), sigma) for _ in range(4)]
    return np.argmax(fields, axis=0).astype(np.uint8)


small_rasters = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 2)
)


@given(labels=small_rasters, block=st.integers(1, 13))
@settings(max_examples=150, deadline=None)
def test_any_raster_comes_back_whatever_the_block(labels: NDArray[np.uint8], block: int) -> None:
    regions = list(label_regions(labels, block=block))
    assert all(r.polygon.geom_type == "Polygon" and r.polygon.is_valid for r in regions)
    assert len(regions) == count_regions(labels)
    np.testing.assert_array_equal(rasterised(regions, labels.shape), labels)


@given(labels=small_rasters, block=st.integers(1, 13))
@settings(max_examples=60, deadline=None)
def test_a_region_is_named_by_its_first_pixel_whatever_the_block(
    labels: NDArray[np.uint8], block: int
) -> None:
    whole = {(r.label, r.first) for r in label_regions(labels)}
    assert {(r.label, r.first) for r in label_regions(labels, block=block)} == whole
    assert all(labels[first] == label for label, first in whole)


def test_holes_stay_holes_and_hold_their_own_region() -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[1:8, 1:8] = 1
    labels[3:6, 3:6] = 2
    labels[4, 4] = 0
    for block in (9, 4):
        ring, core = sorted(label_regions(labels, block=block), key=lambda region: region.label)
        assert (ring.polygon.area, len(ring.polygon.interiors)) == (40, 1)
        assert (core.polygon.area, len(core.polygon.interiors)) == (8, 1)


def test_a_hole_that_touches_the_outline_in_a_corner_is_valid() -> None:
    labels = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.uint8)
    (region,) = label_regions(labels)
    assert region.polygon.is_valid
    assert region.polygon.area == 7


def test_a_spiral_across_blocks_is_one_region() -> None:
    labels = np.zeros((15, 15), np.uint8)
    for inset in range(0, 7, 2):
        labels[inset, inset : 15 - inset] = 1
        labels[inset : 15 - inset, 14 - inset] = 1
        labels[14 - inset, inset : 15 - inset] = 1
        labels[inset + 2 : 15 - inset, inset] = 1
        labels[inset + 2, inset : inset + 2] = 1
    assert count_regions(labels) == 1
    assert len(list(label_regions(labels, block=4))) == 1


def test_only_blocks_are_read_and_finished_regions_are_handed_out_early() -> None:
    class Watched:
        """An array that notes what is read."""

        def __init__(self, array: NDArray[np.uint8]) -> None:
            self._array, self.reads = array, 0

        @property
        def shape(self) -> tuple[int, ...]:
            return self._array.shape

        def __getitem__(self, key: tuple[slice, slice]) -> NDArray[np.uint8]:
            self.reads += 1
            block: NDArray[np.uint8] = self._array[key]
            assert max(block.shape) <= 16
            return block

    labels = np.zeros((64, 64), np.uint8)
    labels[2:5, 2:5] = 1
    labels[60:62, 60:62] = 2
    watched = Watched(labels)
    regions = label_regions(watched, block=16)
    assert next(regions).label == 1
    assert watched.reads == 4
    assert next(regions).label == 2
    assert watched.reads == 16


@pytest.mark.parametrize("block", [200, 48])
def test_simplified_neighbours_share_their_edges(block: int) -> None:
    labels = blobs(140, 160, seed=1, sigma=6) + 1  # no background: the regions tile the whole raster
    exact = list(label_regions(labels.astype(np.uint8), block=block))
    simple = list(label_regions(labels.astype(np.uint8), block=block, tolerance=2.0))
    assert all(r.polygon.is_valid and r.polygon.geom_type == "Polygon" for r in simple)
    corners = [sum(shapely.get_num_coordinates(r.polygon) for r in regions) for regions in (exact, simple)]
    assert corners[1] < corners[0] / 2
    # No gap and no overlap anywhere: the areas add up, alone and united.
    assert sum(r.polygon.area for r in simple) == pytest.approx(labels.size)
    assert shapely.union_all([r.polygon for r in simple]).area == pytest.approx(labels.size)
    x, y = np.meshgrid(np.arange(160) + 0.5, np.arange(140) + 0.5)
    same = sum(int((labels[shapely.contains_xy(r.polygon, x, y)] == r.label).sum()) for r in simple)
    assert same / labels.size > 0.95


def test_no_class_no_region() -> None:
    assert list(label_regions(np.zeros((5, 7), np.uint8))) == []


def test_a_whole_raster_of_one_class_is_a_box() -> None:
    (region,) = label_regions(np.full((5, 7), 3, np.uint8), block=2)
    assert region.polygon.equals(shapely.box(0, 0, 7, 5))
    assert region.label == 3
