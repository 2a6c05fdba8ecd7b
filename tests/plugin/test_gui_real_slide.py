"""A pathologist's session on a real slide: open, run on the view, watch, cancel, resume, measure, export, reopen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_wsss.cli import app
from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.preferences import Preferences
from napari_wsss.plugin.request import RunRequest
from tiling.events import Event, TilesDone
from tiling.receipt import verify
from tiling.store import open_store

pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.shared]


def shot(viewer: Any) -> np.ndarray:
    return np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3].astype(int)


def differs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (abs(one - other) > 8).any(-1)


def label_files(store: Path) -> dict[str, bytes]:
    folder = store / "labels"
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def slowly(request: RunRequest) -> Generator[Event]:
    """The real run, slow enough to be watched and cancelled on any machine."""
    with closing(request.events()) as events:
        for event in events:
            if isinstance(event, TilesDone):
                time.sleep(0.04)
            yield event


def test_from_opening_to_export(
    make_napari_viewer: Callable[..., Any],
    cmu_slide: Path,
    small_bundle: Bundle,
    tmp_path: Path,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("napari_wsss.plugin.choices.load_preferences", Preferences)
    monkeypatch.setattr("napari_wsss.plugin.choices.save_preferences", lambda preferences: None)
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1500, 1000)
    _, dock = viewer.window.add_plugin_dock_widget("napari-wsss", "Segment slide")
    dock.estimate._measure = False
    session = dock.session
    session._events = slowly
    monkeypatch.setattr("napari_wsss.plugin.session.REFRESH_SECONDS", 0.1)
    session.choose_bundle(str(small_bundle.path))
    session.set_preferences(folder=str(tmp_path / "out"), batch_size=4)
    dock.input.open_path(str(cmu_slide))
    qtbot.wait(300)

    # The view: a part of the tissue, well inside the canvas.
    dock.region.view.click()
    viewer.scene.camera.center = (700, 550)
    viewer.scene.camera.zoom = 1.2
    qtbot.waitUntil(lambda: "tiles" in dock.run.cost.text(), timeout=60_000)
    region = session.request().region
    assert region is not None
    qtbot.waitUntil(dock.run.run.isEnabled)
    dock.run.run.click()
    # From here on the view may move: the run keeps its region. A margin outside of it comes into sight.
    viewer.scene.camera.zoom = 0.9

    # Watch it grow.
    pictures = []
    while session.state.tiles_done < 0.5 * max(1, session.state.tiles):
        qtbot.wait(60)
        pictures.append(shot(viewer))
    started = time.monotonic()
    dock.run.cancel.click()
    qtbot.waitUntil(lambda: session.state.phase == "cancelled", timeout=30_000)
    batch_seconds = 4 / max(1.0, session.state.tiles_per_second)
    # Under a second plus a batch on a machine of our own; twice that where tests share it.
    assert time.monotonic() - started < 2 * (1 + batch_seconds)
    assert not open_store(session.state.store).is_complete
    qtbot.waitUntil(dock.run.resume.isVisible)
    dock.run.resume.click()
    qtbot.waitUntil(lambda: session.state.phase == "done", timeout=120_000)
    final = shot(viewer)
    result = session.result_layer
    assert result is not None
    result.visible = False
    plain = shot(viewer)
    result.visible = True

    pictures = [picture for picture in pictures if picture.shape == plain.shape]
    states = sorted({int(differs(picture, plain).sum()) for picture in pictures} - {0})
    assert len(states) >= 2, "at least two growing states"
    to_screen = 0.9 * 0.499
    height, width = plain.shape[:2]
    centre = np.array(viewer.scene.camera.center[-2:])
    edges = [
        (np.array(corner) * 0.499 - centre) * 0.9 + (height / 2, width / 2)
        for corner in ((region.y, region.x), (region.bottom, region.right))
    ]
    outside = np.ones((height, width), bool)
    (top, left), (bottom, right) = (np.round(edge).astype(int) for edge in edges)
    outside[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3] = False
    assert outside.mean() > 0.1
    assert to_screen > 0
    for picture in (*pictures, final):
        assert not differs(picture, plain)[outside].any()

    # The same as on the command line.
    box = f"{region.x},{region.y},{region.width},{region.height}"
    arguments = ["run", str(cmu_slide), "--out", str(tmp_path / "cli"), "--model", str(small_bundle.path)]
    answer = CliRunner().invoke(app, [*arguments, "--region", box])
    assert answer.exit_code == 0, answer.output
    ours = session.state.store
    assert ours is not None
    assert label_files(ours) == label_files(tmp_path / "cli" / f"{cmu_slide.stem}.zarr")
    assert verify(ours).ok

    # Legend and receipt say the same.
    areas = open_store(ours).areas
    assert {row.name: row.mm2 for row in session.legend()} == areas
    qtbot.waitUntil(lambda: dock.run.progress.text().startswith("Finished"))
    assert [row.name.text() for row in dock.legend.rows] == list(areas)

    # Hide the largest class: its colour goes.
    largest = max(range(4), key=lambda i: list(areas.values())[i])
    result.opacity = 1.0
    color = np.array(small_bundle.schema.classes[largest].rgb)
    assert (abs(shot(viewer) - color) < 6).all(-1).sum() > 1000
    dock.legend.rows[largest].name.click()
    assert not (abs(shot(viewer) - color) < 6).all(-1).any()

    # Export and read again.
    session.export(tmp_path / "copy.zarr")
    qtbot.waitUntil(lambda: "is written" in session.notice, timeout=60_000)
    _, again = viewer.open(str(tmp_path / "copy.zarr"), plugin="napari-wsss")
    np.testing.assert_array_equal(np.asarray(again.data[0]), np.asarray(result.data[0]))
    np.testing.assert_allclose(again.extent.world, result.extent.world)
    session.export(tmp_path / "outlines.geojson")
    qtbot.waitUntil(lambda: "outlines.geojson is written" in session.notice, timeout=120_000)
    features = json.loads((tmp_path / "outlines.geojson").read_text())["features"]
    by_class: dict[str, float] = dict.fromkeys(areas, 0.0)
    for feature in features:
        measured = feature["properties"]["measurements"]["Area µm^2"]
        by_class[feature["properties"]["classification"]["name"]] += measured / 1e6
    assert by_class == pytest.approx(areas, abs=1e-5)
