"""A window of napari for benchmarks: with settings of its own, alive as long as something is awaited."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
os.environ.setdefault("OMP_NUM_THREADS", "1")

LOOK_MS = 10


def spin(seconds: float, until: Callable[[], bool] | None = None) -> bool:
    """Let the window live for some time, or until something is so; tell whether it came to be so.

    In a loop of Qt's own, as in ``napari.run``: without one, closed widgets are never deleted, so that napari's sign
    that a file is being opened turns for ever, and the whole window is drawn anew some twenty times a second.
    """
    from qtpy.QtCore import QEventLoop, QTimer

    loop, end, look = QEventLoop(), QTimer(), QTimer()
    end.setSingleShot(True)
    end.timeout.connect(loop.quit)
    end.start(round(1000 * seconds))

    def ask() -> None:
        if until is not None and until():
            loop.exit(1)

    look.timeout.connect(ask)
    look.start(LOOK_MS)
    return bool(loop.exec())
