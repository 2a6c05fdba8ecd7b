"""More of what pathologists stumbled over, under a real window: the numbers are those of ``findings/plugin.md``."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiling.words import clock

pytestmark = pytest.mark.gui

Opened = tuple[Any, Any]


def press(qtbot: Any, button: Any) -> None:
    from qtpy.QtCore import Qt

    qtbot.waitUntil(lambda: button.isVisible() and button.isEnabled(), timeout=120_000)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def run_to_the_end(qtbot: Any, widget: Any) -> None:
    press(qtbot, widget.run.run)
    qtbot.waitUntil(lambda: widget.session.active is None, timeout=120_000)
    # The panel is drawn by a timer: the run's end is seen a moment after it.
    qtbot.waitUntil(lambda: widget.run.progress.text().startswith("Finished"), timeout=120_000)
    qtbot.waitUntil(widget.legend.isVisible, timeout=120_000)


def shot(viewer: Any) -> np.ndarray:
    return np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3].astype(int)


def test_tissue_is_outlined_on_tinted_glass(
    open_dock: Callable[..., Opened], tmp_path: Path, qtbot: Any
) -> None:
    """Fault 5: lilac glass is none, the outline is seen in pixels, the threshold changes it, the run takes it."""
    import tifffile

    random = np.random.default_rng(0)
    pixels = np.full((1200, 1600, 3), (214, 200, 226), np.uint8)
    pixels += random.integers(0, 4, pixels.shape, dtype=np.uint8)
    block = (slice(400, 800), slice(500, 1100))
    pixels[block] = np.array((170, 90, 150)) + random.integers(-45, 45, (400, 600, 1))
    path = tmp_path / "lilac.tif"
    options: dict[str, Any] = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", **options)
    viewer, widget = open_dock()
    widget.session.set_preferences(skip_background=True)
    widget.input.open_path(str(path))
    press(qtbot, widget.tissue.show_tissue)
    qtbot.waitUntil(lambda: "% tissue" in widget.tissue.text.whole, timeout=120_000)
    share = float(widget.tissue.text.whole.split(" %")[0])
    assert share == pytest.approx(100 * 400 * 600 / (1200 * 1600), abs=4)
    outlined = shot(viewer)
    viewer.layers["Tissue"].visible = False
    changed = (abs(outlined - shot(viewer)) > 40).any(-1)
    viewer.layers["Tissue"].visible = True
    ys, xs = np.nonzero(changed)
    assert 300 < changed.sum() < 0.05 * changed.size, "a line, and no area"
    zoom = viewer.scene.camera.zoom * 0.5
    assert np.ptp(xs) == pytest.approx(600 * zoom, abs=0.2 * 600 * zoom)
    assert np.ptp(ys) == pytest.approx(400 * zoom, abs=0.2 * 400 * zoom)
    assert widget.session.request().tissue_threshold is None
    widget.tissue.threshold.setValue(widget.tissue.threshold.maximum())
    assert widget.session.request().tissue_threshold == widget.tissue.threshold.maximum() / 1000


def test_nothing_scrolls_while_there_is_room(
    open_dock: Callable[..., Opened], banded_slide: Path, tmp_path: Path, qtbot: Any, toy: Any
) -> None:
    """Fault 23: at 1280 × 800 all choices are in sight, whatever appears and goes."""
    viewer, widget = open_dock()
    viewer.window.resize(1280, 800)
    scroll = widget.layout().itemAt(1).widget()

    def fits() -> bool:
        return bool(scroll.verticalScrollBar().maximum() == 0 and scroll.height() > 100)

    widget.input.open_path(str(banded_slide))
    qtbot.waitUntil(fits)
    press(qtbot, widget.tissue.show_tissue)
    qtbot.waitUntil(widget.tissue.adjust.isVisible, timeout=120_000)
    qtbot.waitUntil(fits)
    widget.session.set_preferences(skip_background=False)
    run_to_the_end(qtbot, widget)
    qtbot.waitUntil(widget.results.export.isVisible)
    qtbot.waitUntil(fits)
    widget.input.open_path(str(toy.write_banded(tmp_path / "slides" / "other.tif", mpp=1.0)))
    qtbot.waitUntil(lambda: widget.input.slides.count() == 2)
    qtbot.waitUntil(fits)
    widget.input.slides.setCurrentIndex(0)
    qtbot.waitUntil(widget.legend.isVisible)
    qtbot.waitUntil(fits)


def test_panels_opened_from_the_menu_are_tabs(make_napari_viewer: Callable[..., Any], qtbot: Any) -> None:
    """Fault 9: napari stacks what its menu opens; the window keeps its height and each panel all of its."""
    viewer = make_napari_viewer(show=True)
    window = viewer.window._qt_window
    window.resize(1280, 800)
    names = (
        "Segment slide",
        "Queue of slides",
        "Explain tile",
        "Review tiles",
        "Correct a region",
        "Compare results",
    )
    docks = []
    for name in names:
        action = next(a for a in actions(viewer.window.plugins_menu) if a.text().startswith(name))
        action.trigger()
        qtbot.waitUntil(lambda name=name: dock_of(viewer, name) is not None)
        docks.append(dock_of(viewer, name))
        one = docks[0]
        qtbot.waitUntil(lambda one=one: len(window.tabifiedDockWidgets(one)) == len(docks) - 1)
        newest = docks[-1]
        qtbot.waitUntil(lambda newest=newest: not newest.visibleRegion().isEmpty())  # it is on top
        qtbot.waitUntil(lambda: (window.width(), window.height()) == (1280, 800))
    assert docks[-1].height() > 500
    # Where the user puts a panel it stays.
    docks[1].setFloating(True)
    qtbot.waitUntil(lambda: len(window.tabifiedDockWidgets(docks[0])) == len(docks) - 2)
    docks[1].hide()
    docks[1].show()
    qtbot.wait(50)
    assert docks[1].isFloating()


def actions(menu: Any) -> list[Any]:
    found = []
    for action in menu.actions():
        found += actions(action.menu()) if action.menu() is not None else [action]
    return found


def dock_of(viewer: Any, name: str) -> Any:
    return next((d for n, d in viewer.window._wrapped_dock_widgets.items() if n.startswith(name)), None)


def test_exports_asked_for_while_another_is_written_are_written_as_well(
    open_dock: Callable[..., Opened],
    banded_slide: Path,
    tmp_path: Path,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault 18."""
    from qtpy.QtWidgets import QFileDialog

    _viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    run_to_the_end(qtbot, widget)
    qtbot.waitUntil(widget.results.export.isVisible)
    wanted = {e: tmp_path / f"export{e}" for e in (".geojson", ".areas.csv", ".overview.png", ".report.html")}
    for ending, path in wanted.items():
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, path=path: (str(path), ""))
        widget.results.actions_by_ending[ending].trigger()
    assert "more to come" in widget.session.exports.notice
    qtbot.waitUntil(lambda: "report.html is written" in widget.results.notice.whole, timeout=120_000)
    assert all(path.stat().st_size > 0 for path in wanted.values())


