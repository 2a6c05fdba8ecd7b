"""A server of this process for OME-Zarr over a network, with faults and latency on demand."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar


class Faults(SimpleHTTPRequestHandler):
    """Serves a folder; fails, waits or dies when told to."""

    fail_next = 0
    dead_after = 10**9
    delay = 0.0
    lock = threading.Lock()
    served = 0
    address = ""
    pieces: ClassVar[Counter[str]] = Counter()
    meeting: threading.Barrier | None = None

    def do_GET(self) -> None:
        """Serve a file, or what the test wants instead."""
        kind = type(self)
        with kind.lock:
            kind.served += 1
            fails = kind.fail_next > 0
            kind.fail_next -= fails
            if "/c/" in self.path:
                kind.pieces[self.path] += 1
        if kind.meeting is not None and "/c/" in self.path:
            kind.meeting.wait(60)
        time.sleep(kind.delay)
        if fails or kind.served > kind.dead_after:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[type[Faults]]:
    """Serve a folder; the class that is yielded has the address, counts requests and takes orders."""
    kind = type("Faults", (Faults,), {"pieces": Counter()})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(folder))) as http:
        kind.address = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield kind
        finally:
            http.shutdown()
            thread.join()
