"""A person at the mouse and the keyboard of a napari window with the Teach dock."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Hands", "new_project_by_hand"]


class Hands:
    """A person at the mouse and the keyboard.

    Parameters
    ----------
    viewer : napari.Viewer
    teach : TeachWidget
    qtbot : pytestqt.qtbot.QtBot
    """

    def __init__(self, viewer: Any, teach: Any, qtbot: Any) -> None:
        from qtpy.QtCore import Qt

        self.viewer, self.teach, self.qtbot, self.qt = viewer, teach, qtbot, Qt
        self.canvas = viewer.window._qt_viewer.canvas.native
        viewer.window._qt_window.activateWindow()
        self.canvas.setFocus()
        self.slides = Path()
        self._pictures = 0

    def screen(self, x: float, y: float) -> Any:
        """Where a level-0 place is on the canvas."""
        from qtpy.QtCore import QPoint

        slide = self.teach.teacher.work.slide_layer()
        world = np.asarray(slide.data_to_world((y - 0.5, x - 0.5)))[-2:]
        offset = (world - self.viewer.scene.camera.center[-2:]) * self.viewer.scene.camera.zoom
        height, width = self.viewer.canvas.size
        return QPoint(round(width / 2 + offset[1]), round(height / 2 + offset[0]))

    def move(self, x: float, y: float, *, pressed: bool = False, control: bool = False) -> None:
        from qtpy.QtCore import QEvent, QPointF
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        place, qt = self.screen(x, y), self.qt
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            QPointF(place),
            QPointF(self.canvas.mapToGlobal(place)),
            qt.MouseButton.NoButton,
            qt.MouseButton.LeftButton if pressed else qt.MouseButton.NoButton,
            qt.KeyboardModifier.ControlModifier if control else qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(self.canvas, event)
        self.qtbot.wait(5)

    def key(self, text: str, *, shift: bool = False, control: bool = False) -> None:
        qt = self.qt
        modifier = qt.KeyboardModifier.NoModifier
        if shift:
            modifier |= qt.KeyboardModifier.ShiftModifier
        if control:
            modifier |= qt.KeyboardModifier.ControlModifier
        self.qtbot.keyClick(self.canvas, getattr(qt.Key, f"Key_{text}"), modifier)
        self.qtbot.wait(5)

    def drag(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        *,
        control: bool = False,
        through: Sequence[tuple[float, float]] = (),
    ) -> None:
        """Press at ``start``, move to ``end`` (or by way of some places), release."""
        qt = self.qt
        modifier = qt.KeyboardModifier.ControlModifier if control else qt.KeyboardModifier.NoModifier
        self.move(*start, control=control)
        self.qtbot.mousePress(self.canvas, qt.MouseButton.LeftButton, modifier, self.screen(*start))
        line = [
            tuple(a + share * (b - a) for a, b in zip(start, end, strict=True)) for share in (0.3, 0.6, 1.0)
        ]
        for place in through or line:
            self.move(*place, pressed=True, control=control)
        end = place
        self.qtbot.mouseRelease(self.canvas, qt.MouseButton.LeftButton, modifier, self.screen(*end))
        self.qtbot.wait(5)

    def click(self, x: float, y: float) -> None:
        self.qtbot.mouseClick(self.canvas, self.qt.MouseButton.LeftButton, pos=self.screen(x, y))
        self.qtbot.wait(5)

    def press(self, button: Any) -> None:
        assert button.isEnabled(), button.text()
        assert button.isVisible(), button.text()
        self.qtbot.mouseClick(button, self.qt.MouseButton.LeftButton)

    def picture(self, name: str) -> None:
        """Keep how the window looks in the folder that WSSS_PICTURES names, where it names one."""
        folder = os.environ.get("WSSS_PICTURES")
        self.teach.tick()
        if folder:
            from PIL import Image

            self.qtbot.wait(300)
            pixels: Any = self.viewer.screenshot(canvas_only=False, flash=False)
            self._pictures += 1
            Path(folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., :3]).save(Path(folder) / f"{self._pictures:02d}-{name}.png")

    def keep(self, name: str, text: str) -> None:
        """Write a text beside the pictures, where they are kept."""
        if folder := os.environ.get("WSSS_PICTURES"):
            (Path(folder) / name).write_text(text)

    def rest(self, timeout: int = 300_000) -> None:
        self.qtbot.waitUntil(lambda: not self.teach.teacher.is_busy, timeout=timeout)
        self.teach.tick()


def new_project_by_hand(
    hands: Hands,
    folder: Path,
    names: Sequence[str],
    *,
    tile_um: int,
    encoder: str = "synthetic-demo",
    picture: bool = False,
) -> None:
    """Make a project of the slides that are open, through the dialog."""
    from napari_wsss.plugin.teach.project_dialog import ProjectDialog

    teach = hands.teach
    hands.press(teach.slides.new)
    dialog = teach.findChild(ProjectDialog)
    assert dialog.slides.isVisible()
    while dialog.classes.table.rowCount() < len(names):
        hands.press(dialog.classes.more)
    for row, name in enumerate(names):
        dialog.classes.table.item(row, 1).setText(name)
    dialog.encoder.setCurrentIndex(dialog.encoder.findData(encoder))
    dialog.tile.setValue(tile_um)
    if picture and (pictures := os.environ.get("WSSS_PICTURES")):
        dialog.folder.setText(f"/home/ada/slides/{folder.name}")  # not where tests write
        hands.qtbot.wait(300)
        dialog.grab().save(str(Path(pictures) / "dialog.png"))
    dialog.folder.setText(f"~nobody-of-this-name/{folder.name}")
    hands.press(dialog.buttons.button(dialog.buttons.StandardButton.Ok))
    assert "a user who does not exist" in dialog.error.text()
    dialog.folder.setText(str(folder))
    hands.press(dialog.buttons.button(dialog.buttons.StandardButton.Ok))
    hands.qtbot.waitUntil(lambda: teach.findChild(ProjectDialog) is None, timeout=60_000)
    assert teach.teacher.work.project is not None, teach.teacher.work.problem
    teach.tick()
