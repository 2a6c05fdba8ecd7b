"""The Teach dock under a real window, real mouse and real keys, gesture by gesture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from teach_hands import Hands, new_project_by_hand

from napari_wsss.plugin.explain.presenter import Explainer
from napari_wsss.plugin.segment.session import session_for
from napari_wsss.project import TrainProgress
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide, write_slide

pytestmark = pytest.mark.gui

TILE = 64
FIRST = SyntheticSlide(width=1152, height=896, mpp=0.5, seed=3, region_um=120)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("painted")
    write_slide(folder / "first.tif", FIRST)
    return folder


@pytest.fixture
def hands(teach_window: tuple[Any, Any], painted: Path, qtbot: Any) -> Hands:
    made = Hands(*teach_window, qtbot)
    made.slides = painted
    return made


def make_project(hands: Hands, folder: Path) -> None:
    new_project_by_hand(hands, folder, SYNTHETIC_SCHEMA.names, tile_um=TILE // 2)
    assert hands.teach.teacher.work.project.slides == ("first",)


def test_several_classes_shift_and_a_drag_that_only_moves_the_view(hands: Hands, tmp_path: Path) -> None:
    teach, viewer = hands.teach, hands.viewer
    teacher = teach.teacher
    assert "make a project" in teach.start.text()
    make_project(hands, tmp_path / "keys.wsss")
    assert "press Prepare" in teach.notice.text()
    hands.move(*teacher.work.project.tile_of("first", 5, 5).middle)
    tile = teacher.labelling.tile
    assert tile.place == (5, 5)
    hands.key("3")
    hands.key("4")
    assert teacher.work.held(tile) == SYNTHETIC_SCHEMA.names[2:]
    hands.key("3", shift=True)
    assert teacher.work.held(tile) == SYNTHETIC_SCHEMA.names[3:]
    teach.tick()
    assert [teach.classes.table.item(row, 2).text() for row in range(4)] == ["0", "0", "0", "1"]
    points = teacher.canvas.shown("labels")
    np.testing.assert_allclose(points.face_color[0][:3] * 255, teacher.work.project.schema.palette[4], atol=1)
    center = viewer.scene.camera.center
    hands.drag((300, 300), (420, 380))
    assert viewer.scene.camera.center != center
    assert len(teacher.work.labels()) == 1
    hands.click(*teacher.work.project.tile_of("first", 3, 3).middle)
    assert teacher.work.held(teacher.work.project.tile_of("first", 3, 3)) == SYNTHETIC_SCHEMA.names[2:3]
    for _ in range(4):
        hands.key("Z", control=True)
    assert teacher.work.labels() == []


def test_nothing_is_cut_in_a_small_panel(hands: Hands, tmp_path: Path) -> None:
    from qtpy.QtWidgets import QLabel, QPushButton, QTableWidget, QWidget

    teach = hands.teach
    make_project(hands, tmp_path / ("a-long-name-of-a-project-" * 3 + ".wsss"))
    teach.resize(360, 700)
    teach.parentWidget().resize(360, 700)
    hands.qtbot.wait(50)
    hands.move(300, 300)  # words beside the list
    hands.key("1")
    hands.rest()
    inner = teach.slides.parentWidget()
    assert inner.width() <= teach.width()
    for child in inner.findChildren(QWidget):
        if child.isVisible() and child.width() > 1:
            right = child.mapTo(inner, child.rect().topRight()).x()
            assert right <= inner.width(), (type(child).__name__, child.objectName(), right)
    assert inner.minimumSizeHint().width() <= 360, inner.minimumSizeHint()
    assert inner.sizeHint().height() <= 700, inner.sizeHint()
    for button in teach.findChildren(QPushButton):
        if button.isVisible():
            assert button.width() >= button.minimumSizeHint().width(), button.text()
            assert button.toolTip(), button.text()
    for table in teach.findChildren(QTableWidget):
        assert table.accessibleName()
    for label in teach.findChildren(QLabel):
        if label.isVisible() and label.wordWrap():
            assert label.height() >= label.heightForWidth(label.width()) - 1, label.text()


def test_keys_are_free_when_another_panel_is_seen(hands: Hands, tmp_path: Path) -> None:
    teach = hands.teach
    make_project(hands, tmp_path / "keys.wsss")
    hands.move(300, 300)
    hands.key("1")
    assert len(teach.teacher.work.labels()) == 1
    teach.parentWidget().hide()
    hands.move(400, 400)
    hands.key("1")
    assert len(teach.teacher.work.labels()) == 1
    assert hands.viewer.scene.camera.mouse_pan
    teach.parentWidget().show()
    hands.canvas.setFocus()
    hands.move(400, 400)
    hands.key("1")
    assert len(teach.teacher.work.labels()) == 2
    hands.qtbot.mouseClick(teach.classes.tools["rectangle"], hands.qt.MouseButton.LeftButton)
    assert not hands.viewer.scene.camera.mouse_pan
    hands.drag((128, 128), (384, 384))
    assert teach.teacher.labelling.selection
    hands.key("Escape")
    assert not teach.teacher.labelling.selection


def test_a_click_that_picks_a_tile_to_explain_labels_none(hands: Hands, tmp_path: Path) -> None:
    teach, viewer = hands.teach, hands.viewer
    make_project(hands, tmp_path / "both.wsss")
    teacher = teach.teacher
    middle = teacher.work.project.tile_of("first", 3, 3).middle
    explainer = Explainer(session_for(viewer), start=lambda _: None)
    explainer.session.choose_slide(viewer.layers[0])
    explainer.pick_by_mouse(True)
    hands.click(*middle)
    hands.qtbot.waitUntil(lambda: explainer.is_busy)
    assert teacher.work.labels() == []
    explainer.pick_by_mouse(False)
    hands.click(*middle)
    hands.qtbot.waitUntil(lambda: len(teacher.work.labels()) == 1)
    explainer.close()


def test_classes_are_edited_while_there_are_labels(hands: Hands, tmp_path: Path) -> None:
    from napari_wsss.plugin.teach.classes_dialog import ClassesDialog

    teach = hands.teach
    make_project(hands, tmp_path / "classes.wsss")
    hands.move(300, 300)
    hands.key("1")
    hands.press(teach.classes.edit)
    dialog = teach.findChild(ClassesDialog)
    hands.press(dialog.classes.less)
    hands.press(dialog.classes.more)
    ok = dialog.buttons.button(dialog.buttons.StandardButton.Ok)
    dialog.classes.table.item(0, 1).setText("Invasive front")
    hands.press(ok)
    assert "Class 4 has no name" in dialog.error.text()
    dialog.classes.table.item(3, 1).setText("Foam cells")
    hands.press(ok)
    hands.qtbot.waitUntil(lambda: teach.findChild(ClassesDialog) is None, timeout=60_000)
    teach.tick()
    shown = [[teach.classes.table.item(row, column).text() for column in (0, 1, 3)] for row in range(4)]
    assert shown[0] == ["1", "Invasive front", "1"]
    assert shown[3] == ["4", "Foam cells", "0"]
    hands.key("4")
    teach.tick()
    assert teach.classes.table.item(3, 3).text() == "1"
    # A class that a label names stays.
    hands.press(teach.classes.edit)
    dialog = teach.findChild(ClassesDialog)
    hands.press(dialog.classes.less)
    hands.press(dialog.buttons.button(dialog.buttons.StandardButton.Ok))
    assert "Foam cells cannot be removed: 1 label" in dialog.error.text()
    hands.press(dialog.buttons.button(dialog.buttons.StandardButton.Cancel))
    assert len(teach.teacher.work.project.schema) == 4


def test_the_second_window_reads_and_says_so(
    hands: Hands, make_napari_viewer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtWidgets import QFileDialog

    folder = tmp_path / "two.wsss"
    make_project(hands, folder)
    hands.move(300, 300)
    hands.key("1")
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1280, 800)
    _, teach = viewer.window.add_plugin_dock_widget("napari-wsss", "Teach")
    other = Hands(viewer, teach, hands.qtbot)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    hands.qtbot.waitUntil(teach.slides.open.isVisible, timeout=60_000)
    other.press(teach.slides.open)
    hands.qtbot.waitUntil(lambda: teach.teacher.work.slide_id == "first", timeout=60_000)
    teach.tick()
    assert teach.slides.locked.isVisible()
    said = teach.slides.locked.text()
    assert "Another window" in said
    assert "looked at here but not changed" in said
    assert "process" not in said
    for button in (
        teach.slides.prepare,
        teach.slides.add,
        teach.classes.edit,
        teach.strip.undo,
        teach.models.train,
    ):
        assert not button.isEnabled(), button.text()
    log = folder / "labels" / "first.csv"
    before = log.read_bytes()
    other.move(500, 300)
    other.key("2")
    teach.tick()
    assert "Another window" in teach.error.text()
    assert "process" not in teach.error.text()
    assert log.read_bytes() == before
    other.picture("second-window")
    # The first goes on; the second shows what it says after it looks again.
    hands.viewer.window._qt_window.activateWindow()
    hands.canvas.setFocus()
    hands.move(500, 300)
    hands.key("3")
    assert len(hands.teach.teacher.work.labels()) == 2
    assert log.read_bytes().startswith(before)
    other.press(teach.slides.open)
    teach.tick()
    assert len(teach.teacher.work.labels()) == 2


def test_samples_of_a_training_are_seen_while_it_goes_on(
    hands: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    """The page that the training program draws after each round, as wide as the dock at the most."""
    section, teacher = hands.teach.models, hands.teach.teacher
    make_project(hands, tmp_path / "samples.wsss")
    hands.move(*teacher.work.project.tile_of("first", 5, 5).middle)
    hands.key("1")
    going_on = threading.Event()

    def train_events(project: Any, name: str, **options: Any) -> Iterator[Any]:
        for number, colour in ((1, "red"), (2, "lime")):
            page = tmp_path / f"epoch_{number:03}.png"
            Image.new("RGB", (900, 300), colour).save(page)
            yield TrainProgress("stage2", number, 2, 0.5, None, 0.5, 1.0, 1.0, samples=page)
            assert going_on.wait(60)
            going_on.clear()

    monkeypatch.setattr(type(teacher.work.project), "train_events", train_events)
    assert not section.samples.isVisible()
    section.train.click()
    for colour in ("#ff0000", "#00ff00"):
        qtbot.waitUntil(lambda c=colour: shown(section.samples) == c)
        assert section.samples.pixmap().width() <= section.width()
        going_on.set()
    qtbot.waitUntil(lambda: not teacher.making.is_training and not section.samples.isVisible())


def shown(label: Any) -> str:
    """The colour in the middle of a picture that is seen."""
    picture = label.pixmap()
    if picture.isNull() or not label.isVisible():
        return ""
    return str(picture.toImage().pixelColor(picture.width() // 2, picture.height() // 2).name())
