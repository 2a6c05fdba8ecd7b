"""What pathologists stumbled over, each under a real window: the numbers are those of ``findings/plugin.md``."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.gui

Opened = tuple[Any, Any]


def press(qtbot: Any, button: Any) -> None:
    qtbot.waitUntil(button.isEnabled, timeout=60_000)
    button.click()


def run_to_the_end(qtbot: Any, widget: Any) -> None:
    press(qtbot, widget.run.run)
    qtbot.waitUntil(lambda: widget.session.active is None, timeout=120_000)
    drawn(qtbot, widget)


def drawn(qtbot: Any, widget: Any) -> None:
    """Wait until the panel shows what the session says: it looks ten times a second."""
    qtbot.waitUntil(lambda: widget.legend.isVisible() and widget._seen[0] == widget.session.revision)


def texts(widget: Any) -> list[tuple[str, str]]:
    return [(row.name.whole, row.area.text()) for row in widget.legend.rows]


def test_numbers_belong_to_the_chosen_slide_and_come_back(
    open_dock: Callable[..., Opened], banded_slide: Path, tmp_path: Path, qtbot: Any, toy: Any
) -> None:
    """Faults 1, 7, 17: legend, export and messages of the slide that is chosen; a store is brought back in full."""
    viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    run_to_the_end(qtbot, widget)
    first = texts(widget)
    widget.input.open_path(str(toy.write_banded(tmp_path / "slides" / "other.tif", mpp=1.0)))
    qtbot.waitUntil(lambda: widget.input.slides.count() == 2)
    assert not widget.legend.isVisible()
    assert not widget.results.isVisible()
    assert widget.run.progress.text() == ""
    # The second slide is the only one that is seen, and it fills the canvas.
    assert [layer.name for layer in viewer.layers if layer.visible] == ["other.tif"]
    assert np.allclose(viewer.scene.camera.center[-2:], (599.5, 799.5), atol=2)
    run_to_the_end(qtbot, widget)
    assert texts(widget) != first
    assert "other" in widget.results.export.toolTip()
    widget.input.slides.setCurrentIndex(0)
    qtbot.waitUntil(lambda: texts(widget) == first)
    assert "banded" in widget.results.export.toolTip()
    assert np.allclose(viewer.scene.camera.center[-2:], (299.75, 399.75), atol=2)
    # napari is closed and opened again: the slide brings its result with it.
    viewer.layers.clear()
    qtbot.waitUntil(lambda: not widget.legend.isVisible())
    widget.session.book.__init__()
    widget.session._shown._live.clear()
    widget.input.open_path(str(banded_slide))
    qtbot.waitUntil(lambda: widget.legend.isVisible())
    assert texts(widget) == first
    assert widget.legend.opacity.isEnabled()
    assert widget.results.export.isVisible()
    assert (np.asarray(viewer.layers["banded tissue"].data[-1]) > 0).all()


def test_the_wheel_scrolls_the_panel_and_changes_nothing(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any
) -> None:
    """Fault 2; and a scale that differs from the file's says so and can be reset."""
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QSlider

    _viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    run_to_the_end(qtbot, widget)
    widget.options.fold.expand()
    widget.options.folder.setFocus()
    inputs = [each for kind in (QComboBox, QAbstractSpinBox, QSlider) for each in widget.findChildren(kind)]
    assert len(inputs) > 10

    def state() -> list[Any]:
        return [each.currentIndex() if isinstance(each, QComboBox) else each.value() for each in inputs]

    before = state()
    for each in inputs:
        for step in (120, -120, -120):
            event = QWheelEvent(
                QPointF(each.rect().center()),
                QPointF(each.mapToGlobal(each.rect().center())),
                QPoint(0, 0),
                QPoint(0, step),
                Qt.MouseButton.NoButton,
                Qt.KeyboardModifier.NoModifier,
                Qt.ScrollPhase.NoScrollPhase,
                False,
            )
            QApplication.sendEvent(each, event)
    assert state() == before
    widget.input.mpp.setValue(0.4)
    qtbot.waitUntil(lambda: "The file says 0.5" in widget.input.warning.text())
    widget.input.reset.click()
    qtbot.waitUntil(lambda: not widget.input.warning.isVisible())
    assert widget.input.mpp.value() == 0.5


