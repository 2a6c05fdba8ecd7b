"""First contact with a slide happens in a process of its own: what crashes a decoder costs that slide, not the batch.

One process is started per batch and kept warm, so that a contact costs little more than opening the slide. It opens
the file, reads a tile from its middle and one of its coarsest level, within limits of time and memory. What it cannot
do for reasons of Python is no matter of it: the run meets the same, and has a sentence for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tiling.address import is_address
from tiling.batch.isolated import RunOne
from tiling.batch.jobs import SlideJob
from tiling.batch.summary import SlideOutcome
from tiling.errors import SlideContactError
from tiling.files import lacks_memory
from tiling.slides import open_slide

__all__ = ["FirstContact", "Guarded"]

LIMIT_S = 120.0
"""A network disk that sleeps may need a minute."""

MOST_BYTES = 4 << 30
"""Memory that opening a slide and reading two tiles may take."""

_START_S = 60.0
_TILE = 256


class FirstContact:
    """Opens slides elsewhere before they are opened here; a context manager, which starts and ends the other process.

    Where no process can be started nothing is guarded, and nothing refused.

    Parameters
    ----------
    limit_s : float
    most_bytes : int
    command : sequence of str, optional
        The other program; this module when absent.
    """

    def __init__(
        self, limit_s: float = LIMIT_S, most_bytes: int = MOST_BYTES, command: Sequence[str] | None = None
    ) -> None:
        # -P: the current folder may be a stranger's, and modules of it must not be found.
        own = [sys.executable, "-P", "-m", __spec__.name if __spec__ else __name__, str(most_bytes)]
        self._command = own if command is None else list(command)
        self._limit_s, self._most_bytes = limit_s, most_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, path: Path) -> None:
        """Open a slide there.

        Raises
        ------
        SlideContactError
            When that crashes the process, does not end, or takes too much memory.
        """
        if is_address(path):
            return
        if self._process is None:
            self._start()
        if not self._is_ready:
            self._is_ready = self._answer(None, _START_S)[0] == b"ready\n"
        if not self._is_ready:
            self._end()
            return
        answer, seconds = self._answer(os.fspath(path.absolute()), self._limit_s)
        if answer == b"ok\n":
            return
        code = self._end()
        if answer == b"memory\n":
            why = f"takes more than {self._most_bytes / 2**30:.0f} GiB of memory to open"
        elif seconds >= self._limit_s:
            why = f"did not open within {self._limit_s:.0f} s"
        else:
            why = f"crashes the program that decodes it ({_signal_name(code)})"
        raise SlideContactError(
            f"{path} {why}, so it was left out; the file is damaged or was made to harm: export it again."
        )

    def _start(self) -> None:
        quiet = subprocess.DEVNULL
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet
            )

    def _answer(self, question: str | None, limit_s: float) -> tuple[bytes, float]:
        """Ask, and return the answer and the seconds that it took; nothing when the process ended or was ended."""
        process = self._process
        if process is None:
            return b"", 0.0
        assert process.stdin is not None
        assert process.stdout is not None
        started = time.monotonic()
        watch = threading.Timer(limit_s, process.kill)
        watch.start()
        try:
            if question is not None:
                process.stdin.write(json.dumps(question).encode() + b"\n")
                process.stdin.flush()
            return process.stdout.readline(), time.monotonic() - started
        except OSError:
            return b"", time.monotonic() - started
        finally:
            watch.cancel()
            watch.join()

    def _end(self) -> int | None:
        """End the process and return its exit code."""
        process, self._process, self._is_ready = self._process, None, False
        if process is None:
            return None
        code = process.poll()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if code is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(1)  # it may be ending by itself
        if code is None:
            process.kill()
            process.wait()
        return code


@dataclass(frozen=True)
class Guarded:
    """The work on one slide, after a first contact elsewhere.

    Attributes
    ----------
    run_one : callable
    contact : FirstContact
    """

    run_one: RunOne
    contact: FirstContact

    def __call__(self, job: SlideJob) -> SlideOutcome:
        """Work on a slide that can be opened.

        Raises
        ------
        SlideContactError
            In place of a crash of this process.
        """
        self.contact(job.path)
        return self.run_one(job)


def _signal_name(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


# --- the other side ---


def _serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Open what is asked for until nothing more comes."""
    answers.write(b"ready\n")
    answers.flush()
    for line in questions:
        answer = b"ok\n"
        try:
            _touch(Path(json.loads(line)))
        except Exception as error:  # noqa: BLE001 - the run meets it, too, and says it; but for this
            answer = b"memory\n" if lacks_memory(error) else answer
        answers.write(answer)
        answers.flush()


def _touch(path: Path) -> None:
    """Open a slide and read two tiles."""
    with open_slide(path) as slide:
        width, height = slide.dimensions
        slide.read(width // 2, height // 2, _TILE, _TILE)
        if slide.mpp is not None:
            slide.read(0, 0, _TILE, _TILE, mpp=slide.mpp * slide.levels[-1].downsample)


def _limit_memory(most_bytes: int) -> None:
    """Let this process take so much more memory than it has; only where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        status = Path("/proc/self/status").read_text()
        has = int(status.split("VmData:")[1].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (has + most_bytes, has + most_bytes))


def main() -> None:
    """Serve until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the other side decides
    # Libraries write to the standard output; the answers have a way of their own.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit_memory(int(sys.argv[1]))
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
