"""One writer per store: a lock that the operating system releases when its owner dies."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from tiling.errors import StoreError, StoreLockedError
from tiling.files import read_json, write_json_atomic
from tiling.store.contents import disk_error

__all__ = ["StoreLock"]


class StoreLock:
    """Exclusive ownership of a store for the time of a run (a context manager).

    The lock lies beside the store (``<store>.lock``), so that it survives a restart that deletes the store; where the
    store is reached through a link, beside its target. A process that was killed holds no lock any more, whatever the
    file says.

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
        real = Path(os.path.realpath(store))
        self._owner_file = real.with_name(real.name + ".owner")
        self._lock = FileLock(str(real.with_name(real.name + ".lock")))

    def __enter__(self) -> StoreLock:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StoreLockedError(
                f"{self._store} is being written by {self._owner()}; wait for it to finish or stop it first."
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error
        except NotImplementedError as error:  # of filelock, where the file system knows no locks
            raise self._unwritable(OSError(errno.ENOLCK, "its file system has no locks")) from error
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
        try:
            write_json_atomic(self._owner_file, owner)
        except BaseException as error:
            self.__exit__()  # Python does not, after an error on entering
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Files first, lock last: nobody else can be inside while we remove them (filelock notices an unlinked file).
        # What cannot be removed does no harm: the next owner takes it over.
        try:
            with contextlib.suppress(OSError):
                self._owner_file.unlink(missing_ok=True)
            if os.name != "nt":
                with contextlib.suppress(OSError):
                    Path(self._lock.lock_file).unlink(missing_ok=True)
        finally:
            self._lock.release()

    def _unwritable(self, error: OSError) -> StoreError:
        return disk_error(self._store, "cannot be written", error, "mend it or choose another --out")

    def _owner(self) -> str:
        """Describe the owner as well as it is known."""
        try:
            owner = read_json(self._owner_file)
            return f"process {owner['pid']} on {owner['host']} since {owner['started']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