def test_nothing_is_cut_at_360_by_700(
    open_dock: Callable[..., Opened], tmp_path: Path, qtbot: Any, toy: Any
) -> None:
    """Faults 3, 23, 24: everything fits, Run and its messages are always in sight, inputs have names and an order."""
    from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QSlider, QWidget

    name = "fall_0815_hepatozellulaeres_karzinom_schnitt_17_HE_nachfaerbung_vom_25_november.tif"
    _viewer, widget = open_dock()
    widget.setFixedSize(360, 700)
    widget.input.open_path(str(toy.write_banded(tmp_path / "slides" / name)))
    run_to_the_end(qtbot, widget)
    widget.session.name_class(1, name="krebsassoziiertes fibröses Stromagewebe mit Entzündung")
    widget.session.show_class(4, visible=False)
    widget.session.problem = f"{tmp_path / name} kann nicht gelesen werden"
    widget.session.exports.notice = f"{tmp_path / name} is written."
    widget.session._changed()
    qtbot.waitUntil(lambda: widget.run.error.isVisible())
    qtbot.wait(300)

    def right_edges() -> list[tuple[int, str]]:
        return [
            (each.mapTo(widget, each.rect().topRight()).x(), type(each).__name__)
            for each in widget.findChildren(QWidget)
            if each.isVisible()
        ]

    assert max(right_edges())[0] < 360
    widget.setFixedSize(352, 700)  # what napari gives a dock in a window of 1280
    widget.legend.ratio.setText("1 : >9999")
    qtbot.waitUntil(lambda: max(right_edges())[0] < 352)
    widget.setFixedSize(360, 700)
    assert "…" in widget.input.slides.shown_text()
    assert widget.input.slides.shown_text().endswith(".tif")
    for opened in (False, True):
        if opened:
            widget.options.fold.expand()
            widget.model.about.setChecked(True)
            qtbot.wait(300)
        assert max(right_edges())[0] < 360
        for part in (widget.run.run, widget.run.bar, widget.run.progress, widget.run.error):
            bottom = part.mapTo(widget, part.rect().bottomRight()).y()
            assert part.isVisible()
            assert not part.visibleRegion().isEmpty()
            assert bottom < 700
    inputs = [
        each
        for kind in (QComboBox, QAbstractSpinBox, QSlider, QLineEdit, QAbstractButton)
        for each in widget.findChildren(kind)
        if each.objectName() != "qt_spinbox_lineedit" and not each.objectName().startswith("Scroll")
    ]
    nameless = [each for each in inputs if not each.accessibleName() and not getattr(each, "text", str)()]
    assert not nameless
    # Tab goes from top to bottom, and never into what is folded away.
    widget.options.fold.collapse()
    widget.input.slides.setFocus()
    heights = []
    for _ in range(8):
        focused = widget.window().focusWidget()
        if focused is None or not widget.isAncestorOf(focused):
            break
        assert focused.isVisible()
        heights.append(focused.mapTo(widget, focused.rect().topLeft()).y())
        widget.focusNextChild()
    # Widgets of one row may stand a pixel or two apart.
    assert all(later > earlier - 8 for earlier, later in pairwise(heights)), heights


def test_overlays_move_with_another_scale_and_say_so(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any
) -> None:
    """Fault 4, in pixels: what was seen is seen at the same place."""
    viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    run_to_the_end(qtbot, widget)
    viewer.layers[1].opacity = 1.0
    viewer.canvas.overlays.scale_bar.visible = False

    def shot() -> np.ndarray:
        return np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3].astype(int)

    before = shot()
    widget.input.mpp.setValue(1.0)
    qtbot.waitUntil(lambda: widget.legend.scale.isVisible())
    assert "Made at 0.5 µm per pixel" in widget.legend.scale.text()
    np.testing.assert_allclose(viewer.layers[1].scale, (2.0, 2.0))
    after = shot()
    assert (abs(after - before) > 30).any(-1).mean() < 0.01
    widget.input.reset.click()
    qtbot.waitUntil(lambda: not widget.legend.scale.isVisible())


