"""The presenter of the Segment dock: what can be chosen, what runs, what came out. No Qt, no drawing.

Everything that the dock does is a call on :class:`SegmentSession`, so a script or napari's console can do it too::

    session = SegmentSession(viewer)
    session.open_slide("a.svs")
    session.region = "view"
    session.run()
    session.wait()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from napari_wsss.plugin.common import Job, Starter, explain, start_in_thread
from napari_wsss.plugin.files import export_store
from napari_wsss.plugin.segment.choices import Choices
from napari_wsss.plugin.segment.live import LiveResult
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.segment.run_state import LegendRow, RunState, advance, legend
from napari_wsss.plugin.view import METADATA_KEY
from tiling.classes import ClassSchema
from tiling.engine import BlockWritten, Event, Finished, Planned
from tiling.errors import StoreError, StoreMismatchError, WsssError
from tiling.folders import is_store
from tiling.store import Store, open_store

__all__ = ["SegmentSession", "session_for"]

EventSource = Callable[[RunRequest], Generator[Event]]

REFRESH_SECONDS = 0.5
"""Shortest time between two redraws of the growing layer."""


class SegmentSession(Choices):
    """Choices, one run at a time, and its result in the viewer.

    All methods belong to the thread of the viewer; only the job works elsewhere.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    events : callable, optional
        Makes the events of a run; the real pipeline by default.
    start : callable, optional
        Starts a job in another thread.

    Attributes
    ----------
    state : RunState
    notice : str
        What an export has to say.
    can_replace : bool
        Whether the last run was refused because the result was made differently.
    live : LiveResult or None
        The result of the last run.
    """

    def __init__(
        self, viewer: Any, *, events: EventSource = RunRequest.events, start: Starter = start_in_thread
    ) -> None:
        super().__init__(viewer)
        self.state = RunState()
        self.notice = ""
        self.live: LiveResult | None = None
        self.can_replace = False
        self._events = events
        self._start = start
        self._job: Job[Event] | None = None
        self._request: RunRequest | None = None
        self._export: Job[Path] | None = None
        self._refreshed = 0.0
        self._shown = False  # whether the result of this run was put into the viewer

    # --- the run ---------------------------------------------------------------------------------------------

    def request_or_none(self) -> RunRequest | None:
        """Return the run that the choices amount to, or None while there is none or another one goes on."""
        if self._job is not None:
            return None
        try:
            return self.request()
        except WsssError:
            return None

    def run(self, *, restart: bool = False) -> bool:
        """Start the run that the choices amount to, or go on with it; tell whether it was started.

        Parameters
        ----------
        restart : bool
            Replace a result that was made differently.
        """
        if self._job is not None:
            return False
        try:
            request = self.request(restart=restart)
        except WsssError as error:
            self.report(error)
            return False
        return self._begin(request)

    def resume(self) -> bool:
        """Go on with the run that was cancelled or failed, whatever was chosen since."""
        if self._job is not None or self._request is None:
            return False
        return self._begin(replace(self._request, resume=True))

    def _begin(self, request: RunRequest) -> bool:
        self._request = request
        self.can_replace = False
        self._shown = False
        self.notice = self.problem = ""
        self.state = RunState("starting")
        self._job = Job(partial(self._events, request))
        self._start(self._job)
        self._changed()
        return True

    def cancel(self) -> None:
        """Stop after the batch in work; what is committed is kept."""
        if self._job is not None:
            self._job.cancel()
            self.state = replace(self.state, phase="cancelling")
            self._changed()

    def poll(self) -> bool:
        """Take what the job has told since the last call; tell whether there was something.

        Called by the panel's timer. Redraws the result at most twice a second.
        """
        self._poll_export()
        job = self._job
        if job is None:
            return False
        ended = job.has_ended  # asked first: events that come after it are taken in this call
        events = job.poll()
        for event in events:
            self.state = advance(self.state, event)
            self._show(event)
        if not ended and self._store_was_deleted():
            job.cancel()
            self.state = replace(
                self.state, message=f"{self.state.store} was deleted while it was being written."
            )
        if ended:
            self._job = None
            self._conclude(job)
        self._refresh(always=ended)
        if events or ended:
            self._changed()
        return bool(events) or ended

    def wait(self, timeout: float = 3600.0) -> RunState:
        """Poll until the run and the export have ended (for scripts); return how the run ended."""
        deadline = time.monotonic() + timeout
        while (job := self._job or self._export) is not None and time.monotonic() < deadline:
            job.wait(0.05)
            self.poll()
        return self.state

    def close(self, _sender: object = None, *, timeout: float = 10.0) -> None:
        """Cancel a run and wait for it: the viewer goes away (also a slot for Qt's ``destroyed``)."""
        if self._job is not None:
            self._job.cancel()
            self._job.wait(timeout)
            self._job = None
        for key in [key for key, session in _SESSIONS.items() if session is self]:
            del _SESSIONS[key]

    def _show(self, event: Event) -> None:
        try:
            match event:
                case Planned():
                    self._show_result(event.store, event.rows_done)
                case BlockWritten() if self.live is not None:
                    self.live.add(event)
                case Finished():
                    if not self._shown:  # it was complete already
                        self._show_result(event.store)
                    if self.live is not None:
                        self.live.finish()
        except StoreError as error:
            self.state = replace(self.state, message=explain(error))

    def _show_result(self, store: Path, rows_done: int = 0) -> None:
        self.live = LiveResult(self.viewer, open_store(store), self._slide_of_run(), rows_done)
        self._shown = True

    def _slide_of_run(self) -> Any | None:
        """Return the layer that is being segmented; another slide may have been chosen since."""
        assert self._request is not None
        for layer in self.slide_layers():
            if Path(layer.metadata[METADATA_KEY]["path"]) == self._request.slide:
                return layer
        return None

    def _refresh(self, *, always: bool) -> None:
        now = time.monotonic()
        if self.live is not None and (always or now - self._refreshed >= REFRESH_SECONDS):
            self.live.refresh()
            self._refreshed = now

    def _conclude(self, job: Job[Event]) -> None:
        if job.outcome == "failed":
            assert job.error is not None
            self.can_replace = isinstance(job.error, StoreMismatchError)
            self.state = replace(self.state, phase="failed", message=explain(job.error))
        elif job.outcome == "cancelled" and self.state.is_active:
            self.state = replace(self.state, phase="failed" if self.state.message else "cancelled")
        if self.state.store is None and self._request is not None and is_store(self._request.out):
            self.state = replace(self.state, store=self._request.out)

    def _store_was_deleted(self) -> bool:
        return (
            self.state.phase == "running" and self.state.store is not None and not is_store(self.state.store)
        )

    # --- the result ------------------------------------------------------------------------------------------

    @property
    def schema(self) -> ClassSchema | None:
        """Classes of the result, or of the chosen model before there is one."""
        if self.live is not None:
            return self.live.schema
        return self.bundle.schema if self.bundle else None

    def legend(self) -> list[LegendRow]:
        """Return the classes with their areas so far."""
        return legend(self.schema, self.state) if self.schema else []

    @property
    def result_layer(self) -> Any | None:
        """The layer of the last result, or None."""
        return None if self.live is None else self.live.shown_layer

    def show_result(self) -> None:
        """Put the last result into the viewer again."""
        if self.live is not None:
            self.live.show()
            self._changed()

    def is_result_of(self, slide: Path) -> bool:
        """Whether the result that is shown is that of a slide."""
        return self.live is not None and self._request is not None and self._request.slide == slide

    @property
    def can_export(self) -> bool:
        """Whether there is a finished result."""
        return self.live is not None and self.state.phase in ("done", "cached", "empty")

    def export(self, path: str | Path) -> bool:
        """Write the result in the format that the file name says, in another thread; tell whether it was started."""
        if self.live is None or self._export is not None:
            return False
        store = self.live.store
        self._export = Job(partial(_written, store, Path(path)))
        self.notice, self.problem = f"Writing {path} …", ""
        self._start(self._export)
        self._changed()
        return True

    def _poll_export(self) -> None:
        job = self._export
        if job is None or not job.has_ended:
            return
        self._export = None
        self.notice = ""
        if job.error:
            self.problem = explain(job.error)
        else:
            self.notice = f"{job.poll()[0]} is written."
        self._changed()

    def show_class(self, label: int, visible: bool) -> None:
        """Show or hide one class of the result."""
        if self.live is not None:
            self.live.show_class(label, visible)
            self._changed()


def _written(store: Store, path: Path) -> Generator[Path]:
    yield export_store(store, path)


_SESSIONS: dict[int, SegmentSession] = {}


def session_for(viewer: Any) -> SegmentSession:
    """Return the session of a viewer, which its docks share: they speak of the same slide, model and result."""
    key = id(getattr(viewer, "__wrapped__", viewer))  # plugins are given proxies, a new one each time
    if key not in _SESSIONS:
        _SESSIONS[key] = SegmentSession(viewer)
    return _SESSIONS[key]
