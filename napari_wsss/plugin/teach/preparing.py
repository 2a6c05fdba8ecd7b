"""Prepare: features of a slide, in another thread, while labels are given."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_wsss.plugin.common import Job, Starter, limit_compute_threads

if TYPE_CHECKING:
    from napari_wsss.plugin.teach.sketching import Sketching
    from napari_wsss.plugin.teach.workspace import Workspace
    from napari_wsss.project import Project

__all__ = ["Preparing"]


class Preparing:
    """Prepares slides, one after the other.

    Parameters
    ----------
    work : Workspace
    sketching : Sketching
        Draws the map when a slide is ready.
    start : callable
        Starts a job in another thread.

    Attributes
    ----------
    done, total : int
        Tiles of the slide in work.
    slide_id : str
        The slide in work.
    seconds_left : float or None
    """

    def __init__(self, work: Workspace, sketching: Sketching, start: Starter) -> None:
        self.work = work
        self.sketching = sketching
        self.done, self.total = 0, 0
        self.slide_id = ""
        self.seconds_left: float | None = None
        self._start = start
        self._job: Job[Any] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a slide is being prepared."""
        return self._job is not None

    def reset(self) -> None:
        """Stop (another project)."""
        if self._job is not None:
            self._job.cancel()
            self._job.wait(10)
        self._job = None

    def begin(self) -> bool:
        """Prepare what is not prepared yet, the slide that is shown first; tell whether that was started."""
        project = self.work.project
        if project is None or self._job is not None:
            return False
        ids = sorted(self.work.slide_ids, key=self._is_other)
        wanted = [slide_id for slide_id in ids if self.work.prepared_share(slide_id) < 1]
        if not wanted:
            self.work.say("All slides are prepared." if ids else "Add a slide first.")
            return False
        self.work.say()
        self.done, self.total, self.seconds_left = 0, 0, None
        self._job = Job(partial(_prepared, project, wanted))
        self._start(self._job)
        return True

    def cancel(self) -> None:
        """Stop after the batch in work; what is done is kept."""
        if self._job is not None:
            self._job.cancel()
            self.work.changed()

    def poll(self) -> bool:
        """Take what the job has done; tell whether there was something."""
        job = self._job
        if job is None:
            return False
        ended = job.has_ended
        events = job.poll()
        for event in events:
            self.slide_id, self.total = event.slide_id, event.tiles
            self.done = getattr(event, "done", event.tiles)
            self.seconds_left = getattr(event, "seconds_left", None)
            if event.slide_id == self.work.slide_id and self.done == self.total:
                self.sketching.wish(at_once=True)
        if ended:
            self._job = None
            if job.error is not None:
                self.work.report(job.error)
            elif job.outcome == "cancelled":
                self.work.say("Stopped; Prepare goes on from here.")
            else:
                self.work.say()  # the list shows it, and what to do next is said
            self.sketching.wish(at_once=True)
        if events or ended:
            self.work.changed()
        return bool(events) or ended

    def _is_other(self, slide_id: str) -> bool:
        return slide_id != self.work.slide_id


def _prepared(project: Project, slide_ids: list[str]) -> Generator[Any]:
    limit_compute_threads()
    yield from project.prepare(*slide_ids)
