from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from napari_wsss.plugin.segment.region import bounding_box, drawn_roi, view_box, visible_corners
from tiling.errors import RegionError
from tiling.geometry import Box
from tiling.plan.roi import Roi


def test_the_box_holds_whole_pixels() -> None:
    # From the left edge of pixel 2 to the right edge of pixel 5; lines 1 to 3.
    assert bounding_box([(0.5, 1.5), (3.5, 5.5)], 100, 100) == Box(2, 1, 4, 3)
    assert bounding_box([(0.6, 1.6), (3.4, 5.4)], 100, 100) == Box(2, 1, 4, 3)


def test_the_box_is_cut_to_the_slide() -> None:
    assert bounding_box([(-50, -50), (500, 70)], 60, 40) == Box(0, 0, 60, 40)
    assert bounding_box([(-50, -50), (-20, 70)], 60, 40).is_empty


@given(st.integers(0, 90), st.integers(0, 90), st.integers(1, 10), st.integers(1, 10))
def test_a_box_comes_back(x: int, y: int, width: int, height: int) -> None:
    corners = [(y - 0.5, x - 0.5), (y + height - 0.5, x + width - 0.5)]
    assert bounding_box(corners, 100, 100) == Box(x, y, width, height)


def test_corners_of_the_canvas() -> None:
    corners = visible_corners((100, 200), 2.0, (80, 60))
    assert corners == [(80, 185), (80, 215), (120, 185), (120, 215)]


def viewer_with(*layers: object, center: tuple[float, float], zoom: float, canvas: tuple[int, int]) -> object:
    from napari.components import LayerList

    return SimpleNamespace(
        scene=SimpleNamespace(camera=SimpleNamespace(center=(0, *center), zoom=zoom)),
        canvas=SimpleNamespace(size=canvas),
        layers=LayerList(layers),
    )


def slide_like(**arguments: object) -> object:
    from napari.layers import Image

    data = [np.zeros((400, 600, 3), np.uint8), np.zeros((100, 150, 3), np.uint8)]
    placed = {"scale": (0.5, 0.5), "units": ("micrometer", "micrometer"), **arguments}
    return Image(data, rgb=True, multiscale=True, **placed)


def test_the_view_in_level_0_pixels() -> None:
    slide = slide_like()
    # 40 × 60 screen pixels at 2 screen pixels per µm: 20 × 30 µm, 40 × 60 level-0 pixels around (100, 200).
    viewer = viewer_with(slide, center=(50, 100), zoom=2, canvas=(40, 60))
    assert view_box(viewer, slide) == Box(170, 80, 61, 41)


def test_a_layer_in_other_units_changes_nothing() -> None:
    from napari.layers import Points

    slide = slide_like()
    points = Points(np.zeros((1, 2)), units=("nanometer", "nanometer"))
    viewer = viewer_with(slide, points, center=(50_000, 100_000), zoom=0.002, canvas=(40, 60))
    if str(viewer.layers.extent.units[0]) == "micrometer":
        viewer = viewer_with(slide, points, center=(50, 100), zoom=2, canvas=(40, 60))
    assert view_box(viewer, slide) == Box(170, 80, 61, 41)


def test_a_moved_and_turned_slide() -> None:
    slide = slide_like(translate=(1000, 2000), rotate=90)
    middle = slide.data_to_world((200, 300))
    viewer = viewer_with(slide, center=middle, zoom=2, canvas=(40, 60))
    box = view_box(viewer, slide)
    # Turned by 90°, the canvas's height runs along the slide's width.
    assert abs(box.width - 41) <= 1
    assert abs(box.height - 61) <= 1
    assert abs(box.x + box.width / 2 - 300) <= 1
    assert abs(box.y + box.height / 2 - 200) <= 1


def test_a_view_beside_the_slide_is_refused() -> None:
    slide = slide_like(name="a.svs")
    viewer = viewer_with(slide, center=(5000, 5000), zoom=2, canvas=(40, 60))
    with pytest.raises(RegionError, match=r"a\.svs"):
        view_box(viewer, slide)


def roi_box(roi: Roi) -> tuple[float, float, float, float]:
    points = np.array([point for polygon in roi.polygons for point in polygon.exterior])
    return (*points.min(0), *points.max(0))


def test_drawn_shapes() -> None:
    from napari.layers import Shapes

    slide = slide_like()
    units = ("micrometer", "micrometer")
    shapes = Shapes([np.array([[10, 20], [10, 40], [30, 40], [30, 20]])], units=units)
    viewer = viewer_with(slide, shapes, center=(0, 0), zoom=1, canvas=(10, 10))
    assert roi_box(drawn_roi(viewer, slide, shapes)) == (40.5, 20.5, 80.5, 60.5)
    # Drawn in the slide's own pixels, as napari's toolbar does with the slide selected.
    pixels = Shapes([shapes.data[0] * 2], scale=(0.5, 0.5), units=units)
    viewer = viewer_with(slide, pixels, center=(0, 0), zoom=1, canvas=(10, 10))
    assert roi_box(drawn_roi(viewer, slide, pixels)) == (40.5, 20.5, 80.5, 60.5)


def test_ellipses_polygons_and_lines() -> None:
    from napari.layers import Shapes

    slide = slide_like(scale=(1, 1))
    shapes = Shapes(units=("micrometer",) * 2)
    shapes.add_ellipses(np.array([[10, 20], [10, 60], [30, 60], [30, 20]]))
    shapes.add_polygons(np.array([[100, 100], [100, 150], [150, 100]]))
    shapes.add_lines(np.array([[0, 0], [300, 300]]))
    viewer = viewer_with(slide, shapes, center=(0, 0), zoom=1, canvas=(10, 10))
    ellipse, triangle = drawn_roi(viewer, slide, shapes).polygons
    points = np.array(ellipse.exterior) - (40.5, 20.5)
    np.testing.assert_allclose((points[:, 0] / 20) ** 2 + (points[:, 1] / 10) ** 2, 1, atol=1e-6)
    assert len(triangle.exterior) == 3


def test_nothing_drawn_and_drawn_elsewhere() -> None:
    from napari.layers import Shapes

    slide = slide_like()
    empty = Shapes(name="ROI")
    viewer = viewer_with(slide, empty, center=(0, 0), zoom=1, canvas=(10, 10))
    with pytest.raises(RegionError, match="Nothing is drawn in ROI"):
        drawn_roi(viewer, slide, empty)
    square = np.array([[9000, 9000], [9000, 9100], [9100, 9100], [9100, 9000]])
    far = Shapes([square], units=("micrometer",) * 2)
    with pytest.raises(RegionError, match="beside"):
        drawn_roi(viewer, slide, far)
