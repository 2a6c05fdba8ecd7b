"""The map that follows the labels: fitted in another thread, drawn when it is done, dropped when it is stale."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_wsss.plugin.common import Job, Starter, limit_compute_threads
from napari_wsss.plugin.teach.debounce import Debouncer
from napari_wsss.plugin.teach.history import Point, grown, read_history, write_history
from napari_wsss.plugin.teach.tissue import TissueBook, at_places
from tiling.errors import FewLabelsError, ProjectError

if TYPE_CHECKING:
    from napari_wsss.plugin.teach.canvas import Canvas
    from napari_wsss.plugin.teach.workspace import Workspace
    from napari_wsss.project import Head, Project, Score, SlideMap, Tile

__all__ = ["Sketching", "tile_answer"]

QUIET_SECONDS = 0.12
AT_MOST_SECONDS = 0.8


Answers = dict["Tile", tuple[str, ...]]
"""What the head says that tiles hold."""

HELD_SHARE = 0.15
"""A class that the head sees in this share of a tile's places is said to be in it."""


@dataclass(frozen=True)
class Drawn:
    """A fitted head, and its map of one slide (None: that slide has no features yet)."""

    head: Head
    slide_id: str | None
    map: SlideMap | None


@dataclass(frozen=True)
class Tested:
    """The score on the tiles that are set aside."""

    score: Score


class Sketching:
    """Keeps head, map and score up to date with the labels.

    Parameters
    ----------
    work : Workspace
    canvas : Canvas
    start : callable
        Starts a job in another thread.
    clock : callable
        Seconds.

    Attributes
    ----------
    head : Head or None
        The newest head.
    score : Score or None
        What it is worth, of the newest head that was scored.
    test_score : Score or None
        The same on tiles that are set aside, where some have labels.
    history : list of (labels, score, low, high)
        How the score grew with the labels, in this session and in earlier ones.
    answers : dict of Tile to tuple of str
        What the head says that the tiles of the strip hold.
    seconds : float
        From the decision to the map, the last time.
    """

    def __init__(
        self, work: Workspace, canvas: Canvas, start: Starter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.work = work
        self.canvas = canvas
        self.head: Head | None = None
        self.score: Score | None = None
        self.test_score: Score | None = None
        self.answers: Answers = {}
        self.history: list[Point] = []
        self.seconds = 0.0
        self.asked: tuple[Tile, ...] = ()
        self._start = start
        self._clock = clock
        self._debouncer = Debouncer(QUIET_SECONDS, AT_MOST_SECONDS, clock)
        self._job: Job[Drawn | Answers | Score | Tested] | None = None
        self._wished = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether a newer map is to come."""
        return self._job is not None or self._debouncer.is_stale

    @property
    def note(self) -> str:
        """What a person should know of the labels, first things first: contradictions, labels that do not count yet."""
        return "" if self.head is None or not self.head.notes else self.head.notes[0]

    def reset(self) -> None:
        """Forget everything (another project)."""
        if self._job is not None:
            self._job.cancel()
        self._job = self.head = self.score = self.test_score = None
        self.answers, self.asked, self.history = {}, (), []
        self._debouncer.forget()
        self.canvas.hide_map()

    def look_up(self) -> None:
        """Show the curve of earlier sessions."""
        if self.work.project is not None:
            self.history = read_history(self.work.project.folder)

    def wish(self, *, at_once: bool = False) -> None:
        """Ask for a new map: labels have changed, or another slide is shown."""
        self._wished = self._clock()
        self._debouncer.wish(at_once=at_once)

    def poll(self) -> bool:
        """Take what has come and begin what is due; tell whether something is new."""
        news = self._take()
        project, slide_id = self.work.project, self.work.slide_id
        if project is not None and self._debouncer.take():
            if not self.work.labels():  # the last one was taken back
                self.head, self.score, self.answers = None, None, {}
                self.canvas.hide_map()
                news = True
            assert self.work.book is not None
            self._job = Job(partial(_drawn, project, self.work.book, slide_id, self.asked))
            self._start(self._job)
        return news

    def _take(self) -> bool:
        job = self._job
        if job is None:
            return False
        ended = job.has_ended  # asked first: events that come after it are taken in this call
        events = job.poll()
        for event in events:
            self._show(event)
        if ended:
            self._job = None
            self._debouncer.done()
            if isinstance(job.error, FewLabelsError):
                self.canvas.hide_map()
                self.work.say("Kept. The map follows when a labelled tile is prepared.")
                self.work.say_what_is_outdated()
            elif job.error is not None:
                self.work.report(job.error)
        elif self._debouncer.is_stale and self.head is not None:
            job.cancel()  # the map is drawn; the score of an old head is not worth the wait
        if events:
            self.work.changed()
        return bool(events) or ended

    def _show(self, event: Drawn | Answers | Score | Tested) -> None:
        project = self.work.project
        if project is None:
            return
        if isinstance(event, dict):
            self.answers = event
        elif isinstance(event, Tested):
            self.test_score = event.score
        elif not isinstance(event, Drawn):
            self.score = event
            before, self.history = self.history, grown(self.history, event)
            if self.history != before and self.work.can_write:
                try:
                    write_history(project.folder, self.history)
                except ProjectError as error:
                    self.work.report(error)
        else:
            self.head = event.head
            if event.map is not None and event.slide_id == self.work.slide_id:
                where = event.map.where
                self.canvas.show_map(event.map.labels, (where.x, where.y), where.step, project.schema)
                self.seconds = self._clock() - self._wished


def _drawn(project: Project, book: TissueBook, slide_id: str | None, asked: Sequence[Tile]) -> Generator[Any]:
    """Fit the head, draw the map, answer the strip, then score: what is looked at first comes first."""
    limit_compute_threads()
    if slide_id is not None:
        book.look_up(slide_id)
    if not project.labels():
        return
    head = project.fit()
    maps: dict[str, SlideMap] = {}
    if slide_id is not None and project.prepared(slide_id)[0]:
        maps[slide_id] = _map_on_tissue(project, book, head, slide_id)
    yield Drawn(head, slide_id, maps.get(slide_id or ""))
    answers: Answers = {}
    for tile in asked:
        if tile.slide_id not in maps:
            maps[tile.slide_id] = _map_on_tissue(project, book, head, tile.slide_id)
        answers[tile] = tile_answer(maps[tile.slide_id], tile, head.names)
    yield answers
    yield head.score
    if head.tested.labels:
        yield Tested(head.test_score)


def _map_on_tissue(project: Project, book: TissueBook, head: Head, slide_id: str) -> SlideMap:
    """Return the head's map of a slide without the glass in its tiles."""
    found = head.map(slide_id)
    grid = project.grid(slide_id)
    tissue = at_places(book.look_up(slide_id).mask, grid, found.labels.shape[0] // grid.rows)
    return found._replace(labels=np.where(tissue, found.labels, np.uint8(0)))


def tile_answer(whole: SlideMap, tile: Tile, names: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that fill at least :data:`HELD_SHARE` of a tile's places, by the map of its slide."""
    side = round(tile.side / whole.where.step)
    top, left = tile.row * side, tile.column * side
    places = whole.labels[top : top + side, left : left + side]
    counts = np.bincount(places[places > 0].ravel(), minlength=len(names) + 1)[1:]
    total = counts.sum()
    return tuple(
        name for name, count in zip(names, counts, strict=True) if total and count >= HELD_SHARE * total
    )
