"""The line on top of every panel, which also puts the panel among the tabs of ours that are open already.

napari stacks docks opened from its menu, whatever the manifest says of tabs: the second would leave the first a
few lines, and the fourth would push the window off the screen.
"""

from __future__ import annotations

from qtpy.QtCore import QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QApplication, QDockWidget, QLabel, QMainWindow, QSizePolicy, QWidget

from napari_wsss.plugin.common.heartbeat_widget import main_window

__all__ = ["NOTICE", "PanelTitle", "title"]

NOTICE = "Research use only, not for diagnosis."


class PanelTitle(QLabel):
    """Says what the panel is for, and joins its dock with the others when it is first seen."""

    def __init__(self) -> None:
        super().__init__(NOTICE)
        self.setStyleSheet("font-weight: bold;")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        # A dock must not be moved while it is being put into its place.
        self._joining = QTimer(self)
        self._joining.setSingleShot(True)
        self._joining.timeout.connect(self._join)
        self._joined = False
        # Of the windows before one of them grows to hold one more panel below the others.
        self._sizes = {id(window): window.size() for window in _windows()}

    def showEvent(self, event: QShowEvent | None) -> None:
        """Join the other panels, once: where the user puts the dock afterwards, it stays."""
        super().showEvent(event)
        if not self._joined:
            self._joined = True
            self._joining.start(0)

    def _join(self) -> None:
        window, dock = main_window(self), _dock_of(self)
        if window is None or dock is None or dock.isFloating():
            return
        area = window.dockWidgetArea(dock)
        others = [
            other
            for other in window.findChildren(QDockWidget)
            if other is not dock
            and other.isVisible()
            and not other.isFloating()
            and window.dockWidgetArea(other) == area
            and other.findChild(PanelTitle) is not None
        ]
        if others:
            window.tabifyDockWidget(others[-1], dock)
            dock.raise_()
            layout, size = window.layout(), self._sizes.get(id(window))
            if size is not None and layout is not None and not window.isMaximized():
                layout.activate()
                window.resize(size)


def _windows() -> list[QMainWindow]:
    return [window for window in QApplication.topLevelWidgets() if isinstance(window, QMainWindow)]


def _dock_of(widget: QWidget) -> QDockWidget | None:
    at: QWidget | None = widget
    while at is not None and not isinstance(at, QDockWidget):
        at = at.parentWidget()
    return at


def title() -> PanelTitle:
    """Return the line that stands on top of every panel."""
    return PanelTitle()
