"""Polygons to pixels: exactly the pixels whose centre lies inside, in one piece or many, for few polygons or many."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, strategies as st

from tiling.annotations import PolygonRaster, polygons_of

coordinates = st.floats(-30, 80, allow_nan=False, width=32)
outlines = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8)


def areas_of(shapes: list[list[tuple[float, float]]]) -> list[Any]:
    return [area for shape in shapes if (area := polygons_of(shapely.Polygon(shape))) is not None]


@given(st.lists(outlines, min_size=1, max_size=4), st.floats(0.3, 3), st.floats(-5, 5))
def test_a_pixel_is_inside_when_its_centre_is(
    shapes: list[list[tuple[float, float]]], step: float, corner: float
) -> None:
    areas = areas_of(shapes)
    drawn = PolygonRaster(areas).draw(corner, 2 * corner, step, step * 1.1, 40, 35)
    x = corner + (np.arange(40) + 0.5) * step
    y = 2 * corner + (np.arange(35) + 0.5) * step * 1.1
    across, down = np.meshgrid(x, y)
    union = shapely.union_all(areas) if areas else shapely.Polygon()
    inside = shapely.contains_xy(union, across, down)
    # Centres on an edge, to the last bits, may fall to either side.
    edge = shapely.distance(union.boundary, shapely.points(across, down)) < 1e-6
    np.testing.assert_array_equal(drawn[~edge], inside[~edge])


@given(st.lists(outlines, min_size=1, max_size=3), st.integers(0, 60), st.integers(1, 60), st.floats(0.3, 3))
def test_a_window_in_parts_is_the_same(
    shapes: list[list[tuple[float, float]]], first: int, count: int, step: float
) -> None:
    raster = PolygonRaster(areas_of(shapes))
    whole = raster.draw(-3, -7, step, step, 50, first + count)
    np.testing.assert_array_equal(raster.draw(-3, -7, step, step, 50, count, first), whole[first:])


@given(st.lists(outlines, min_size=1, max_size=3), st.floats(0.5, 20))
def test_no_pixel_that_is_touched_is_missed(shapes: list[list[tuple[float, float]]], step: float) -> None:
    areas = areas_of(shapes)
    touched = PolygonRaster(areas).touched(-10, -10, step, step, 12, 9)
    for row in range(9):
        for column in range(12):
            cell = shapely.box(
                -10 + column * step, -10 + row * step, -10 + (column + 1) * step, -10 + (row + 1) * step
            )
            if any(area.intersection(cell).area > 1e-9 for area in areas):
                assert touched[row, column]


def test_whole_pixels_are_exact_and_neighbours_share_none() -> None:
    one, other = shapely.box(50, 50, 150, 150), shapely.box(150, 50, 200, 150)
    a, b = (PolygonRaster([box]).draw(0, 0, 1, 1, 220, 180) for box in (one, other))
    assert (a.sum(), b.sum(), (a & b).sum()) == (10_000, 5_000, 0)
    assert PolygonRaster([one, other, one]).draw(0, 0, 1, 1, 220, 180).sum() == 15_000


def test_a_circle_of_25_pixels_has_its_area() -> None:
    """Outlines were painted on: 3.9 % too much."""
    circle = shapely.Point(50.3, 49.8).buffer(25, quad_segs=64)
    assert PolygonRaster([circle]).draw(0, 0, 1, 1, 100, 100).sum() == pytest.approx(circle.area, rel=0.01)


@pytest.mark.parametrize("far", [1e5, 9e7])
def test_what_lies_far_away_costs_nothing(far: float) -> None:
    boxes = [(10, 10, 20, 20), (far, far, far + 5, far + 5), (-far, 30, far, 31)]
    raster = PolygonRaster([shapely.box(*box) for box in boxes])
    start = time.process_time()
    drawn, touched = raster.draw(0, 0, 1, 1, 200, 200), raster.touched(0, 0, 1, 1, 200, 200)
    assert time.process_time() - start < 0.5
    assert drawn.sum() == 100 + 200
    assert touched[:25, :25].any()
    assert not touched[60:].any()
