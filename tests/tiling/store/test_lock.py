"""One writer per store."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

from tiling.errors import StoreLockedError
from tiling.store.lock import StoreLock


def test_of_many_who_want_the_lock_at_once_one_gets_it(tmp_path: Path) -> None:
    start, given = threading.Barrier(8, timeout=300), threading.Barrier(8, timeout=300)
    got: list[str] = []

    def want() -> None:
        start.wait()
        try:
            with StoreLock(tmp_path / "a.zarr"):
                got.append("mine")
                given.wait()
        except StoreLockedError:
            got.append("refused")
            given.wait()

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(got) == {"mine": 1, "refused": 7}