def test_another_result_is_asked_about_and_both_are_kept(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 6: no refusal, no hashes, nothing is deleted without a question."""
    from qtpy.QtWidgets import QMessageBox

    _viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    run_to_the_end(qtbot, widget)
    widget.options.overlap.setValue(0.5)
    press(qtbot, widget.run.run)
    qtbot.waitUntil(lambda: widget.run.question.isVisible())
    asked = widget.run.question.text.text()
    assert "overlap" in asked
    assert "--" not in asked
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    widget.run.question.replace.click()
    assert widget.session.active is None
    widget.run.question.keep.click()
    qtbot.waitUntil(lambda: widget.session.active is None, timeout=60_000)
    qtbot.waitUntil(lambda: widget.legend.results.count() == 2)
    assert not widget.run.question.isVisible()
    assert (banded_slide.parent / "wsss-results" / "banded.zarr" / "receipt.json").exists()
    names = [widget.legend.results.itemText(i) for i in range(2)]
    assert len(set(names)) == 2


def test_closing_the_panel_does_not_stop_the_run(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any, toy: Any
) -> None:
    """Fault 8 and review 12: the run goes on without a dock; a reopened one shows it."""
    from napari_wsss.plugin.segment.dock import SegmentWidget

    pause = toy.Pause(after=40)
    viewer, widget = open_dock(pause=pause)
    session = widget.session
    widget.input.open_path(str(banded_slide))
    press(qtbot, widget.run.run)
    pause.wait_for(session)
    viewer.window.remove_dock_widget(widget)
    widget.close()
    widget.deleteLater()
    qtbot.wait(200)
    pause.end()
    qtbot.waitUntil(lambda: session.active is None, timeout=60_000)
    assert session.state.phase == "done"
    again = SegmentWidget(viewer, session, measure=False)
    viewer.window.add_dock_widget(again, name="Segment slide")
    qtbot.waitUntil(lambda: again.legend.isVisible())
    assert [text for _, text in texts(again)] == [row.area_text for row in session.legend()]
    assert all(row.mm2 > 0 for row in session.legend())


def test_run_says_why_it_cannot(open_dock: Callable[..., Opened], tmp_path: Path, qtbot: Any) -> None:
    """Fault 10: no slide; a picture that napari opened itself is adopted with one click."""
    from PIL import Image

    viewer, widget = open_dock()
    qtbot.waitUntil(lambda: "No slide is chosen" in widget.run.cost.text())
    assert not widget.run.run.isEnabled()
    picture = tmp_path / "photo.png"
    Image.fromarray(np.full((300, 400, 3), 100, np.uint8)).save(picture)
    viewer.open(str(picture), plugin="napari")
    qtbot.waitUntil(lambda: widget.input.adopt.isVisible())
    assert "photo" in widget.input.warning.text()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        widget.input.adopt.click()
    qtbot.waitUntil(lambda: widget.input.slides.currentText() == "photo.png")
    assert len(viewer.layers) == 1
    qtbot.waitUntil(lambda: "scale of this slide is unknown" in widget.run.cost.text())
    widget.input.mpp.setValue(1.0)
    qtbot.waitUntil(widget.run.run.isEnabled)


def test_a_store_of_another_slide_is_marked_and_a_deleted_one_forgotten(
    open_dock: Callable[..., Opened], banded_slide: Path, tmp_path: Path, qtbot: Any, toy: Any
) -> None:
    """Faults 11 and 21."""
    from napari_wsss.plugin.files.reader import read_store

    viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    run_to_the_end(qtbot, widget)
    store = widget.session.result.store
    moved = tmp_path / "elsewhere" / "banded.zarr"
    moved.parent.mkdir()
    shutil.move(store, moved)
    qtbot.waitUntil(lambda: not widget.legend.isVisible(), timeout=10_000)
    assert "was deleted" in widget.run.error.text()
    assert [layer.name for layer in viewer.layers] == ["banded.tif"]
    viewer.layers.clear()
    widget.input.open_path(str(toy.write_banded(tmp_path / "slides" / "other.tif", mpp=1.0)))
    for data, arguments, kind in read_store(str(moved)):
        getattr(viewer, f"add_{kind}")(data, **arguments)
    qtbot.waitUntil(lambda: "another slide" in widget.run.error.text())
    assert not widget.legend.isVisible()
    assert not any(layer.visible for layer in viewer.layers if "another slide" in layer.name)
    widget.input.open_path(str(banded_slide))
    qtbot.waitUntil(lambda: widget.legend.isVisible())
    assert not any("another slide" in layer.name for layer in viewer.layers)
    assert viewer.layers["banded tissue"].visible


def test_markers_and_regions(open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any) -> None:
    """Faults 14, 15, 26: the marker is no region and takes no selection; outlines stay visible; the class is named."""
    from napari_wsss.plugin.view import mark_box

    viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    run_to_the_end(qtbot, widget)
    result = viewer.layers["banded tissue"]
    viewer.layers.selection.active = result
    mark_box(viewer, viewer.layers[0], 100, 100, 128)
    assert viewer.layers.selection.active == result
    assert widget.session.shapes_layers() == []
    region = widget.session.add_shapes()
    region.add_rectangles([[[100, 100], [100, 300], [300, 300], [300, 100]]])
    for zoom in (0.1, 2.0):
        viewer.scene.camera.zoom = zoom
        qtbot.waitUntil(
            lambda zoom=zoom: 2 < float(np.asarray(region.edge_width)[0]) * 0.5 * zoom < 4, timeout=5000
        )
    # Whatever layer is selected, the panel names the class under the mouse, in mm.
    viewer.layers.selection.active = region
    viewer.cursor.position = (300.0, 500.0)
    qtbot.waitUntil(lambda: widget.mouse.whole.endswith("Lymphocytes"))
    assert widget.mouse.whole.startswith("0.500, 0.300 mm")
    assert viewer.canvas.overlays.scale_bar.visible


def test_classes_are_renamed_and_recoloured_for_good(
    open_dock: Callable[..., Opened], banded_slide: Path, tmp_path: Path, qtbot: Any
) -> None:
    """Fault 12: colours can be changed; they are kept with the result, and exported."""
    import json

    viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    run_to_the_end(qtbot, widget)
    session = widget.session
    assert session.name_class(1, name="Karzinom", color="#123456")
    qtbot.waitUntil(lambda: widget.legend.rows[0].name.whole == "Karzinom")
    color = np.asarray(viewer.layers["banded tissue"].colormap.color_dict[1])[:3]
    np.testing.assert_allclose(color, np.array([0x12, 0x34, 0x56]) / 255, atol=0.01)
    assert not session.name_class(2, name="Karzinom"), "a name that is taken"
    path = tmp_path / "areas.csv"
    session.export(path)
    session.export(tmp_path / "a.geojson")
    session.wait(60)
    assert "Karzinom" in path.read_text()
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert "Karzinom" in {f["properties"]["classification"]["name"] for f in features}
    widget.legend.rows[1].name.click()
    qtbot.waitUntil(lambda: widget.legend.rows[1].shown.text() == "–")
    assert widget.legend.rows[0].shown.text() == "33.3 %"
    # The ratio is that of tumour to stroma where there are such classes, by whatever names.
    assert (widget.legend.one.currentText(), widget.legend.other.currentText()) == ("Karzinom", "Stroma")
    assert widget.legend.ratio.text() == "1 : 1"
    widget.legend.other.setCurrentIndex(3)
    session.name_class(4, name="Glatte Muskulatur")
    qtbot.waitUntil(lambda: widget.legend.other.currentText() == "Glatte Muskulatur")
    # Keys of the window: to a class, and hide it.
    for key in ("Alt+Down", "Alt+Down", "Alt+Return"):
        widget.keys.shortcuts[key].activated.emit()
    assert widget.session.live.hidden_labels == set(), "the second class is shown again"
    widget.results.copy.click()
    from qtpy.QtWidgets import QApplication

    assert QApplication.clipboard().text().splitlines()[1].startswith("Karzinom\t0.12")
