"""Exports, one after another in another thread: none that was asked for is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from napari_wsss.plugin.common import Job, Starter, explain

__all__ = ["ExportQueue"]


@dataclass(frozen=True)
class _Wanted:
    path: Path
    write: Callable[[], object]
    done: str

    def events(self) -> Generator[str]:
        said = self.write()
        yield said if isinstance(said, str) else ""


class ExportQueue:
    """Writes files in the order in which they were asked for.

    Parameters
    ----------
    start : callable
        Starts a job in another thread.

    Attributes
    ----------
    notice : str
        What is written, or what was.
    problem : str
        Why the last export failed, in full.
    """

    def __init__(self, start: Starter) -> None:
        self.notice = self.problem = ""
        self._start = start
        self._waiting: deque[_Wanted] = deque()
        self._job: Job[str] | None = None
        self._now = _Wanted(Path(), lambda: None, "")

    @property
    def is_busy(self) -> bool:
        """Whether something is being written or waits."""
        return self._job is not None

    def add(self, path: Path, write: Callable[[], object], done: str = "") -> None:
        """Write a file when those before it are written.

        Parameters
        ----------
        path : Path
            For messages.
        write : callable
            Called in another thread; text that it returns is told when it is done.
        done : str
            What to say afterwards; by default that the file is written.
        """
        self._waiting.append(_Wanted(path, write, done or f"{path} is written."))
        if self._job is None:
            self.problem = ""
            self._next()
        else:
            self._tell()

    def poll(self) -> bool:
        """Take the end of an export and begin the next; tell whether there is news."""
        job = self._job
        if job is None or not job.has_ended:
            return False
        self._job = None
        if job.error is not None:
            self.notice, self.problem = "", explain(job.error)
        else:
            self.notice = " ".join([self._now.done, *job.poll()]).strip()
        if self._waiting:
            self._next()
        return True

    def wait(self, timeout: float) -> None:
        """Wait for the export that is being written."""
        if self._job is not None:
            self._job.wait(timeout)

    def _next(self) -> None:
        self._now = self._waiting.popleft()
        self._job = Job(self._now.events)
        self._tell()
        self._start(self._job)

    def _tell(self) -> None:
        more = f" ({len(self._waiting)} more to come)" if self._waiting else ""
        self.notice = f"Writing {self._now.path} …{more}"
