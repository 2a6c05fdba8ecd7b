"""The presenter of the Segment dock: the results of the chosen slide, and the run that goes on. No Qt, no drawing.

Everything that the dock does is a call on :class:`SegmentSession`, so a script or napari's console can do it too::

    session = session_for(viewer)
    session.open_slide("a.svs")
    session.choose_region("view")
    session.run()
    session.wait()
    session.legend()

How another dock binds to the chosen slide says :class:`~napari_wsss.plugin.segment.slide_results.SlideResults`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from napari_wsss.plugin.common import Starter, explain, start_in_thread
from napari_wsss.plugin.results import (
    Result,
    RunState,
    advance,
    difference_text,
    read_result,
)
from napari_wsss.plugin.segment.attempt import Attempt, EventSource, Question, Step
from napari_wsss.plugin.segment.live import LiveResult
from napari_wsss.plugin.segment.request import RunRequest, free_path
from napari_wsss.plugin.segment.resuming import request_to_resume
from napari_wsss.plugin.segment.slide_results import SlideResults
from napari_wsss.plugin.view import SlideKey, keep_outlines_visible, show_only
from tiling.engine import BlockWritten, Event, Finished, Planned
from tiling.errors import StoreError, WsssError
from tiling.folders import is_store

__all__ = ["SegmentSession", "session_for"]

REFRESH_SECONDS = 0.5
"""Shortest time between two redraws of the growing layer."""


class SegmentSession(SlideResults):
    """Choices, the results of each slide, one run at a time.

    All methods belong to the thread of the viewer; only jobs work elsewhere.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    events : callable, optional
        Makes the events of a run; the real pipeline by default.
    start : callable, optional
        Starts a job in another thread.

    Attributes
    ----------
    question : Question or None
        What the user must decide before a run can begin.
    """

    def __init__(
        self, viewer: Any, *, events: EventSource = RunRequest.events, start: Starter = start_in_thread
    ) -> None:
        super().__init__(viewer, start)
        self.question: Question | None = None
        self._events = events
        self._start = start
        self._attempts: dict[SlideKey, Attempt] = {}  # the last one of each slide
        self._active: Attempt | None = None
        self._refreshed = 0.0

    @property
    def writing(self) -> Path | None:
        """The store that is being written, which comes and goes as its run wants."""
        return None if self._active is None else self._active.request.out.absolute()

    def choose_slide(self, layer: Any | None) -> None:
        """Choose a slide; a question that was about another one is dropped."""
        if layer != self.slide:
            self.question = None
        super().choose_slide(layer)

    def choose_result(self, store: Path) -> None:
        """Look at another result of the chosen slide."""
        super().choose_result(store)
        key = self.slide_key
        if key is not None and (attempt := self._attempts.get(key)) is not None and not attempt.is_active:
            del self._attempts[key]  # its message was about the run, not about this result

    # --- the run ---------------------------------------------------------------------------------------------

    @property
    def active(self) -> Attempt | None:
        """The run that goes on, on whatever slide; None when there is none."""
        return self._active

    @property
    def state(self) -> RunState:
        """Where the run of the chosen slide stands: the last one asked for, else that of its result."""
        key = self.slide_key
        attempt = self._attempts.get(key) if key is not None else None
        if attempt is not None:
            return attempt.state
        return RunState() if self.result is None else self.result.state

    def request_or_none(self) -> RunRequest | None:
        """Return the run that the choices amount to, or None while there is none or another one goes on."""
        if self._active is not None:
            return None
        try:
            return self.request()
        except WsssError:
            return None

    def why_not(self) -> str:
        """Return why Run cannot be pressed, in one sentence; empty when it can."""
        if self._active is not None:
            other = self._active.slide != self.slide_key
            return f"{self._active.slide_name} is being segmented; wait, or cancel it." if other else ""
        return super().why_not()

    def run(self, *, restart: bool = False) -> bool:
        """Start the run that the choices amount to, or go on with it; tell whether it was started.

        When a result that was made differently is in the way, nothing starts: see ``question``.

        Parameters
        ----------
        restart : bool
            Replace what is there.
        """
        if self._active is not None:
            return False
        try:
            request = self.request(restart=restart)
        except WsssError as error:
            self.report(error)
            return False
        placed = request if restart else self._place(request)
        return placed is not None and self._begin(placed)

    def keep_both(self) -> bool:
        """Answer the question: the run writes beside the result that is there."""
        question, self.question = self.question, None
        if question is None:
            return False
        return self._begin(replace(question.request, out=free_path(question.request.out), resume=True))

    def replace_result(self) -> bool:
        """Answer the question: the result that is there is deleted for the new one."""
        question, self.question = self.question, None
        return question is not None and self._begin(replace(question.request, resume=False))

    def leave_it(self) -> None:
        """Answer the question: nothing happens."""
        self.question = None
        self._changed()

    def resume(self) -> bool:
        """Go on with the unfinished result that the panel speaks of, as it was begun."""
        key, result = self.slide_key, self.result
        if self._active is not None or key is None:
            return False
        attempt = self._attempts.get(key)
        if attempt is not None and attempt.state.can_resume:
            return self._begin(replace(attempt.request, resume=True))
        if result is None or self.slide is None:
            return False
        try:
            return self._begin(request_to_resume(self, result))
        except WsssError as error:
            self.report(error)
            return False

    def _place(self, request: RunRequest) -> RunRequest | None:
        """Decide where a run writes: into the result that it would make again, a free place, or it asks."""
        asked = request.description(self.slide_mpp)
        for result in self.results():
            if not difference_text(result.run, asked) and is_store(result.store):
                return replace(request, out=result.store)
        if not request.out.exists():
            return request
        if not is_store(request.out):
            return replace(request, out=free_path(request.out))
        self._ask(request, asked)
        return None

    def _ask(self, request: RunRequest, asked: dict[str, Any]) -> None:
        try:
            there = self.book.get(request.out) or read_result(request.out)
        except StoreError as error:
            self.report(error)
            return
        if there.slide == self.slide_key:
            name, differs = self.book.name(there), difference_text(there.run, asked)
        else:
            name, differs = f"{there.title} of {there.slide.name or 'another slide'}", "the slide"
        self.question = Question(request, name, differs)
        self._changed()

    def _begin(self, request: RunRequest) -> bool:
        key = self.slide_key
        assert key is not None
        assert self.slide is not None
        if not request.resume:
            self._drop(request.out)
        self.question, self.problem = None, ""
        self._active = self._attempts[key] = Attempt.begin(request, key, self.slide.name, self._events)
        self._start(self._active.job)
        self._changed()
        return True

    def cancel(self) -> None:
        """Stop the run that goes on after the batch in work; what is committed is kept."""
        if self._active is not None:
            self._active.cancel()
            self._changed()

    def poll(self) -> bool:
        """Take what the jobs have told since the last call; tell whether there was something.

        Called by a timer. Redraws the growing result at most twice a second.
        """
        keep_outlines_visible(self.viewer)
        news = self.exports.poll()
        news |= self.tissue.poll()
        news |= self._look_at_disk()
        attempt = self._active
        if attempt is not None:
            news |= self._poll(attempt)
        if news:
            self._changed()
        return news

    def _poll(self, attempt: Attempt) -> bool:
        ended = attempt.job.has_ended  # asked first: events that come after it are taken in this call
        events = attempt.job.poll()
        for event in events:
            attempt.told = advance(attempt.told, event)
            attempt.steps.extend(self._steps_of(attempt, event))
        news = ended or bool(events or attempt.steps)
        self._do_a_step(attempt)
        ended = ended and not attempt.steps
        if not ended and attempt.store_was_deleted:
            attempt.cancel(f"{attempt.state.store} was deleted while it was being written.")
        if ended:
            self._active = None
            self._conclude(attempt)
        elif news and attempt.state.store is not None and (known := self.book.get(attempt.state.store)):
            self.book.put(known.with_state(attempt.state))
        self._refresh(attempt, always=ended)
        return news

    def _steps_of(self, attempt: Attempt, event: Event) -> list[Step]:
        """Return what is to be done in the viewer after an event."""
        match event:
            case Planned() if (began := attempt.store.take()) is not None:
                result, opened = began[0].with_state(attempt.state), began[1]
                self.book.put(result)
                self.book.choose(result.store)
                # napari takes long to make its first label layer, and long again to draw it.
                return [
                    Step(partial(self._shown.open, result, opened, visible=False), is_long=True),
                    Step(partial(self._show_beginning, result), is_long=True),
                ]
            case BlockWritten():
                return [Step(partial(self._add, attempt, event))]
            case Finished():
                return [Step(partial(self._finish, attempt), is_long=True)]
        return []

    def _do_a_step(self, attempt: Attempt) -> None:
        """Do what is to be done in the viewer, up to something that takes long: that has a turn of its own."""
        long = False
        while attempt.steps and not long:
            step = attempt.steps.popleft()
            long = step.is_long
            try:
                step.do()
            except StoreError as error:
                attempt.told = replace(attempt.told, message=explain(error))

    def _add(self, attempt: Attempt, block: BlockWritten) -> None:
        if (live := self._live_of(attempt)) is not None:
            live.add(block)

    def _finish(self, attempt: Attempt) -> None:
        if (live := self._live_of(attempt)) is not None:
            live.finish()

    def _show_beginning(self, result: Result) -> None:
        self._shown.choose(result)
        if self.slide_key is not None:
            show_only(self.viewer, self.slide_key)

    def _live_of(self, attempt: Attempt) -> LiveResult | None:
        return None if attempt.state.store is None else self._shown.get(attempt.state.store.absolute())

    def _conclude(self, attempt: Attempt) -> None:
        result = attempt.conclude()
        if result is not None:
            if known := self.book.get(result.store):  # classes may have been renamed since it was read
                result = replace(result, schema=known.schema)
            self.book.put(result)
            self.book.choose(result.store)
            live = self._shown.get(result.store)
            if live is None or (result.state.phase == "cached" and live.shown_layer is None):
                self._shown.open(result)
                self._shown.choose(result)
        elif attempt.refused:
            self._ask(attempt.request, attempt.request.description(self.slide_mpp))
            if self.question is not None:
                del self._attempts[attempt.slide]
        elif not is_store(attempt.request.out):
            self._drop(attempt.request.out)

    def _refresh(self, attempt: Attempt, *, always: bool) -> None:
        now = time.monotonic()
        live = self._live_of(attempt)
        if live is not None and (always or now - self._refreshed >= REFRESH_SECONDS):
            live.refresh()
            self._refreshed = now

    def wait(self, timeout: float = 3600.0) -> RunState:
        """Poll until the run and the exports have ended (for scripts); return how the last run ended."""
        deadline = time.monotonic() + timeout
        attempt = self._active
        while (self._active or self.exports.is_busy) and time.monotonic() < deadline:
            if self._active is not None:
                self._active.job.wait(0.05)
            else:
                self.exports.wait(0.05)
            self.poll()
        return self.state if attempt is None else attempt.state

    def close(self, _sender: object = None, *, timeout: float = 10.0) -> None:
        """Cancel a run and wait for it: the viewer goes away (also a slot for Qt's ``destroyed``)."""
        if self._active is not None:
            self._active.job.cancel()
            self._active.job.wait(timeout)
            self._active = None
        for key in [key for key, session in _SESSIONS.items() if session is self]:
            del _SESSIONS[key]


_SESSIONS: WeakValueDictionary[int, SegmentSession] = WeakValueDictionary()
"""By the id of the viewer, which is no other's as long as its session, which holds it, lives."""


def session_for(viewer: Any) -> SegmentSession:
    """Return the session of a viewer, which its docks share: they speak of the same slide, model and result.

    It lives as long as somebody holds it: a dock, the window's heartbeat, or a script's variable.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)  # plugins are given proxies, a new one each time
    session = _SESSIONS.get(id(viewer))
    if session is None:
        session = _SESSIONS[id(viewer)] = SegmentSession(viewer)
    return session
