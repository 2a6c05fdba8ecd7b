"""Published checkpoints become a model of the panel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.gui


@pytest.fixture
def dialog(qtbot: Any) -> Any:
    from napari_wsss.plugin.segment.import_dialog import ImportDialog

    made = ImportDialog()
    qtbot.addWidget(made)
    made.show()
    return made


def ok(dialog: Any, qtbot: Any) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QDialogButtonBox

    box = dialog.findChild(QDialogButtonBox)
    qtbot.mouseClick(box.button(QDialogButtonBox.StandardButton.Ok), Qt.MouseButton.LeftButton)


def test_what_is_missing_or_wrong_is_said_and_nothing_is_made(
    dialog: Any, tmp_path: Path, qtbot: Any
) -> None:
    ok(dialog, qtbot)
    assert dialog.error.isVisible()
    assert "patch classifier and a folder" in dialog.error.text()
    broken = tmp_path / "stage1.pth"
    broken.write_bytes(b"no checkpoint")
    dialog.stage1.path.setText(str(broken))
    dialog.out.path.setText(str(tmp_path / "models"))
    ok(dialog, qtbot)
    assert "stage1.pth" in dialog.error.text().replace("​", "")
    assert dialog.isVisible()
    assert dialog.folder is None
    for row in (dialog.stage1, dialog.stage2, dialog.out):
        kept = row.path.text()
        row.path.setText("~nobody-of-this-name/models")
        ok(dialog, qtbot)
        assert "a user who does not exist" in dialog.error.text()
        row.path.setText(kept)
    assert not (tmp_path / "models" / "stage1" / "bundle.json").exists()


def test_two_files_become_a_model(
    dialog: Any, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By clicks alone; how files are read is tested where they are read."""
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QFileDialog, QPushButton

    asked: list[Any] = []

    def import_checkpoints(*arguments: Any, **options: Any) -> Path:
        asked.append((arguments, options))
        return tmp_path / "made"

    monkeypatch.setattr("napari_wsss.plugin.segment.importing.import_checkpoints", import_checkpoints)
    files = iter(["one.best.pth", "two.pth"])
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / next(files)), ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    for row in (dialog.stage1, dialog.stage2, dialog.out):
        qtbot.mouseClick(row.findChild(QPushButton), Qt.MouseButton.LeftButton)
    dialog.classes.setCurrentIndex(1)
    dialog.mpp.setValue(0.5)
    ok(dialog, qtbot)
    assert not dialog.isVisible()
    assert dialog.result() == 1
    assert dialog.folder == tmp_path / "made"
    paths = tmp_path / "one.best.pth", tmp_path / "two.pth"
    assert asked == [((*paths, "luad", tmp_path / "one"), {"mpp": 0.5})]


def test_it_is_opened_from_the_panel(
    open_dock: Callable[..., Any], small_bundle: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_wsss.plugin.segment import model_section

    class Accepted:
        folder = small_bundle.path

        def __init__(self, parent: Any) -> None:
            pass

        def exec(self) -> bool:
            return True

    monkeypatch.setattr(model_section, "ImportDialog", Accepted)
    _viewer, widget = open_dock()
    next(a for a in widget.model.add.menu().actions() if "checkpoints" in a.text()).trigger()
    qtbot.waitUntil(lambda: widget.model.bundles.currentData() == str(small_bundle.path))
