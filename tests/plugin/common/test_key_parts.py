"""Keys of docks side by side: a digit means what the dock that was used last makes of it, and never nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QPushButton, QVBoxLayout, QWidget

from napari_wsss.plugin.common import WindowKeys

pytestmark = pytest.mark.gui


class Panels:
    """A window with a canvas and two docks that know some of the same keys."""

    def __init__(self, qtbot: Any) -> None:
        self.qtbot, self.heard, self.window = qtbot, [], QMainWindow()
        qtbot.addWidget(self.window)
        self.canvas = QPushButton("canvas")
        self.window.setCentralWidget(self.canvas)
        self.docks = {}
        for name, known in (("review", "1"), ("teach", "12"), ("correct", "123")):
            inner, dock = QWidget(), QDockWidget(name)
            QVBoxLayout(inner).addWidget(QPushButton(name))
            dock.setWidget(inner)
            self.docks[name] = dock
            self.window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
            WindowKeys(inner, {key: partial(self.heard.append, f"{name} {key}") for key in known})
        with qtbot.waitExposed(self.window):
            self.window.show()
        self.window.activateWindow()
        qtbot.waitUntil(self.window.isActiveWindow)

    def in_front(self, dock: QDockWidget) -> None:
        """Wait until a tab is chosen, and all others are laid out behind it."""
        others = [other for other in self.docks.values() if other is not dock]
        self.qtbot.waitUntil(
            lambda: not dock.visibleRegion().isEmpty() and all(o.visibleRegion().isEmpty() for o in others)
        )

    def use(self, name: str) -> None:
        button = self.docks[name].widget().findChild(QPushButton)
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        self.canvas.setFocus()

    def press(self, key: str) -> list[str]:
        self.heard.clear()
        self.qtbot.keyClick(self.canvas, key)
        return list(self.heard)


@pytest.fixture
def panels(qtbot: Any) -> Panels:
    return Panels(qtbot)


def test_a_key_of_two_docks_is_of_the_one_that_was_used_last(panels: Panels) -> None:
    for name in ("teach", "correct", "teach"):
        panels.use(name)
        assert panels.press("1") == [f"{name} 1"]
        assert panels.press("3") == ["correct 3"], "what only one knows is its own all the time"


def test_of_tabs_the_one_in_front_has_the_keys(panels: Panels) -> None:
    teach, correct, review = (panels.docks[name] for name in ("teach", "correct", "review"))
    panels.window.tabifyDockWidget(teach, correct)
    panels.window.tabifyDockWidget(correct, review)
    panels.in_front(review)
    for dock in (teach, correct, teach):
        dock.raise_()
        panels.in_front(dock)
        assert panels.press("1") == [f"{dock.windowTitle()} 1"]
    # One that is closed behind another gives nobody a second meaning of a key.
    correct.hide()
    assert panels.press("1") == ["teach 1"]
    assert panels.press("3") == []


def test_a_key_is_handed_on_when_a_dock_is_hidden(panels: Panels) -> None:
    panels.use("correct")
    panels.docks["correct"].hide()
    assert panels.press("2") == ["teach 2"]
    assert panels.press("3") == []
    panels.docks["correct"].show()
    assert panels.press("2") == ["correct 2"]
    panels.docks["correct"].hide()
    panels.docks["teach"].hide()
    assert panels.press("2") == []
