"""What can be wrong with a project is one clear sentence in the dock, and nothing is lost. Under real windows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.project import open_project
from tiling.synthetic import SYNTHETIC_SCHEMA

pytestmark = pytest.mark.gui

NAMES = SYNTHETIC_SCHEMA.names
Open = Callable[[Path], Any]


@pytest.fixture
def open_by_hand(
    make_napari_viewer: Callable[..., Any], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], Any]:
    """Open a project with the button of the dock; return the dock when it has come to rest."""
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QFileDialog

    monkeypatch.setattr("napari_wsss.plugin.segment.choices.load_preferences", Preferences)
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1280, 800)
    _, teach = viewer.window.add_plugin_dock_widget("napari-wsss", "Teach")
    qtbot.waitUntil(teach.slides.open.isVisible)

    def make(folder: Path) -> Any:
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
        qtbot.mouseClick(teach.slides.open, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not teach.teacher.is_busy)
        teach.tick()
        return teach

    return make


def sentence(label: Any) -> str:
    """What a note says; it is seen, whole, and not in the words of a command line."""
    text = label.text()
    assert label.isVisible(), "nothing is said"
    assert label.height() >= label.heightForWidth(label.width()) - 1, text
    assert not re.search(r"--\w|wsss-tile|sha256|[0-9a-f]{12}|Traceback|\.py\b", text), text
    return str(text)


def labelled(folder: Path, *said: tuple[str, int, str]) -> None:
    """Label tiles of the slide a: (reader, column of the tile, class)."""
    with open_project(folder) as project:
        for reader, column, name in said:
            project.label("a", *project.tile_of("a", 3, column).middle, {name}, reader=reader)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "project.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def labels_in(folder: Path) -> int:
    return sum(len(path.read_text().splitlines()) - 1 for path in (folder / "labels").glob("*.csv"))


def test_a_project_of_a_newer_program(open_by_hand: Open, folder: Path) -> None:
    labelled(folder, ("KL", 1, NAMES[0]))
    rewrite(folder, lambda data: data.update(format_version=99))
    teach = open_by_hand(folder)
    said = sentence(teach.error)
    assert "99" in said
    assert "newer" in said
    assert teach.teacher.work.project is None
    assert labels_in(folder) == 1


def test_a_folder_that_is_no_project(open_by_hand: Open, tmp_path: Path) -> None:
    teach = open_by_hand(tmp_path)
    assert "project" in sentence(teach.error)


def test_a_folder_that_moved_with_its_slides_and_one_that_moved_alone(
    open_by_hand: Open, folder: Path, tmp_path: Path
) -> None:
    labelled(folder, ("KL", 1, NAMES[0]))
    together = tmp_path / "archive"
    together.mkdir()
    for path in (folder, *tmp_path.glob("?.tif")):
        shutil.move(path, together / path.name)
    teach = open_by_hand(together / folder.name)
    assert not teach.error.isVisible()
    assert teach.teacher.work.slide_id == "a"
    assert len(teach.teacher.work.labels()) == 1
    assert teach.teacher.canvas.shown("map") is not None
    alone = tmp_path / "alone" / folder.name
    alone.parent.mkdir()
    teach.teacher._use(None)
    shutil.copytree(together / folder.name, alone)
    shutil.move(together, tmp_path / "elsewhere")
    teach = open_by_hand(alone)
    said = sentence(teach.error)
    assert "The slide a is neither at" in said
    assert "Its labels are kept" in said
    assert teach.slides.table.item(0, 2).text() == "1"


def test_one_slide_of_two_has_gone(open_by_hand: Open, folder: Path, slides: Any, qtbot: Any) -> None:
    labelled(folder, ("KL", 1, NAMES[0]))
    slides[1].path.rename(slides[1].path.with_suffix(".away"))
    teach = open_by_hand(folder)
    assert not teach.error.isVisible(), "the first slide is there"
    teach.slides.table.selectRow(1)
    qtbot.waitUntil(teach.error.isVisible)
    assert "The slide b is neither at" in sentence(teach.error)
    assert teach.teacher.work.slide_id == "a", "what is shown is what is labelled"


def test_a_slide_that_changed(open_by_hand: Open, folder: Path, slides: Any) -> None:
    labelled(folder, ("KL", 1, NAMES[0]))
    shutil.copy(slides[1].path, slides[0].path)
    teach = open_by_hand(folder)
    assert "is not the slide a that was labelled" in sentence(teach.error)
    assert len(teach.teacher.work.labels()) == 1


def test_features_of_another_encoder(open_by_hand: Open, folder: Path) -> None:
    labelled(folder, ("KL", 1, NAMES[0]))
    rewrite(folder, lambda data: data["encoder"].update(sha256="0" * 64))
    teach = open_by_hand(folder)
    said = sentence(teach.error)
    assert "What was prepared of a, b cannot be used" in said
    assert "another encoder" in said
    assert "Press Prepare" in said
    assert [teach.slides.table.item(row, 3).text() for row in (0, 1)] == ["0 %", "0 %"]
    assert labels_in(folder) == 1


def test_contradictions_and_classes_without_labels(open_by_hand: Open, folder: Path) -> None:
    labelled(folder, ("KL", 1, NAMES[0]), ("MM", 1, NAMES[1]), ("KL", 5, NAMES[1]))
    teach = open_by_hand(folder)
    said = sentence(teach.notice)
    assert f"contradict each other (KL says {NAMES[0]}; MM says {NAMES[1]})" in said
    assert "until one of them is changed" in said


def test_a_class_without_labels(open_by_hand: Open, folder: Path) -> None:
    labelled(folder, ("KL", 1, NAMES[0]), ("KL", 5, NAMES[1]))
    said = sentence(open_by_hand(folder).notice)
    assert f"No tile is labelled {NAMES[2]} and {NAMES[3]} yet, so the map never shows it." in said
