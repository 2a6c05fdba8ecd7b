"""How a run is stopped: in good order at the first signal, at once at the second."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["stopping"]

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_AT_ONCE = b"Stopped at once; the same command goes on after the last complete row.\n"
_CURSOR = b"\x1b[?25h"


@contextmanager
def stopping() -> Iterator[None]:
    """Let Ctrl-C, a scheduler or a closed terminal end the work inside.

    The first signal raises, so that locks are freed. That waits for what is being read and written, and a disk that
    does not answer may take for ever: the second ends the process where it stands, as a kill would, which costs the row
    that was being computed. Signals that whoever started us wants ignored (``nohup``) stay ignored.

    Raises
    ------
    KeyboardInterrupt
        At SIGINT.
    SystemExit
        At SIGTERM and SIGHUP, with 128 + their number.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def stop(number: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            _end_at_once(128 + number)
        asked = True
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {n: known for n in numbers if (known := signal.getsignal(n)) not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


def _end_at_once(code: int) -> NoReturn:
    """Leave without waiting for any thread; a live display has hidden the cursor."""
    try:
        os.write(2, (_CURSOR if sys.stderr.isatty() else b"") + _AT_ONCE)
    finally:
        os._exit(code)
