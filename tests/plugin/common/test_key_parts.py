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
        for name, known in (("teach", "12"), ("correct", "123")):
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
    seen: list[bool] = []
    panels.docks["correct"].visibilityChanged.connect(seen.append)
    panels.window.tabifyDockWidget(*panels.docks.values())
    panels.qtbot.waitUntil(lambda: seen[-2:] == [True, True])  # the tabs are laid out
    for name in ("teach", "correct", "teach"):
        panels.docks[name].raise_()
        panels.qtbot.waitUntil(lambda name=name: not panels.docks[name].visibleRegion().isEmpty())
        assert panels.press("1") == [f"{name} 1"]


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
