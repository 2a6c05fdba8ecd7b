"""The timer of a window that takes news from its jobs: it goes on while docks are closed, and ends with the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QMainWindow, QWidget

__all__ = ["Beating", "Heartbeat", "main_window", "start_heartbeat"]

BEAT_MS = 100


class Beating(Protocol):
    """What a heartbeat keeps alive: a presenter with work in other threads."""

    def poll(self) -> bool:
        """Take news."""
        ...

    def close(self) -> None:
        """End: the window goes away."""
        ...


class Heartbeat(QTimer):
    """Polls a presenter ten times a second until its window is destroyed.

    A dock must not do this: napari destroys a dock that is closed, and the run of its presenter goes on.

    Parameters
    ----------
    window : QMainWindow
        Owns this timer.
    presenter : Beating
    """

    def __init__(self, window: QMainWindow, presenter: Beating) -> None:
        super().__init__(window)
        self.presenter = presenter
        self.timeout.connect(self.beat)
        # Of the window and not of this timer: a destroyed object's own slots are not called any more.
        window.destroyed.connect(_Closing(presenter.close))
        self.start(BEAT_MS)

    def beat(self) -> None:
        """Take news."""
        self.presenter.poll()


class _Closing:
    """Calls something once, with whatever Qt passes to slots."""

    def __init__(self, close: Callable[[], object]) -> None:
        self._close = close

    def __call__(self, _sender: QObject | None = None) -> None:
        self._close()


def main_window(widget: QWidget) -> QMainWindow | None:
    """Return the window in which a widget is docked (also when its dock floats), or None."""
    at: QWidget | None = widget
    while at is not None and not isinstance(at, QMainWindow):
        at = at.parentWidget()
    return at


def start_heartbeat(widget: QWidget, presenter: Beating) -> Heartbeat | None:
    """Let the window of a widget poll a presenter, once however many docks ask; None while it is in no window."""
    window = main_window(widget)
    if window is None:
        return None
    for known in window.findChildren(Heartbeat):
        if known.presenter is presenter:
            return known
    return Heartbeat(window, presenter)
