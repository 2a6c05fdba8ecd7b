"""What a test may leave behind: no thread of ours, no open file, no window."""

from __future__ import annotations

import gc
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Holdings", "holdings", "left_behind"]

PATIENCE_SECONDS = 10.0
"""How long threads that are on their way out may take; nothing waits when nothing is left."""

KEEPERS = (
    # Threads that a library starts once and keeps for the life of the process.
    "zarr_io",
    "fsspecIO",
    "wsss-look-ahead",  # one thread for all slides
    "openvino",  # of the one predictor that the command line keeps
    "asyncio",
    "Dask",
    "Profile",
    "TCP-Executor",
    "IO loop",
    "pydevd",
    "pytest",
    "napari",
    "vispy",
    "tensorboard",
    "ThreadPoolExecutor",  # of zarr's event loop
    "tqdm",
    "watchdog",
)


@dataclass(frozen=True)
class Holdings:
    """What the process holds.

    Attributes
    ----------
    threads : frozenset of threading.Thread
    files : frozenset of str
        Paths of open files, by descriptor.
    windows : frozenset of int
        Identities of Qt top-level widgets.
    """

    threads: frozenset[threading.Thread]
    files: frozenset[tuple[int, str]]
    windows: frozenset[int]


def holdings() -> Holdings:
    """Return what this process holds now; descriptors only where /proc tells them."""
    return Holdings(
        frozenset(t for t in threading.enumerate() if not t.name.startswith(KEEPERS)),
        frozenset(_open_files()),
        frozenset(map(id, _windows())),
    )


def _open_files() -> list[tuple[int, str]]:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return []
    found = []
    for entry in sorted(p.name for p in folder.iterdir()):
        try:
            target = str((folder / entry).readlink())
        except OSError:  # the descriptor of the listing itself
            continue
        if target.startswith("/") and not target.startswith(("/dev", "/proc", "/memfd", "/sys")):
            found.append((int(entry), target))
    return found


def _windows() -> list[object]:
    qt = sys.modules.get("qtpy.QtWidgets")
    application = qt.QApplication.instance() if qt else None
    return list(application.topLevelWidgets()) if application else []


def left_behind(before: Holdings, temporary: Path) -> list[str]:
    """Return what a test left behind, in words; waits for threads that are ending.

    Parameters
    ----------
    before : Holdings
        What there was when the test began.
    temporary : Path
        Only open files below it count: libraries keep fonts, caches and shared objects open as they like.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        now = holdings()
        threads = [t for t in now.threads - before.threads if t.is_alive()]
        files = [name for _, name in now.files - before.files if Path(name).is_relative_to(temporary)]
        if not threads and not files:
            return []
        if time.monotonic() > end:
            return [f"thread {t.name}" for t in threads] + [f"open file {name}" for name in files]
        _let_qt_delete()
        gc.collect()
        time.sleep(0.05)


def _let_qt_delete() -> None:
    """Run Qt's loop for a moment: a window that was closed is deleted by a loop only, and its slots with it."""
    core = sys.modules.get("qtpy.QtCore")
    if core is not None and core.QCoreApplication.instance() is not None:
        loop = core.QEventLoop()
        core.QTimer.singleShot(10, loop.quit)
        loop.exec()