FORBIDDEN = (
    "--", "manifest", "sha256", "stage", "cam", "fwiou", "level-0", "gate", "receipt", "journal", "traceback",
)  # fmt: skip


def words(widget: Any) -> str:
    """All that can be read in a panel; tooltips may say how experts call it."""
    from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel

    texts = []
    for kind in (QLabel, QAbstractButton, QComboBox):
        for each in widget.findChildren(kind):
            if each.isVisible() and isinstance(each, QComboBox):
                texts += [each.itemText(i) for i in range(each.count())]
            elif each.isVisible():
                texts.append(each.text())
    return "\n".join(texts).lower()


def test_the_panel_speaks_as_pathologists_do(
    open_dock: Callable[..., Opened], banded_slide: Path, tmp_path: Path, qtbot: Any, toy: Any
) -> None:
    """Faults 19, 26: whatever state it is in, errors included."""
    _viewer, widget = open_dock()
    qtbot.waitUntil(widget.run.run.isVisible)
    seen = [words(widget)]
    (tmp_path / "broken.svs").write_text("no slide")
    for path in (tmp_path / "broken.svs", tmp_path / "missing.tif"):
        widget.input.open_path(str(path))
        qtbot.waitUntil(lambda path=path: path.name in widget.run.error.text().replace("​", ""))
        seen.append(words(widget))
    with pytest.warns(UserWarning, match="shown in pixels"):
        widget.input.open_path(str(toy.write_banded(tmp_path / "plain.tif", mpp=None)))
    qtbot.waitUntil(lambda: "type its µm per pixel" in widget.run.cost.text())
    seen.append(words(widget))
    widget.input.open_path(str(banded_slide))
    widget.options.fold.expand()
    widget.options.cams.setChecked(True)
    run_to_the_end(qtbot, widget)
    seen.append(words(widget))
    widget.options.overlap.setValue(0.5)
    press(qtbot, widget.run.run)
    qtbot.waitUntil(widget.run.question.isVisible)
    seen.append(words(widget))
    for number, text in enumerate(seen):
        assert len(text) > 40
        found = [word for word in FORBIDDEN if word in text]
        assert not found, f"state {number} says {found}"


