"""One writer per store: a lock that the operating system releases when its owner dies."""

from __future__ import annotations

import datetime
import json
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from tiling.errors import StoreError, StoreLockedError

__all__ = ["StoreLock"]


class StoreLock:
    """Exclusive ownership of a store for the time of a run (a context manager).

    The lock lies beside the store (``<store>.lock``), so that it survives a restart that deletes the store. A process
    that was killed holds no lock any more, whatever the file says.

    Parameters
    ----------
    store : Path
        The store's folder; its parent must exist.

    Raises
    ------
    StoreLockedError
        On entering, when a living process owns the store; the message names it.
    StoreError
        On entering, when the place cannot be written to.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._owner_file = store.with_name(store.name + ".owner")
        self._lock = FileLock(str(store.with_name(store.name + ".lock")))

    def __enter__(self) -> StoreLock:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StoreLockedError(
                f"{self._store} is being written by {self._owner()}; wait for it to finish or stop it first."
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
        try:
            self._owner_file.write_text(json.dumps(owner), encoding="utf-8")
        except OSError as error:
            self.__exit__()  # Python does not, after an error on entering
            raise self._unwritable(error) from error
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Files first, lock last: nobody else can be inside while we remove them (filelock notices an unlinked file).
        self._owner_file.unlink(missing_ok=True)
        if os.name != "nt":
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self._store} cannot be written: {error.strerror or error}; mend it or choose another --out."
        )

    def _owner(self) -> str:
        """Describe the owner as well as it is known."""
        try:
            owner = json.loads(self._owner_file.read_text(encoding="utf-8"))
            return f"process {owner['pid']} on {owner['host']} since {owner['started']}"
        except (OSError, ValueError, KeyError):
            return "another process"
