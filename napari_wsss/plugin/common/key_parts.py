"""Keys of a dock that work in the whole window of napari, wherever the mouse is, while the dock is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QKeySequence, QShortcut  # type: ignore[attr-defined]  # qtpy has it, its stubs do not
from qtpy.QtWidgets import QApplication, QDockWidget, QWidget

from napari_wsss.plugin.common.heartbeat_widget import main_window

__all__ = ["WindowKeys"]


class WindowKeys(QObject):
    """Binds keys to napari's main window when a dock is shown, and frees them when it is hidden.

    A shortcut of the window is asked before the canvas, whose layers have keys of their own for digits and letters, and
    after a field that somebody types into. Of docks that are seen side by side, the one that was used or shown last has
    the keys that several know: a key with two meanings would have none.

    Parameters
    ----------
    dock : QWidget
    actions : mapping of str to callable
        By key, as Qt writes it: ``1``, ``Ctrl+Z``.
    on_seen : callable, optional
        Told when the dock is seen, and when it is not any more.
    """

    def __init__(
        self,
        dock: QWidget,
        actions: Mapping[str, Callable[[], object]],
        on_seen: Callable[[bool], object] | None = None,
    ) -> None:
        super().__init__(dock)
        self._dock = dock
        self._actions = dict(actions)
        self._on_seen = on_seen
        self.shortcuts: dict[str, QShortcut] = {}
        dock.installEventFilter(self)
        cast("QApplication", QApplication.instance()).focusChanged.connect(self._focus_moved)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """See the dock come and go."""
        if event is not None and event.type() in (QEvent.Type.Show, QEvent.Type.Hide):
            shown = event.type() == QEvent.Type.Show
            if shown:
                self._bind()
                self._take()
            else:
                self._let_go()
            if self._on_seen is not None:
                self._on_seen(shown)
        return False

    def _focus_moved(self, _before: QWidget | None, now: QWidget | None) -> None:
        if now is not None and self._dock.isVisible() and self._dock.isAncestorOf(now):
            self._take()

    def _came_to_front(self, in_front: bool) -> None:
        """Take the keys where the tab of the dock is chosen: what lies behind counts as visible, and no event tells."""
        if in_front:
            self._take()
        elif self._dock.visibleRegion().isEmpty():  # Qt says so of one that begins to float, too
            self._hand_over()

    def _take(self) -> None:
        """Have all keys of this dock, also those that another one has."""
        for other in self._others():
            for key in self.shortcuts.keys() & other.shortcuts.keys():
                other.shortcuts[key].setEnabled(False)
        for shortcut in self.shortcuts.values():
            shortcut.setEnabled(True)

    def _let_go(self) -> None:
        """Have no keys any more."""
        self._hand_over()
        for shortcut in self.shortcuts.values():
            shortcut.setEnabled(False)

    def _hand_over(self) -> None:
        """Leave the keys that this dock has to another one in sight that knows them."""
        in_sight = [other for other in self._others() if not other._dock.visibleRegion().isEmpty()]
        for key, shortcut in self.shortcuts.items():
            heir = next((other.shortcuts[key] for other in in_sight if key in other.shortcuts), None)
            if heir is not None and shortcut.isEnabled():
                shortcut.setEnabled(False)
                heir.setEnabled(True)

    def _others(self) -> list[WindowKeys]:
        window = main_window(self._dock)
        return (
            [] if window is None else [keys for keys in window.findChildren(WindowKeys) if keys is not self]
        )

    def _bind(self) -> None:
        window = main_window(self._dock)
        if window is None or self.shortcuts:
            return
        for key, action in self._actions.items():
            shortcut = QShortcut(QKeySequence(key), window)
            shortcut.activated.connect(action)
            self._dock.destroyed.connect(shortcut.deleteLater)
            self.shortcuts[key] = shortcut
        holder = self._dock.parentWidget()
        while holder is not None and not isinstance(holder, QDockWidget):
            holder = holder.parentWidget()
        if holder is not None:
            holder.visibilityChanged.connect(self._came_to_front)
