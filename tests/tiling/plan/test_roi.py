"""Regions of interest: read from GeoJSON, drawn exactly, and never too small when tiles are chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from wsss_toys import ColourPredictor, colourful

from tiling.annotations import Place
from tiling.engine.drive import run
from tiling.errors import RegionError
from tiling.geometry import Box
from tiling.grid import TileGrid, select_tiles
from tiling.plan.roi import Polygon, Roi, read_roi
from tiling.plan.run_plan import RunOptions
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.reader import open_store

DONUT = Polygon(
    ((60, 40), (260, 40), (260, 180), (60, 180)), (((120, 80), (200, 80), (200, 140), (120, 140)),)
)


def feature(geometry: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "properties": {}, "geometry": geometry}


def test_only_pixels_inside_get_labels(tmp_path: Path) -> None:
    image = colourful(220, 330)
    options = RunOptions(mpp=0.5, tissue=None, roi=Roi((DONUT,)))
    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        list(run(slide, ColourPredictor(32), tmp_path / "a.zarr", options))
    labels = open_store(tmp_path / "a.zarr").labels()[0][...]
    inside = np.zeros((220, 330), np.bool_)
    inside[40:180, 60:260] = True
    inside[80:140, 120:200] = False
    wrong = labels != np.where(inside, image.argmax(-1) + 1, 0)
    assert not wrong.any()
    assert not labels[90:130, 130:190].any()


@given(
    st.lists(st.tuples(st.floats(-20, 220), st.floats(-20, 220)), min_size=3, max_size=7),
    st.integers(8, 40),
    st.integers(5, 60),
)
def test_every_pixel_inside_lies_in_a_selected_tile(
    corners: list[tuple[float, float]], tile: int, cells: int
) -> None:
    grid = TileGrid.cover(Box(10, -5, 200, 160), 1, 1, tile, 0.25)
    roi = Roi((Polygon(tuple(corners)),))
    selected = select_tiles(grid, roi.coarse(grid, (cells, cells)))
    ys, xs = np.nonzero(roi.lines(grid, 0, grid.height))
    covered = np.zeros((grid.height, grid.width), np.bool_)
    for row, column in np.argwhere(selected).tolist():
        box = grid.tile_box(row, column)
        covered[box.y : box.bottom, box.x : box.right] = True
    assert covered[ys, xs].all()


@given(st.integers(0, 100), st.integers(1, 60))
def test_lines_are_the_same_however_the_canvas_is_cut(first: int, count: int) -> None:
    grid = TileGrid.cover(Box(0, 0, 330, 220), 0.25, 0.5, 32, 0)
    roi = Roi((DONUT,))
    whole = roi.lines(grid, 0, grid.height)
    last = min(first + count, grid.height)
    np.testing.assert_array_equal(roi.lines(grid, first, last), whole[first:last])


def test_files_are_read_in_both_frames(tmp_path: Path) -> None:
    ring = [[0, 0], [10, 0], [10, 5], [0, 0]]
    hole = [[6, 1], [9, 1], [9, 2], [6, 1]]
    data = {
        "type": "FeatureCollection",
        "features": [
            feature({"type": "Polygon", "coordinates": [ring]}),
            feature({"type": "Point", "coordinates": [1, 1]}),
            feature({"type": "MultiPolygon", "coordinates": [[ring, hole]]}),
            {
                **feature({"type": "Polygon", "coordinates": [ring]}),
                "properties": {"classification": "Ignore*"},
            },
        ],
    }
    path = tmp_path / "roi.geojson"
    path.write_text(json.dumps(data))
    roi = read_roi(path, Place())
    assert [len(p.holes) for p in roi.polygons] == [0, 1]
    assert set(roi.polygons[0].exterior) == {(0, 0), (10, 0), (10, 5)}
    assert "point or a line" in roi.notes[0]
    moved = read_roi(path, Place(origin=(100, 200))).polygons[0]
    assert set(moved.exterior) == {(100, 200), (110, 200), (110, 205)}


def test_a_region_drawn_across_itself_is_mended() -> None:
    grid = TileGrid.cover(Box(0, 0, 200, 200), 1, 1, 50, 0)
    bow = Roi((Polygon(((0, 0), (200, 200), (200, 0), (0, 200))),))
    assert bow.lines(grid, 0, 200).sum() == pytest.approx(20_000, abs=200)


@pytest.mark.parametrize("corner", [float("nan"), float("inf")])
def test_a_corner_that_is_no_number_is_refused(corner: float) -> None:
    with pytest.raises(RegionError, match="no number"):
        Polygon(((0, 0), (corner, 1), (5, 5)))


def test_tissue_drawn_by_hand_replaces_what_would_be_found(tmp_path: Path) -> None:
    image = np.full((220, 330, 3), 255, np.uint8)
    options = RunOptions(mpp=0.5, tissue_areas=Roi((DONUT,)))
    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        list(run(slide, ColourPredictor(32), tmp_path / "a.zarr", options))
    store = open_store(tmp_path / "a.zarr")
    inside = np.zeros((220, 330), np.bool_)
    inside[40:180, 60:260] = True
    inside[80:140, 120:200] = False
    np.testing.assert_array_equal(store.labels()[0][...] > 0, inside)
    assert store.receipt is not None
    assert store.receipt["tissue"]["how"] == "drawn by hand"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"type": "FeatureCollection", "features": []}',
        '{"type": "Point", "coordinates": [1, 2]}',
        '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}',
        '{"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 2]]]}',
    ],
)
def test_bad_files_are_one_clear_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "roi.geojson"
    path.write_text(content)
    with pytest.raises(RegionError):
        read_roi(path, Place())


def test_a_roi_outside_is_refused(tmp_path: Path) -> None:
    far = Roi((Polygon(((5000, 5000), (6000, 5000), (6000, 6000))),))
    with (
        Slide(ArrayReader(colourful(100, 100), mpp=0.5)) as slide,
        pytest.raises(RegionError, match="--frame"),
    ):
        list(run(slide, ColourPredictor(32), tmp_path / "a.zarr", RunOptions(mpp=0.5, tissue=None, roi=far)))
