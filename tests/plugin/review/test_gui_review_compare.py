from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.plugin.segment.request import RunRequest

pytestmark = pytest.mark.gui


@pytest.fixture
def result(toy: Any, toy_bundle: Bundle, banded_slide: Path, tmp_path: Path) -> Path:
    request = RunRequest(
        banded_slide, toy_bundle, tmp_path / "a.zarr", None, None, None, Preferences(skip_background=False)
    )
    list(toy.events(request))
    return request.out


def test_review_goes_to_the_tile(make_napari_viewer: Callable[..., Any], result: Path, qtbot: Any) -> None:
    viewer = make_napari_viewer()
    _, review = viewer.window.add_plugin_dock_widget("napari-wsss", "Review tiles")
    assert review.table.rowCount() == 0
    viewer.open(str(result), plugin="napari-wsss")
    qtbot.waitUntil(lambda: review.table.rowCount() > 20, timeout=120_000)
    before = viewer.scene.camera.center
    review.table.selectRow(3)
    assert viewer.scene.camera.center != before
    assert "Tile" in viewer.layers
    review.order.setCurrentIndex(1)
    assert "expected in the tile" in review.table.item(0, 1).text()
    viewer.layers.clear()
    qtbot.waitUntil(lambda: review.table.rowCount() == 0, timeout=120_000)


def test_no_picture_of_glass_is_asked_about(
    make_napari_viewer: Callable[..., Any], toy: Any, toy_bundle: Bundle, tmp_path: Path, qtbot: Any
) -> None:
    """Fault 13: tiles at the edge hold two things, so the model is unsure, but what they show is mostly glass."""
    import tifffile

    y, x = np.indices((1200, 1600))
    pixels = np.full((1200, 1600, 3), 245, np.uint8)
    stained = x + 0.4 * y < 900
    noise = np.random.default_rng(0).normal(0, 14, (int(stained.sum()), 3))
    pixels[stained] = np.clip(np.array([170, 90, 160]) + noise, 0, 255)
    slide = tmp_path / "edge.tif"
    scale = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(slide, pixels, tile=(256, 256), photometric="rgb", **scale)
    request = RunRequest(slide, toy_bundle, tmp_path / "edge.zarr", None, None, None, Preferences())
    list(toy.events(request))
    viewer = make_napari_viewer(show=True)
    viewer.open([str(slide), str(request.out)], plugin="napari-wsss")
    _, review = viewer.window.add_plugin_dock_widget("napari-wsss", "Review tiles")
    strip = review.reviewer.strip
    qtbot.waitUntil(lambda: len(strip.tiles) > 3, timeout=120_000)
    qtbot.waitUntil(lambda: all(tile in review.reviewer.pictures for tile in strip.tiles), timeout=120_000)
    for tile in strip.tiles:
        shown = float((review.reviewer.pictures[tile].min(-1) < 215).mean())
        assert shown > 0.25
        assert tile.tissue == pytest.approx(shown, abs=0.1)


def test_compare_shows_a_table_and_a_layer(
    make_napari_viewer: Callable[..., Any], result: Path, qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    _, compare = viewer.window.add_plugin_dock_widget("napari-wsss", "Compare results")
    compare.run.click()
    assert "two different" in compare.error.text()
    _, labels = viewer.open(str(result), plugin="napari-wsss")
    truth = np.asarray(labels.data[0]).copy()
    truth[:300, :200] = 2  # half of the first band
    placed = {"scale": labels.scale, "translate": labels.translate, "units": labels.units}
    viewer.add_labels(truth, name="truth", metadata=labels.metadata, **placed)
    qtbot.waitUntil(lambda: compare.second.currentText() == "truth", timeout=120_000)
    compare.run.click()
    qtbot.waitUntil(lambda: compare.table.rowCount() > 0, timeout=60_000)
    table = {
        compare.table.item(i, 0).text(): compare.table.item(i, 1).text()
        for i in range(compare.table.rowCount())
    }
    assert table["Tumour"] == "0.500"
    assert table["Equal pixels"] == "87.5 %"
    assert "Agreement" in viewer.layers
