"""A ``wsss-tile`` that has everything loaded: each command is a fork of it, under a fault; used by test_faults.py.

Reads one JSON request a line: the ``arguments`` of the command line, a ``fault`` (a name of ``FAULTS``), the ``folder``
for what it writes, and changes of the ``environment``. Answers with the process id, and with the exit code at the end.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch

from napari_wsss.cli import main
from tiling.slides import Slide

STRANGER = 54321
"""A user without a name and a home, as containers have them (``docker run --user``)."""

UNEXPECTED = 70
"""Exit code of a command that raised what no command may."""

READS = 25
"""Reads of pixels before a disk fails."""


def files(most: int) -> Callable[[], None]:
    """Allow so many open files."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def long_files(most: int) -> Callable[[], None]:
    """Allow files of so many bytes (``ulimit -f``)."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def memory(more: int) -> Callable[[], None]:
    """Allow so many bytes of address space more than are taken (``ulimit -v``)."""

    def limit() -> None:
        most = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return limit


def a_stranger() -> None:
    """Become a user who owns nothing."""
    os.setgroups([])
    os.setgid(STRANGER)
    os.setuid(STRANGER)


def a_stuck_disk() -> None:
    """Let no read of pixels end after some."""
    read, count = Slide.read, itertools.count()

    def stuck(self: Slide, *arguments: Any, **options: Any) -> Any:
        if next(count) >= READS:
            os.write(2, b"stuck\n")
            time.sleep(600)
        return read(self, *arguments, **options)

    Slide.read = stuck  # type: ignore[method-assign]


def a_clock_that_jumps(seconds: float) -> Callable[[], None]:
    """Let the clock jump back and forth by so much, whoever looks at it in Python, and the dates of files with it."""

    def jump() -> None:
        now, count = time.time, itertools.count()
        time.time = lambda: now() + seconds * (next(count) % 3 - 1)
        replace = os.replace

        def dated(source: Any, target: Any, **options: Any) -> None:
            then = time.time()
            with contextlib.suppress(OSError):
                os.utime(source, (then, then))
            replace(source, target, **options)

        os.replace = dated

    return jump


def no_sync() -> None:
    """Let fsync do nothing but fail, as some network disks have it."""

    def refuse(_: int) -> None:
        raise OSError(22, "Invalid argument")

    os.fsync = refuse


def a_slow_disk() -> None:
    """Give time to do something in the middle of a run."""
    read = Slide.read

    def slow(self: Slide, *arguments: Any, **options: Any) -> Any:
        time.sleep(0.05)
        return read(self, *arguments, **options)

    Slide.read = slow  # type: ignore[method-assign]


def ignored_hangup() -> None:
    """Be started with ``nohup``."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    a_slow_disk()


def a_slow_stranger() -> None:
    """Be nobody on a slow disk."""
    a_stranger()
    a_slow_disk()


FAULTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "a clock that jumps": a_clock_that_jumps(86_400),
    "a slow disk": a_slow_disk,
    "a stranger": a_stranger,
    "a stranger, slowly": a_slow_stranger,
    "a stuck disk": a_stuck_disk,
    "nohup": ignored_hangup,
    "no fsync": no_sync,
    **{f"files of {most} bytes": long_files(most) for most in (0, 300, 2_000, 30_000)},
    **{f"{most} MB more": memory(most << 20) for most in (0, 10, 60)},
    **{f"{most} open files": files(most) for most in range(6, 16)},
}


def _run(request: dict[str, Any]) -> NoReturn:
    """Be the command, and leave as the interpreter does: not before all threads of pools have ended."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(request["folder"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for name, value in request["environment"].items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    tempfile.tempdir = None
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # whoever started the tests may have made us deaf
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    code = UNEXPECTED
    try:
        FAULTS[request["fault"]]()
        sys.argv = ["wsss-tile", *request["arguments"]]
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0
    except BaseException:  # noqa: BLE001 - the test looks for it
        traceback.print_exc()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    if request["fault"] == "none":
        Path(request["folder"], "modules").write_text("\n".join(sys.modules))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def load_modules(path: Path) -> None:
    """Load what the command before has loaded: a stranger may not be able to read where Python lies."""
    for name in path.read_text().split("\n"):
        if not name.startswith("__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    path.unlink()


def serve() -> None:
    """Answer until nothing more comes."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        learnt = Path(request["folder"], "modules")
        if learnt.exists():
            load_modules(learnt)
        pid = os.fork()
        if pid == 0:
            _run(request)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
