"""A training program in a process of its own: started, watched through its log, ended with whoever watches."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tiling.errors import TrainingError

__all__ = ["EpochRow", "Seen", "require_programs", "run_program"]

POLL_SECONDS = 0.25
_PATIENCE = 10.0
_KEPT_LINES = 12


@dataclass(frozen=True)
class EpochRow:
    """One finished epoch of a run's ``log.csv``."""

    epoch: int
    loss: float | None
    score: float | None


@dataclass(frozen=True)
class Seen:
    """What a program shows: the epochs it has finished and its last line."""

    epochs: tuple[EpochRow, ...]
    message: str


def require_programs() -> None:
    """Raise TrainingError where what the programs need is not installed: before any work, not after minutes of it."""
    if importlib.util.find_spec("lightning") is None:
        raise TrainingError("Training needs the package lightning: run `pip install 'napari-wsss[train]'`.")


def run_program(
    module: str, words: Sequence[str], log: Path | None = None, inherited: Sequence[int] = ()
) -> Generator[Seen]:
    """Run ``python -m <module>`` and yield what can be seen of it now and then; closing the generator ends it.

    Parameters
    ----------
    module : str
    words : sequence of str
        Its command line.
    log : Path, optional
        The ``log.csv`` that it writes.
    inherited : sequence of int, optional
        File descriptors that it keeps open (see :class:`napari_wsss.project.run_lock.RunLock`).

    Yields
    ------
    Seen

    Raises
    ------
    TrainingError
        When the program fails: with its own last words.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        pass_fds=tuple(inherited),
    )
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    listener = threading.Thread(target=_listen, args=(process, lines), daemon=True, name="wsss-train")
    listener.start()
    try:
        while process.poll() is None:
            yield Seen(read_log(log), lines[-1] if lines else "")
            time.sleep(POLL_SECONDS)
        listener.join(_PATIENCE)
    finally:
        _end(process)
    if process.returncode:
        raise TrainingError(f"{module} failed: {_last_words(lines, process.returncode)}")
    yield Seen(read_log(log), lines[-1] if lines else "")


def read_log(path: Path | None) -> tuple[EpochRow, ...]:
    """Return the finished epochs of a run; none while there is no log."""
    try:
        with (path or Path()).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return ()
    return tuple(EpochRow(int(r["epoch"]), _number(r.get("loss")), _number(r.get("score"))) for r in rows)


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _listen(process: subprocess.Popen[str], lines: deque[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip():
            lines.append(line.strip())


def _end(process: subprocess.Popen[str]) -> None:
    """Stop the program if it still runs: what it has finished stays and is gone on with."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _last_words(lines: deque[str], code: int) -> str:
    for line in reversed(lines):
        if line.startswith("Error: "):
            return line.removeprefix("Error: ")
    return lines[-1] if lines else f"exit code {code}"
