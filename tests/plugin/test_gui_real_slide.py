"""A pathologist's session on a real slide: open, run on the view, watch, cancel, resume, measure, export, reopen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_wsss.cli import app
from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.common.preferences import Preferences
from tiling.store.reader import open_store
from tiling.store.receipt import verify

pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.shared]


def shot(viewer: Any) -> np.ndarray:
    return np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3].astype(int)


def differs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (abs(one - other) > 8).any(-1)


def label_files(store: Path) -> dict[str, bytes]:
    folder = store / "labels"
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_from_opening_to_export(
    make_napari_viewer: Callable[..., Any],
    cmu_slide: Path,
    small_bundle: Bundle,
    tmp_path: Path,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
    turnstile: Any,
) -> None:
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.load_preferences", Preferences)
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.save_preferences", lambda preferences: None)
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1500, 1000)
    _, dock = viewer.window.add_plugin_dock_widget("napari-wsss", "Segment slide")
    dock.estimate._measure = False
    session = dock.session
    # The real run, slow enough to be stopped in the middle, and one block of labels at a time to be looked at.
    session._events = lambda request: turnstile.events(request.events(), delay=0.04)
    monkeypatch.setattr("napari_wsss.plugin.segment.session.REFRESH_SECONDS", 0.1)
    session.choose_bundle(str(small_bundle.path))
    session.set_preferences(folder=str(tmp_path / "out"), batch_size=4)
    dock.input.open_path(str(cmu_slide))
    qtbot.wait(300)

    # The view: a part of the tissue, well inside the canvas.
    dock.region.choice.setCurrentIndex(dock.region.choice.findData("view"))
    viewer.scene.camera.center = (700, 550)
    viewer.scene.camera.zoom = 1.2
    qtbot.waitUntil(lambda: "tiles" in dock.run.cost.text(), timeout=60_000)
    region = session.request().region
    assert region is not None
    qtbot.waitUntil(dock.run.run.isEnabled, timeout=120_000)
    dock.run.run.click()
    # From here on the view may move: the run keeps its region. A margin outside of it comes into sight.
    viewer.scene.camera.zoom = 0.9

    # Watch it grow.
    pictures = []
    for _ in range(4):
        turnstile.show_next(session, qtbot)
        pictures.append(shot(viewer))
    turnstile.open()

    # Cancel, resume. The best of three: another program that takes the processor is not ours to answer for.
    seconds: list[float] = []
    while not seconds or (min(seconds) > 1 and len(seconds) < 3):
        qtbot.waitUntil(lambda: session.state.phase == "running", timeout=120_000)
        started = time.monotonic()
        dock.run.cancel.click()
        qtbot.waitUntil(lambda: session.state.phase == "cancelled", timeout=120_000)
        batch = 4 / session.state.tiles_per_second if session.state.tiles_per_second else 0.0
        seconds.append(time.monotonic() - started - batch)
        assert not open_store(session.state.store).is_complete
        qtbot.waitUntil(dock.run.resume.isVisible, timeout=120_000)
        dock.run.resume.click()
    assert min(seconds) <= 1, "cancelled in a second plus a batch"
    qtbot.waitUntil(lambda: session.state.phase == "done", timeout=120_000)
    final = shot(viewer)
    result = session.result_layer
    assert result is not None
    result.visible = False
    plain = shot(viewer)
    result.visible = True

    states = [int(differs(picture, plain).sum()) for picture in (*pictures, final)]
    assert states == sorted(states), "it only grows"
    assert states[0] > 0
    assert len(set(states)) >= 3, "at least two growing states before the last"
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
    qtbot.waitUntil(lambda: dock.run.progress.text().startswith("Finished"), timeout=120_000)
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
    qtbot.waitUntil(lambda: "is written" in session.exports.notice, timeout=60_000)
    _, again = viewer.open(str(tmp_path / "copy.zarr"), plugin="napari-wsss")
    np.testing.assert_array_equal(np.asarray(again.data[0]), np.asarray(result.data[0]))
    np.testing.assert_allclose(again.extent.world, result.extent.world)
    session.export(tmp_path / "outlines.geojson")
    qtbot.waitUntil(lambda: "outlines.geojson is written" in session.exports.notice, timeout=120_000)
    features = json.loads((tmp_path / "outlines.geojson").read_text())["features"]
    by_class: dict[str, float] = dict.fromkeys(areas, 0.0)
    for feature in features:
        measured = feature["properties"]["measurements"]["Area µm^2"]
        by_class[feature["properties"]["classification"]["name"]] += measured / 1e6
    assert by_class == pytest.approx(areas, abs=1e-5)