def test_the_time_after_a_resume_is_that_of_both_legs(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any, toy: Any
) -> None:
    """Fault 20."""
    pause = toy.Pause(after=40)
    _viewer, widget = open_dock(delay=0.05, pause=pause)
    widget.input.open_path(str(banded_slide))
    press(qtbot, widget.run.run)
    pause.wait_for(widget.session)
    press(qtbot, widget.run.cancel)
    pause.end()
    qtbot.waitUntil(lambda: widget.session.state.phase == "cancelled", timeout=120_000)
    press(qtbot, widget.run.resume)
    qtbot.waitUntil(lambda: widget.run.progress.text().startswith("Finished"), timeout=120_000)
    timings = json.loads((widget.session.result.store / "receipt.json").read_text())["timings"]
    assert timings["seconds"] > timings["seconds_last_run"]
    assert widget.session.state.seconds == pytest.approx(timings["seconds"])
    assert widget.run.progress.text().endswith(f"in {clock(timings['seconds'])}.")


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Relative luminance of WCAG 2, for (…, 3) uint8."""
    linear = np.where(rgb / 255 <= 0.04045, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ [0.2126, 0.7152, 0.0722])


def contrast(widget: Any) -> float:
    """Contrast of ink and paper of a widget as drawn: of its commonest colour with the one farthest from it."""
    image = widget.grab().toImage()
    pixels = np.array(
        [[image.pixelColor(x, y).getRgb()[:3] for x in range(image.width())] for y in range(image.height())]
    ).reshape(-1, 3)
    colors, counts = np.unique(pixels, axis=0, return_counts=True)
    paper = luminance(colors[counts.argmax()])
    light = luminance(colors)
    ratios = (np.maximum(light, paper) + 0.05) / (np.minimum(light, paper) + 0.05)
    return float(ratios.max())


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_everything_is_readable_in_both_themes(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any, theme: str
) -> None:
    """Fault 22: 4.5 : 1 for warnings, errors and the panel's own texts."""
    viewer, widget = open_dock()
    viewer.theme = theme
    widget.input.open_path(str(banded_slide))
    run_to_the_end(qtbot, widget)
    widget.input.mpp.setValue(0.4)
    widget.session.say("Something went wrong.")
    widget.session.exports.notice = "It is written."
    widget.session._changed()
    qtbot.waitUntil(lambda: widget.run.error.isVisible() and widget.input.warning.isVisible())
    qtbot.waitUntil(lambda: widget.legend.scale.isVisible() and widget.results.notice.isVisible())
    parts = (
        widget.input.warning, widget.legend.scale, widget.run.error, widget.run.progress, widget.run.run,
        widget.legend.rows[0].area, widget.legend.rows[0].name, widget.results.notice, widget.notice,
    )  # fmt: skip
    low = {type(part).__name__ + part.text(): contrast(part) for part in parts}
    assert all(ratio >= 4.5 for ratio in low.values()), low


def test_a_broken_model_is_told_of_where_models_are(
    open_dock: Callable[..., Opened], small_bundle: Any, banded_slide: Path, tmp_path: Path, qtbot: Any
) -> None:
    """Fault 25: the warning stands under Model, and models of one's own stay in the list."""
    _viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    broken = tmp_path / "broken-model"
    broken.mkdir()
    (broken / "bundle.json").write_text("{")
    widget.session.choose_bundle(str(small_bundle.path))
    widget.session.choose_bundle(str(broken))
    qtbot.waitUntil(lambda: "broken-model" in widget.model.warning.text().replace("​", ""))
    assert widget.model.warning.isVisible()
    assert not widget.input.warning.isVisible()
    assert not widget.run.run.isEnabled()
    embedded = next(
        i for i in range(widget.model.bundles.count()) if widget.model.bundles.itemData(i) == "crc-demo"
    )
    widget.model.bundles.setCurrentIndex(embedded)
    qtbot.waitUntil(lambda: not widget.model.warning.isVisible())
    entries = [widget.model.bundles.itemData(i) for i in range(widget.model.bundles.count())]
    assert str(small_bundle.path) in entries
    qtbot.waitUntil(widget.run.run.isEnabled)


