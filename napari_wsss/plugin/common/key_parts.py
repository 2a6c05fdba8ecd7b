"""Keys of a dock that work in the whole window of napari, wherever the mouse is, while the dock is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QKeySequence, QShortcut  # type: ignore[attr-defined]  # qtpy has it, its stubs do not
from qtpy.QtWidgets import QWidget

from napari_wsss.plugin.common.heartbeat_widget import main_window

__all__ = ["WindowKeys"]


class WindowKeys(QObject):
    """Binds keys to napari's main window when a dock is shown, and frees them when it is hidden.

    A shortcut of the window is asked before the canvas, whose layers have keys of their own for digits and letters, and
    after a field that somebody types into.

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

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """See the dock come and go."""
        if event is not None and event.type() in (QEvent.Type.Show, QEvent.Type.Hide):
            shown = event.type() == QEvent.Type.Show
            if shown:
                self._bind()
            for shortcut in self.shortcuts.values():
                shortcut.setEnabled(shown)
            if self._on_seen is not None:
                self._on_seen(shown)
        return False

    def _bind(self) -> None:
        window = main_window(self._dock)
        if window is None or self.shortcuts:
            return
        for key, action in self._actions.items():
            shortcut = QShortcut(QKeySequence(key), window)
            shortcut.activated.connect(action)
            self._dock.destroyed.connect(shortcut.deleteLater)
            self.shortcuts[key] = shortcut
