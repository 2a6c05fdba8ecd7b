"""What will be wanted next, made beforehand in a thread that ends when nothing is wanted any more."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from napari_wsss.backends import lower_priority

__all__ = ["LookAhead"]

NICENESS = 5
"""Steps of priority by which looking ahead stays behind the viewer, as runs do."""


class LookAhead:
    """Calls functions one after another; those wanted before and not begun are forgotten."""

    def __init__(self) -> None:
        self._wanted: deque[Callable[[], object]] = deque()
        self._is_working = False
        self._lock = threading.Lock()

    def want(self, calls: Iterable[Callable[[], object]]) -> None:
        """Take what to call from now on."""
        with self._lock:
            self._wanted = deque(calls)
            if self._is_working or not self._wanted:
                return
            self._is_working = True
        threading.Thread(target=self._work, name="wsss-look-ahead").start()

    def _work(self) -> None:
        lower_priority(NICENESS)
        while True:
            with self._lock:
                if not self._wanted:
                    self._is_working = False
                    return
                call = self._wanted.popleft()
            try:
                call()
            except BaseException:
                with self._lock:
                    self._is_working = False
                raise