def test_the_chosen_slide_is_what_napari_speaks_of(
    open_dock: Callable[..., Opened],
    banded_slide: Path,
    tmp_path: Path,
    qtbot: Any,
    toy: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The status bar names the selected layer: never a hidden one. Units agree, so that the scale bar is right."""
    warned: list[str] = []
    monkeypatch.setattr("napari._vispy.canvas.show_warning", warned.append)
    viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    run_to_the_end(qtbot, widget)
    with pytest.warns(UserWarning, match="shown in pixels"):
        widget.input.open_path(str(toy.write_banded(tmp_path / "plain.tif", mpp=None)))
    assert viewer.layers.selection.active == viewer.layers["plain.tif"]
    qtbot.waitUntil(lambda: widget.input.slides.count() == 2)
    assert str(viewer.layers.extent.units[0]) == "pixel"
    shot(viewer)
    widget.input.slides.setCurrentIndex(0)
    assert viewer.layers.selection.active == viewer.layers["banded tissue"]
    assert str(viewer.layers.extent.units[0]) == "micrometer"
    shot(viewer)
    widget.input.slides.setCurrentIndex(1)
    widget.input.mpp.setValue(0.25)
    assert str(viewer.layers.extent.units[0]) == "micrometer"
    np.testing.assert_allclose(viewer.layers["plain.tif"].scale, (0.25, 0.25))
    np.testing.assert_allclose(viewer.layers["banded tissue"].scale, (1.0, 1.0))
    shot(viewer)
    assert not warned
    # What the user selected and is of no slide stays selected.
    mine = viewer.add_points([[0, 0]], units=("micrometer",) * 2)
    widget.input.slides.setCurrentIndex(0)
    assert viewer.layers.selection.active == mine


def test_nothing_known_is_awaited_after_run(
    make_napari_viewer_proxy: Callable[..., Any],
    small_bundle: Any,
    banded_slide: Path,
    tmp_path: Path,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault 27: overview and networks are those that the panel has; what is left is done beside the window."""
    from napari_wsss.plugin.common import Preferences
    from napari_wsss.plugin.segment.dock import SegmentWidget
    from napari_wsss.plugin.segment.session import SegmentSession
    from tiling.slides import Slide

    monkeypatch.setattr("napari_wsss.plugin.segment.choices.load_preferences", Preferences)
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.save_preferences", lambda preferences: None)
    monkeypatch.chdir(tmp_path)
    viewer = make_napari_viewer_proxy(show=True)
    session = SegmentSession(viewer)
    session.bundle, session.bundle_problem = small_bundle, ""
    session.set_preferences(skip_background=False, folder="results", device="cpu")
    widget = SegmentWidget(viewer, session)
    viewer.window.add_dock_widget(widget, name="Segment slide")
    widget.input.open_path(str(banded_slide))
    qtbot.waitUntil(lambda: "about" in widget.run.cost.text())
    tiles = widget.estimate.estimate.tiles
    # Nor does Run move under the mouse while the estimate of another choice is made.
    place = widget.run.run.mapTo(widget, widget.run.run.rect().topLeft())
    widget.estimate.estimate = None
    widget.run.sync()
    qtbot.wait(50)
    assert widget.run.cost.text() == "Estimating…"
    assert widget.run.run.mapTo(widget, widget.run.run.rect().topLeft()) == place

    happened: list[tuple[str, bool]] = []

    def watch(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            happened.append((name, threading.current_thread() is threading.main_thread()))
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    watch(Slide, "_thumbnail")
    watch(importlib.import_module("napari_wsss.pipeline"), "make_predictor")
    drive = importlib.import_module("tiling.engine.drive")
    watch(drive, "make_plan")
    watch(drive, "create_store")
    run_to_the_end(qtbot, widget)
    assert happened == [("make_plan", False), ("create_store", False)]
    assert session.state.tiles == tiles
    assert session.state.store.is_relative_to(tmp_path / "results")
