"""The presenter of the Queue dock: slides wait, run one after another, and say how they ended. No Qt.

A slide that fails does not stop the others, and what was stopped goes on at the next run: the batch code is that of the
command line, with its ``summary.csv`` and logs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from napari_wsss.models import Bundle
from napari_wsss.pipeline import Settings, segment_events
from napari_wsss.plugin.common import (
    Job,
    Starter,
    borrow_networks,
    explain,
    in_plain_words,
    limit_compute_threads,
    start_in_thread,
)
from napari_wsss.plugin.segment import SegmentSession, settings_of
from tiling.batch import SlideJob, SlideOutcome, Status, find_jobs, run_batch
from tiling.engine import Event, Finished, Planned, TilesDone
from tiling.errors import BundleError, JobError, WsssError
from tiling.files import expanded
from tiling.slides import open_slide
from tiling.store import open_store

__all__ = ["QueueRow", "SlideQueue"]

Segment = Callable[[SlideJob, Path], Generator[Event]]
"""Makes the store of one slide, as events."""

WORDS = {
    "waiting": "waits",
    "running": "runs",
    "stopped": "stopped; goes on at the next run",
    Status.DONE.value: "done",
    Status.CACHED.value: "done before",
    Status.EMPTY.value: "no tissue",
    Status.FAILED.value: "failed",
}


@dataclass(frozen=True)
class QueueRow:
    """One slide in the queue.

    Attributes
    ----------
    job : SlideJob
    status : str
        ``waiting``, ``running``, ``stopped``, or how it ended: ``done``, ``cached``, ``empty``, ``failed``.
    done, tiles : int
        Tiles predicted and in all.
    error : str
        Why it failed.
    """

    job: SlideJob
    status: str = "waiting"
    done: int = 0
    tiles: int = 0
    error: str = ""

    @property
    def text(self) -> str:
        """The state in words."""
        if self.status == "running" and self.tiles:
            return f"{self.done:,} / {self.tiles:,} tiles"
        return f"{WORDS[self.status]}: {self.error}" if self.error else WORDS[self.status]


class _Stopped(KeyboardInterrupt):
    """Ends the whole batch and not this slide alone, as Ctrl+C does on the command line."""


class SlideQueue:
    """Slides that are run in the background with the model and options of the Segment dock.

    Parameters
    ----------
    session : SegmentSession
        Whose model and options are taken when *Run* is pressed, and in whose viewer slides are looked at.
    segment : callable, optional
        Makes the events of one slide; the real pipeline by default.
    start : callable, optional
        Starts a job in another thread.

    Attributes
    ----------
    rows : list of QueueRow
    scale : float or None
        µm per pixel of slides whose files say none.
    problem : str
        Why the last command did nothing.
    revision : int
        Grows with every change.
    """

    def __init__(
        self, session: SegmentSession, *, segment: Segment | None = None, start: Starter = start_in_thread
    ) -> None:
        self.session = session
        self.rows: list[QueueRow] = []
        self.scale: float | None = None
        self.problem = ""
        self.revision = 0
        self._segment = segment
        self._start = start
        self._job: Job[SlideOutcome] | None = None
        self._stop = threading.Event()
        self._now: tuple[str, int, int] | None = None  # slide, tiles done, tiles; written by the job's thread

    @property
    def is_running(self) -> bool:
        """Whether slides are being run."""
        return self._job is not None

    def add(self, paths: Sequence[str | Path]) -> None:
        """Let slides, or all slides of folders, wait; those that wait already stay once."""
        if self.is_running:
            return
        try:
            jobs = find_jobs([*(row.job.path for row in self.rows), *paths])
        except WsssError as error:
            self._say(explain(error))
            return
        known = {row.job.path: row for row in self.rows}
        self.rows = [known.get(job.path, QueueRow(job)) for job in jobs]
        self._say("")

    def clear(self) -> None:
        """Forget all slides; results stay."""
        if not self.is_running:
            self.rows = []
            self._say("")

    def run(self) -> bool:
        """Run what waits, was stopped or failed; tell whether that was started."""
        if self.is_running:
            return False
        self.rows = [
            row if row.status in ("done", "cached", "empty") else QueueRow(row.job) for row in self.rows
        ]
        jobs = [row.job for row in self.rows if row.status == "waiting"]
        try:
            segment = self._segment or self._pipeline()
            if not jobs:
                raise JobError("Nothing waits; add slides or a folder.")
            folder = self.folder
        except WsssError as error:
            self._say(explain(error))
            return False
        self._stop.clear()
        self._now = None
        self._job = Job(partial(self._events, jobs, segment, self.scale, folder))
        self._start(self._job)
        self._say("")
        return True

    @property
    def folder(self) -> Path:
        """Where results go: the folder chosen under Options, else one beside the first slide."""
        chosen = self.session.preferences.folder
        if chosen:
            return expanded(chosen, JobError, "The folder for results").absolute()
        return self.rows[0].job.path.parent / "wsss-results"

    def stop(self) -> None:
        """Stop after the batch in work; what is done is kept."""
        self._stop.set()

    def poll(self) -> bool:
        """Take news of the job; tell whether there were some."""
        job, now = self._job, self._now
        if job is None:
            return False
        ended = job.has_ended
        before = self.rows
        for outcome in job.poll():
            self._put(
                outcome.slide_id,
                status=outcome.status.value,
                error=in_plain_words(outcome.error),
                done=outcome.tiles,
            )
        if now is not None:
            self._put(now[0], only=("waiting", "running"), status="running", done=now[1], tiles=now[2])
        if ended:
            self._job = None
            self.rows = [
                replace(row, status="stopped") if row.status == "running" else row for row in self.rows
            ]
            if job.error is not None and not isinstance(job.error, _Stopped):
                self.problem = explain(job.error)
        if ended or before != self.rows:
            self.revision += 1
            return True
        return False

    def wait(self, timeout: float = 3600.0) -> None:
        """Wait for the end (for scripts)."""
        if self._job is not None:
            self._job.wait(timeout)
            self.poll()

    def close(self, _sender: object = None) -> None:
        """End: the window goes away."""
        self.stop()
        if self._job is not None:
            self._job.wait(10.0)

    def look_at(self, index: int) -> None:
        """Open a slide of the queue, with its result as far as it is, while others run."""
        if 0 <= index < len(self.rows):
            job = self.rows[index].job
            try:
                self.session.open_slide(job.path)
            except WsssError as error:
                self._say(explain(error))
                return
            if job.mpp is not None:
                self.session.set_mpp(job.mpp)
            elif self.session.slide_mpp is None:
                self.session.set_mpp(self.scale)

    def summary(self) -> str:
        """Return how many slides ended how."""
        if not self.rows:
            return "No slides yet."
        ended = sum(row.status in ("done", "cached", "empty") for row in self.rows)
        failed = sum(row.status == "failed" for row in self.rows)
        return f"{ended} of {len(self.rows)} slides done" + (f", {failed} failed" if failed else "")

    def _put(self, slide_id: str, only: Sequence[str] = (), **values: Any) -> None:
        self.rows = [
            replace(row, **values)
            if row.job.slide_id == slide_id and (not only or row.status in only)
            else row
            for row in self.rows
        ]

    def _say(self, text: str) -> None:
        self.problem = text
        self.revision += 1

    def _pipeline(self) -> Segment:
        bundle, options = self.session.bundle, self.session.preferences
        if bundle is None:
            raise BundleError(self.session.bundle_problem or "No model is chosen.")
        return partial(_segment, bundle, settings_of(options))

    def _events(
        self, jobs: Sequence[SlideJob], segment: Segment, scale: float | None, out: Path
    ) -> Generator[SlideOutcome]:
        limit_compute_threads()
        yield from run_batch(jobs, partial(self._one, segment, scale, out), out)

    def _one(self, segment: Segment, scale: float | None, out: Path, job: SlideJob) -> SlideOutcome:
        store_path, tiles = out / f"{job.slide_id}.zarr", 0
        self._now = (job.slide_id, 0, 0)
        job = replace(job, mpp=scale if _lacks_scale(job) else job.mpp)
        finished: Finished | None = None
        with closing(segment(job, store_path)) as events:
            for event in events:
                if isinstance(event, Planned):
                    tiles = event.tiles
                elif isinstance(event, TilesDone):
                    self._now = (job.slide_id, event.done, tiles)
                elif isinstance(event, Finished):
                    finished = event
                if self._stop.is_set() and finished is None:
                    raise _Stopped
        assert finished is not None, "a run that raises nothing ends with Finished"
        store = open_store(store_path)
        areas = {c.abbreviation: finished.areas[c.name] for c in store.schema.classes}
        return SlideOutcome(
            job.slide_id, job.path, Status(finished.status), finished.tiles, finished.seconds, areas
        )


def _lacks_scale(job: SlideJob) -> bool:
    """Whether neither the manifest nor the file says how large a pixel is."""
    if job.mpp is not None:
        return False
    with open_slide(job.path) as slide:
        return slide.mpp is None


def _segment(bundle: Bundle, settings: Settings, job: SlideJob, out: Path) -> Generator[Event]:
    """Run a slide; the networks stay loaded for the next one."""
    with borrow_networks(bundle, settings) as networks, open_slide(job.path, mpp=job.mpp) as slide:
        yield from segment_events(slide, networks, out, settings=settings, name=job.slide_id)
