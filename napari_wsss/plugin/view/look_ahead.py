"""What will be wanted next, made beforehand in one thread behind the viewer."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from napari_wsss.backends import lower_priority

__all__ = ["LookAhead"]

_log = logging.getLogger(__name__)

NICENESS = 5
"""Steps of priority by which looking ahead stays behind the viewer, as runs do."""


class LookAhead:
    """Calls functions one after another; those wanted before and not begun are forgotten.

    Its thread is started when something is wanted first, and kept: whoever starts a thread waits until it runs.
    """

    def __init__(self) -> None:
        self._wanted: deque[Callable[[], object]] = deque()
        self._is_working = False
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "wsss-look-ahead", lower_priority, (NICENESS,))

    def want(self, calls: Iterable[Callable[[], object]]) -> None:
        """Take what to call from now on."""
        with self._lock:
            self._wanted = deque(calls)
            if self._is_working or not self._wanted:
                return
            self._is_working = True
        self._thread.submit(self._work)

    def close(self) -> None:
        """Forget what is wanted, and wait for what was begun."""
        self.want(())
        self._thread.shutdown()

    def _work(self) -> None:
        try:
            while (call := self._next()) is not None:
                call()
        except BaseException:  # noqa: BLE001 - nobody waits for this; what is wanted is made when it is seen
            _log.exception("looking ahead failed")
            with self._lock:
                self._is_working = False

    def _next(self) -> Callable[[], object] | None:
        with self._lock:
            if self._wanted:
                return self._wanted.popleft()
            self._is_working = False
            return None
