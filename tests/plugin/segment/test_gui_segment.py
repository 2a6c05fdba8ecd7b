from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiling.store.reader import open_store
from tiling.synthetic import SYNTHETIC_SCHEMA

pytestmark = pytest.mark.gui

Opened = tuple[Any, Any]


def until(qtbot: Any, condition: Callable[[], bool], timeout: int = 120_000) -> None:
    qtbot.waitUntil(condition, timeout=timeout)


def press(qtbot: Any, button: Any) -> None:
    until(qtbot, button.isEnabled)
    button.click()


def shot(viewer: Any) -> np.ndarray:
    return np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3].astype(int)


def visible(widget: Any) -> bool:
    return bool(widget.isVisible())


def _choose_exports(widget: Any, folder: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each entry of the menu asks for a place and writes there; the folder is shown."""
    from qtpy.QtGui import QDesktopServices
    from qtpy.QtWidgets import QFileDialog

    until(qtbot, lambda: visible(widget.results.export))
    for ending, action in widget.results.actions_by_ending.items():
        path = folder / f"export{ending}"
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, path=path: (str(path), ""))
        action.trigger()
        until(qtbot, lambda path=path: widget.results.notice.whole == f"{path} is written.")
        assert path.exists()
    assert len(widget.results.actions_by_ending) >= 5
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    widget.results.folder.trigger()
    assert opened == [str(widget.session.result.store.parent)]


def test_run_from_the_dock(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, widget = open_dock()
    assert not widget.run.run.isEnabled()
    widget.input.open_path(str(banded_slide))
    until(qtbot, lambda: "tiles" in widget.run.cost.text())
    assert widget.input.slides.currentText() == "banded.tif"
    assert widget.input.mpp.value() == 0.5
    assert widget.run.run.isEnabled()
    press(qtbot, widget.run.run)
    until(qtbot, lambda: widget.session.state.phase == "done")
    until(qtbot, lambda: widget.run.progress.text().startswith("Finished"))
    assert visible(widget.run.run)
    assert not visible(widget.run.cancel)
    store = open_store(widget.session.state.store)
    texts = [(row.name.text(), row.area.text()) for row in widget.legend.rows]
    assert texts == [(name, f"{area:.3f} mm²") for name, area in store.areas.items()]
    assert [row.share.text() for row in widget.legend.rows] == ["25.0 %"] * 4
    _choose_exports(widget, banded_slide.parent, qtbot, monkeypatch)
    # Every class is where it should be, in its colour.
    viewer.layers[1].opacity = 1.0
    viewer.reset_view()
    picture = shot(viewer)
    middle = picture[picture.shape[0] // 2]
    inside = np.flatnonzero((abs(middle - np.array(SYNTHETIC_SCHEMA.classes[0].rgb)) < 8).all(-1))
    width = len(inside)
    for band, tissue in enumerate(SYNTHETIC_SCHEMA.classes):
        np.testing.assert_allclose(middle[inside[0] + width * band + width // 2], tissue.rgb, atol=8)


def test_it_grows_inside_the_region_and_nowhere_else(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any, toy: Any, turnstile: Any
) -> None:
    viewer, widget = open_dock()
    widget.session._events = lambda request: turnstile.events(toy.events(request))
    widget.input.open_path(str(banded_slide))
    widget.region.choice.setCurrentIndex(2)
    # 400 × 300 µm in the middle of 800 × 600 µm.
    rectangle = np.array([[150, 200], [150, 600], [450, 600], [450, 200]])
    shapes = viewer.add_shapes([rectangle], units=("micrometer",) * 2, name="Region", visible=False)
    widget.session.choose_shapes(shapes)
    viewer.layers.selection.clear()
    press(qtbot, widget.run.run)
    pictures = []
    for _ in range(3):
        turnstile.show_next(widget.session, qtbot)
        pictures.append(shot(viewer))
    turnstile.open()
    until(qtbot, lambda: widget.session.state.phase == "done")
    last = shot(viewer)
    # Without the result the picture is what it was before.
    viewer.layers["banded-region tissue"].visible = False
    before = shot(viewer)
    changes = [(abs(p - before) > 8).any(-1) for p in (*pictures, last)]
    sizes = [int(change.sum()) for change in changes]
    assert sizes[:-1] == sorted(set(sizes[:-1])), "every picture shows more than the one before"
    assert sizes[-1] >= sizes[-2]  # what is on disk may have been seen before its block was told
    assert sizes[0] > 0
    height, width = before.shape[:2]
    scale = viewer.scene.camera.zoom
    center = viewer.scene.camera.center[-2:]
    top, left = ((np.array([150, 200]) - center) * scale + (height / 2, width / 2)).round().astype(int)
    bottom, right = ((np.array([450, 600]) - center) * scale + (height / 2, width / 2)).round().astype(int)
    outside = np.ones((height, width), bool)
    outside[top - 2 : bottom + 3, left - 2 : right + 3] = False
    for change in changes:
        assert not change[outside].any()
    assert (abs(last - before) > 8).any(-1)[top + 3 : bottom - 3, left + 3 : right - 3].mean() > 0.95


def test_cancel_resume_from_the_dock(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any, toy: Any
) -> None:
    pause = toy.Pause(after=40)
    viewer, widget = open_dock(pause=pause)
    widget.input.open_path(str(banded_slide))
    press(qtbot, widget.run.run)
    pause.wait_for(widget.session)
    until(qtbot, lambda: visible(widget.run.cancel))
    assert not visible(widget.run.run)
    before = widget.session.state.tiles_done
    widget.run.cancel.click()
    until(qtbot, lambda: widget.run.cancel.text() == "Cancelling…")
    assert not widget.run.cancel.isEnabled()
    pause.end()
    until(qtbot, lambda: widget.session.state.phase == "cancelled")
    assert widget.session.state.tiles_done - before <= 4  # the batch in work, and no more
    until(qtbot, lambda: visible(widget.run.resume))
    assert "not finished" in widget.run.progress.text()
    layer = viewer.layers[1]
    widget.run.resume.click()
    until(qtbot, lambda: widget.session.state.phase == "done")
    assert viewer.layers[1] == layer
    np.testing.assert_array_equal(
        np.asarray(layer.data[0]), open_store(widget.session.state.store).labels()[0][:]
    )


def test_a_class_is_hidden(open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any) -> None:
    viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    press(qtbot, widget.run.run)
    until(qtbot, lambda: len(widget.legend.rows) == 4 and widget.session.state.phase == "done")
    layer = viewer.layers[1]
    layer.opacity = 1.0
    rgb = np.array(SYNTHETIC_SCHEMA.classes[1].rgb)
    assert (abs(shot(viewer) - rgb) < 8).all(-1).mean() > 0.05
    widget.legend.rows[1].name.click()
    assert not (abs(shot(viewer) - rgb) < 8).all(-1).any()
    widget.legend.rows[1].name.click()
    assert (abs(shot(viewer) - rgb) < 8).all(-1).mean() > 0.05
    widget.legend.opacity.setValue(30)
    assert layer.opacity == pytest.approx(0.3)
    widget.legend.contour.setValue(3)
    assert layer.contour == 3


def test_errors_stand_in_the_panel(
    open_dock: Callable[..., Opened], tmp_path: Path, qtbot: Any, toy: Any
) -> None:
    viewer, widget = open_dock()
    broken = tmp_path / "broken.svs"
    broken.write_text("text")
    widget.input.open_path(str(broken))
    until(qtbot, lambda: "broken.svs" in widget.run.error.text())
    assert visible(widget.run.error)
    with pytest.warns(UserWarning, match="shown in pixels"):
        widget.input.open_path(str(toy.write_banded(tmp_path / "plain.tif", mpp=None)))
    until(qtbot, lambda: "µm per pixel" in widget.input.warning.text())
    assert not visible(widget.run.error)
    assert widget.input.mpp.text() == "unknown"
    until(qtbot, lambda: "µm per pixel" in widget.run.cost.text())
    assert not widget.run.run.isEnabled()
    widget.input.mpp.setValue(0.5)
    assert tuple(viewer.layers[0].scale) == (0.5, 0.5)
    press(qtbot, widget.run.run)
    until(qtbot, lambda: widget.session.state.phase == "done")


def test_the_layer_is_deleted_and_shown_again(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any
) -> None:
    viewer, widget = open_dock(delay=0.02)
    widget.input.open_path(str(banded_slide))
    press(qtbot, widget.run.run)
    until(qtbot, lambda: len(viewer.layers) == 2)
    del viewer.layers[1]
    until(qtbot, lambda: widget.session.state.phase == "done")
    until(qtbot, lambda: visible(widget.legend.show_again))
    widget.legend.show_again.click()
    assert len(viewer.layers) == 2
    until(qtbot, lambda: not visible(widget.legend.show_again))


def test_the_viewer_is_closed_in_the_middle(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any
) -> None:
    viewer, widget = open_dock(delay=0.05)
    session = widget.session
    widget.input.open_path(str(banded_slide))
    press(qtbot, widget.run.run)
    until(qtbot, lambda: session.state.tiles_done > 8)
    assert session.active is not None
    job = session.active.job
    viewer.close()
    until(qtbot, lambda: job.has_ended, timeout=30_000)
    assert job.outcome == "cancelled"


def test_two_slides_at_once(
    open_dock: Callable[..., Opened], banded_slide: Path, tmp_path: Path, qtbot: Any, toy: Any
) -> None:
    viewer, widget = open_dock(delay=0.02)
    widget.input.open_path(str(banded_slide))
    widget.input.open_path(str(toy.write_banded(tmp_path / "slides" / "other.tif", mpp=1.0)))
    until(qtbot, lambda: widget.input.slides.count() == 2)
    assert widget.input.slides.currentText() == "other.tif"
    widget.input.slides.setCurrentIndex(0)
    assert widget.session.slide.name == "banded.tif"
    press(qtbot, widget.run.run)
    # Another choice does not disturb what runs, and says nothing of it but that it goes on.
    until(qtbot, lambda: len(viewer.layers) == 3)
    widget.input.slides.setCurrentIndex(1)
    assert [layer.name for layer in viewer.layers if layer.visible] == ["other.tif"]
    until(qtbot, lambda: widget.run.progress.text().startswith("banded.tif: "))
    assert not visible(widget.legend)
    assert not widget.run.run.isEnabled()
    until(qtbot, lambda: widget.session.active is None)
    until(qtbot, lambda: widget.run.run.isEnabled())
    assert not visible(widget.run.progress)
    assert not visible(widget.results)
    assert [layer.name for layer in viewer.layers if layer.visible] == ["other.tif"]
    widget.input.slides.setCurrentIndex(0)
    until(qtbot, lambda: visible(widget.legend))
    assert widget.session.state.phase == "done"
    assert [layer.name for layer in viewer.layers if layer.visible] == ["banded.tif", "banded tissue"]
    result = viewer.layers["banded tissue"]
    np.testing.assert_allclose(result.scale, (1.0, 1.0))
    assert result.data[0].shape == (600, 800)


def test_cams_are_shown_on_demand(open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any) -> None:
    viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    widget.options.cams.setChecked(True)
    press(qtbot, widget.run.run)
    until(qtbot, lambda: widget.session.state.phase == "done")
    until(qtbot, lambda: visible(widget.legend.show_cams))
    widget.legend.show_cams.click()
    widget.legend.show_cams.click()
    cams = [layer for layer in viewer.layers if "CAM" in layer.name]
    assert len(cams) == 4
    assert not any(cam.visible for cam in cams)
    result = viewer.layers["banded tissue"]
    corner = np.asarray(result.translate) - np.asarray(result.scale) / 2
    np.testing.assert_allclose(
        np.asarray(cams[0].translate) - np.asarray(cams[0].scale) / 2, corner, atol=1e-6
    )
    # The first band is class 1: its CAM is strong there and nowhere else.
    inside = np.asarray(cams[0].data[0])[20:50, 5:20]
    assert inside.min() > 200
    assert np.asarray(cams[3].data[0])[20:50, 5:20].max() < 60


def test_it_opens_from_the_menu_and_remembers(
    make_napari_viewer: Callable[..., Any], qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari import settings

    monkeypatch.setattr(settings, "_CFG_PATH", str(tmp_path / "settings.yaml"))
    settings._clear_plugin_settings_cache()
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-wsss", "Segment slide")
    assert widget.notice.text() == "Research use only, not for diagnosis."
    widget.options.overlap.setValue(0.5)
    widget.options.gate.setChecked(False)
    assert widget.session.preferences.overlap == 0.5
    saved = (tmp_path / "napari-wsss.yaml").read_text()
    assert "overlap: 0.5" in saved
    settings._clear_plugin_settings_cache()
    from napari_wsss.plugin.segment.session import SegmentSession

    assert SegmentSession(viewer).preferences.overlap == 0.5
    assert not SegmentSession(viewer).preferences.gate
    settings._clear_plugin_settings_cache()
