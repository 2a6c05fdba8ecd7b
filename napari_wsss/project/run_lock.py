"""One training per run folder, also after whoever watched it was killed: the lock lives on in the program that runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from tiling.errors import TrainingError

__all__ = ["RunLock"]


class RunLock:
    """Exclusive ownership of a run folder (a context manager).

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    inherited : tuple of int
        File descriptors that a started program must inherit: while it lives, the folder stays locked.

    Raises
    ------
    TrainingError
        On entering, when somebody else, or a program that outlived its watcher, trains there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / ".lock"
        self._windows: FileLock | None = None
        self.inherited: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        if sys.platform == "win32":
            self._windows = FileLock(str(self._path))
            try:
                self._windows.acquire(timeout=0)
            except Timeout:
                raise self._taken() from None
            return self
        import fcntl

        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise self._taken() from None
        self.inherited = (descriptor,)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._windows is not None:
            self._windows.release()
        for descriptor in self.inherited:
            os.close(descriptor)
        self.inherited = ()

    def _taken(self) -> TrainingError:
        return TrainingError(
            f"{self._folder} is being trained already, perhaps by a program whose window was closed; wait for it to "
            "finish or stop it first."
        )
