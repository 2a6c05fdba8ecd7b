"""One run that was asked for: its request, the slide it is about, the job that does it, and where it stands."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from napari_wsss.plugin.common import Job, explain
from napari_wsss.plugin.results import Result, RunState, read_result
from napari_wsss.plugin.segment.live import OpenedStore
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.view import SlideKey
from tiling.engine import Event, Planned
from tiling.errors import StoreError, StoreMismatchError
from tiling.folders import is_store

__all__ = ["Attempt", "EventSource", "Question", "Step"]

EventSource = Callable[[RunRequest], Generator[Event]]


@dataclass(frozen=True)
class Question:
    """A run that would take the place of another result.

    Attributes
    ----------
    request : RunRequest
        Its ``out`` is the store that is there.
    existing : str
        What the result that is there is called.
    differs : str
        In what the two differ, in words.
    """

    request: RunRequest
    existing: str
    differs: str

    @property
    def text(self) -> str:
        """The question for people."""
        differs = f" It differs in {self.differs}." if self.differs else ""
        return f"There is a result already: {self.existing}.{differs} Keep both, or replace it?"


@dataclass
class StoreOfRun:
    """The store of a run, read in the run's own thread: the window would stand still.

    The levels of a new store are opened one by one, those of one that is resumed are read in part; the journal of a
    wide slide has hundreds of megabytes.

    Attributes
    ----------
    out : Path
        The store.
    began : (Result, OpenedStore) or None
        When the run had planned its work; None before, and once it is taken.
    left : Result or None
        As the store has it after the run; None where there is none, and before the end.
    problem : str
        Why it could not be read.
    """

    out: Path
    began: tuple[Result, OpenedStore] | None = None
    left: Result | None = None
    problem: str = ""

    def read_with(self, events: EventSource, request: RunRequest) -> Generator[Event]:
        """Pass the events of a run on; the store is read before its plan is told."""
        with closing(events(request)) as told:
            for event in told:
                if isinstance(event, Planned):
                    try:
                        self.began = read_result(event.store), OpenedStore.read(event.store, event.rows_done)
                    except StoreError as error:
                        self.problem = explain(error)
                yield event

    def take(self) -> tuple[Result, OpenedStore] | None:
        """Take what was read at the beginning: it is held by what shows it alone."""
        began, self.began = self.began, None
        return began

    def read(self) -> None:
        """Read what the run has left."""
        if is_store(self.out):
            try:
                self.left = read_result(self.out)
            except StoreError as error:
                self.problem = explain(error)


@dataclass(frozen=True)
class Step:
    """Something to be done in the viewer.

    Attributes
    ----------
    do : callable
    is_long : bool
        Whether it takes so long that nothing else is done in the same turn of the window.
    """

    do: Callable[[], object]
    is_long: bool = False


@dataclass
class Attempt:
    """One run, from the press of the button to its end.

    Attributes
    ----------
    request : RunRequest
    slide : SlideKey
    slide_name : str
    job : Job
    store : StoreOfRun
        What its thread reads of the store.
    steps : deque of Step
        What is still to be done in the viewer after what the run has told.
    told : RunState
        What the run has told so far.
    refused : bool
        Whether the store there turned out to be made differently.
    concluded : bool
        Whether its thread has ended and what it left was read.
    """

    request: RunRequest
    slide: SlideKey
    slide_name: str
    job: Job[Event]
    store: StoreOfRun
    steps: deque[Step] = field(default_factory=deque)
    told: RunState = field(default_factory=partial(RunState, "starting"))
    refused: bool = False
    concluded: bool = False

    @classmethod
    def begin(cls, request: RunRequest, slide: SlideKey, slide_name: str, events: EventSource) -> Attempt:
        """Return a run whose job waits to be started."""
        store = StoreOfRun(request.out)
        job = Job(partial(store.read_with, events, request), store.read)
        return cls(request, slide, slide_name, job, store)

    @property
    def state(self) -> RunState:
        """Where it stands: having told of its end it still runs until its thread has ended, when another may begin."""
        if self.concluded or self.told.is_active:
            return self.told
        return replace(self.told, phase="running")

    @property
    def is_active(self) -> bool:
        """Whether it goes on."""
        return self.state.is_active

    @property
    def store_was_deleted(self) -> bool:
        """Whether somebody took the store away while it is written."""
        store = self.told.store
        return self.told.phase == "running" and store is not None and not is_store(store)

    def cancel(self, message: str = "") -> None:
        """Stop after the batch in work; a message makes it a failure."""
        self.job.cancel()
        if self.told.is_active:
            self.told = replace(self.told, phase="cancelling", message=message or self.told.message)

    def conclude(self) -> Result | None:
        """Take the end of the job into the state; return the result as its store has it, or None without one."""
        job, told = self.job, self.told
        self.concluded = True
        message = told.message
        if job.outcome == "failed":
            assert job.error is not None
            self.refused = isinstance(job.error, StoreMismatchError)
            message = explain(job.error)
        message = message or self.store.problem
        failed = job.outcome == "failed" or bool(message)
        # Somebody may have taken the store away since it was read.
        result = None if self.refused or not is_store(self.request.out) else self.store.left
        if result is None:
            self.told = replace(told, phase="failed" if failed else "cancelled", message=message, store=None)
            return None
        phase = result.state.phase
        if phase == "cancelled" and failed:
            phase = "failed"
        elif phase == "done" and told.phase == "cached":
            phase = "cached"
        # How many tiles there are in all is known to the run alone while there is no receipt.
        tiles = result.state.tiles or told.tiles
        self.told = replace(result.state, phase=phase, tiles=tiles, message=message)
        return result.with_state(self.told)
