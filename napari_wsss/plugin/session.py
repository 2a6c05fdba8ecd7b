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
from pathlib import Path
from typing import Any, Literal

from napari_wsss.models.bundle import Bundle, list_bundles, load_bundle
from napari_wsss.plugin.job import Job, Starter, start_in_thread
from napari_wsss.plugin.layers import METADATA_KEY, slide_layer
from napari_wsss.plugin.live import LiveResult
from napari_wsss.plugin.messages import explain
from napari_wsss.plugin.preferences import Preferences, load_preferences, save_preferences
from napari_wsss.plugin.region import drawn_box, view_box
from napari_wsss.plugin.request import RunRequest, default_folder, result_path
from napari_wsss.plugin.run_state import LegendRow, RunState, advance, legend
from tiling.classes import ClassSchema
from tiling.errors import BundleError, RegionError, SlideError, StoreError, StoreMismatchError, WsssError
from tiling.events import BlockWritten, Event, Finished, Planned
from tiling.geometry import Box
from tiling.slide import open_slide
from tiling.store import is_store, open_store

__all__ = ["RegionChoice", "SegmentSession"]

RegionChoice = Literal["whole", "view", "shapes"]
EventSource = Callable[[RunRequest], Generator[Event]]

REFRESH_SECONDS = 0.5
"""Shortest time between two redraws of the growing layer."""


class SegmentSession:
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
    revision : int
        Grows whenever something that a panel shows is different.
    slide : napari.layers.Image or None
        The chosen slide layer.
    mpp : float or None
        µm per level-0 pixel typed by the user; None takes the slide's own.
    region : {"whole", "view", "shapes"}
    shapes : napari.layers.Shapes or None
        Where the region was drawn.
    state : RunState
    notice : str
        Why the last command did nothing, in full; empty after one that did something.
    live : LiveResult or None
        The result of the last run.
    """

    def __init__(
        self, viewer: Any, *, events: EventSource = RunRequest.events, start: Starter = start_in_thread
    ) -> None:
        self.viewer = viewer
        self.revision = 0
        self.slide: Any | None = None
        self.mpp: float | None = None
        self.region: RegionChoice = "whole"
        self.shapes: Any | None = None
        self.state = RunState()
        self.notice = ""
        self.live: LiveResult | None = None
        self.preferences: Preferences = load_preferences()
        self.bundle: Bundle | None = None
        self.bundle_problem = ""
        self.can_replace = False
        self._events = events
        self._start = start
        self._job: Job[Event] | None = None
        self._request: RunRequest | None = None
        self._refreshed = 0.0
        self._shown = False  # whether the result of this run was put into the viewer
        self.choose_bundle(self.preferences.bundle)

    def _changed(self) -> None:
        self.revision += 1

    def report(self, error: Exception) -> None:
        """Show an error of a command in the panel."""
        self.notice = explain(error)
        self._changed()

    # --- choices ---------------------------------------------------------------------------------------------

    def slide_layers(self) -> list[Any]:
        """Return the layers on which a run is possible: those that this plugin read from a slide file."""
        return [
            layer
            for layer in self.viewer.layers
            if layer.metadata.get(METADATA_KEY, {}).get("kind") == "slide"
        ]

    def open_slide(self, path: str | Path) -> Any:
        """Show a slide and choose it.

        Raises
        ------
        SlideError
            One sentence for people.
        """
        data, arguments, _ = slide_layer(open_slide(path))
        layer = self.viewer.add_image(data, **arguments)
        self.notice = ""
        self.choose_slide(layer)
        return layer

    def choose_slide(self, layer: Any | None) -> None:
        """Choose a slide layer (or none) for the next run; its µm per pixel are taken from it again."""
        if layer != self.slide:  # not `is`: napari hands proxies of layers to plugins
            self.slide, self.mpp = layer, None
            self._changed()

    def follow_layers(self) -> None:
        """Choose the slide that was opened elsewhere, and forget one that was removed."""
        layers = self.slide_layers()
        if self.slide is None or self.slide not in layers:
            self.choose_slide(layers[-1] if layers else None)

    @property
    def slide_mpp(self) -> float | None:
        """µm per level-0 pixel: what the user typed, else what the slide says."""
        if self.mpp is not None or self.slide is None:
            return self.mpp
        known: float | None = self.slide.metadata[METADATA_KEY]["mpp"]
        return known

    def set_mpp(self, mpp: float | None) -> None:
        """Take another µm per pixel for the slide, and show it in that size."""
        self.mpp = mpp
        if self.slide is not None and self.slide_mpp is not None:
            self.slide.units = ("micrometer", "micrometer")
            self.slide.scale = (self.slide_mpp, self.slide_mpp)
        self._changed()

    def bundles(self) -> list[str]:
        """Return the names to choose from: the embedded bundles, and the folder chosen last."""
        names = list_bundles()
        if self.preferences.bundle and self.preferences.bundle not in names:
            names.append(self.preferences.bundle)
        return names

    def choose_bundle(self, name: str) -> None:
        """Choose a model: an embedded bundle, a folder, or empty for the default.

        A bundle that cannot be used leaves none chosen, and says why in ``bundle_problem``.
        """
        self.bundle, self.bundle_problem = None, ""
        try:
            default = next(iter(list_bundles()), "")
            if not (name or default):
                raise BundleError("There is no model yet; choose the folder of a model bundle.")
            self.bundle = load_bundle(name or default)
        except BundleError as error:
            self.bundle_problem = str(error)
        self.set_preferences(bundle=name)

    def set_preferences(self, **values: Any) -> None:
        """Change options of the next runs; they are remembered."""
        self.preferences = replace(self.preferences, **values)
        save_preferences(self.preferences)
        self._changed()

    def warnings(self) -> list[str]:
        """Return what a user should think about before pressing Run."""
        found = [self.bundle_problem] if self.bundle_problem else []
        if self.slide is not None and self.slide_mpp is None:
            found.append(
                "The slide does not say its µm per pixel: type it in (a scan at 40× often has 0.25)."
            )
        if self.bundle and self.slide_mpp and self.slide_mpp > 1.5 * self.bundle.mpp:
            found.append(
                f"The slide has {self.slide_mpp:.3g} µm per pixel, the model was trained at {self.bundle.mpp:.3g}: "
                "the slide is enlarged, and results may be poor."
            )
        return found

    def choose_region(self, region: RegionChoice) -> None:
        """Choose what is segmented: the whole slide, the current view, or what was drawn."""
        self.region = region
        if region == "shapes" and self.shapes is None:
            self.shapes = next(iter(self.shapes_layers()), None)
        self._changed()

    def shapes_layers(self) -> list[Any]:
        """Return the layers in which a region may be drawn."""
        from napari.layers import Shapes

        return [layer for layer in self.viewer.layers if isinstance(layer, Shapes)]

    def layer_names(self) -> tuple[str, ...]:
        """Return the names of all layers: when they change, a panel looks again."""
        return tuple(layer.name for layer in self.viewer.layers)

    def choose_shapes(self, layer: Any | None) -> None:
        """Choose the layer in which the region is drawn."""
        self.shapes = layer
        self._changed()

    def add_shapes(self) -> Any:
        """Add a layer on the slide, ready to draw a rectangle in."""
        placed = (
            {} if self.slide is None else {"scale": self.slide.scale[-2:], "units": self.slide.units[-2:]}
        )
        layer = self.viewer.add_shapes(name="Region", edge_color="yellow", face_color="transparent", **placed)
        layer.mode = "add_rectangle"
        self.choose_shapes(layer)
        return layer

    def request_or_none(self) -> RunRequest | None:
        """Return the run that the choices amount to, or None while there is none or another one goes on."""
        if self._job is not None:
            return None
        try:
            return self.request()
        except WsssError:
            return None

    def request(self, *, restart: bool = False) -> RunRequest:
        """Return the run that the choices amount to.

        Raises
        ------
        WsssError
            What is missing, in one sentence.
        """
        if self.slide is None or self.slide not in self.viewer.layers:
            raise SlideError("No slide is chosen; open one with “Open slide…”.")
        if self.bundle is None:
            raise BundleError(self.bundle_problem)
        path = Path(self.slide.metadata[METADATA_KEY]["path"])
        region = self._region_box()
        folder = Path(self.preferences.folder) if self.preferences.folder else default_folder(path)
        out = result_path(path, folder, region)
        return RunRequest(path, self.bundle, out, self.mpp, region, self.preferences, resume=not restart)

    def _region_box(self) -> Box | None:
        if self.region == "view":
            return view_box(self.viewer, self.slide)
        if self.region == "shapes":
            if self.shapes is None or self.shapes not in self.viewer.layers:
                raise RegionError("No shapes layer is chosen; add one and draw a rectangle on the slide.")
            return drawn_box(self.viewer, self.slide, self.shapes)
        return None

    # --- the run ---------------------------------------------------------------------------------------------

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
        self.notice = ""
        self.state = RunState("starting")
        self._job = Job(lambda: self._events(request))
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
        """Poll until the run has ended (for scripts); return how."""
        deadline = time.monotonic() + timeout
        while self._job is not None and time.monotonic() < deadline:
            self._job.wait(0.05)
            self.poll()
        return self.state

    def close(self, _sender: object = None, *, timeout: float = 10.0) -> None:
        """Cancel a run and wait for it: the viewer goes away (also a slot for Qt's ``destroyed``)."""
        if self._job is not None:
            self._job.cancel()
            self._job.wait(timeout)
            self._job = None

    def _show(self, event: Event) -> None:
        try:
            match event:
                case Planned():
                    self._show_result(event.store)
                case BlockWritten() if self.live is not None:
                    self.live.add(event)
                case Finished():
                    if not self._shown:  # it was complete already
                        self._show_result(event.store)
                    if self.live is not None:
                        self.live.finish()
        except StoreError as error:
            self.state = replace(self.state, message=explain(error))

    def _show_result(self, store: Path) -> None:
        self.live = LiveResult(self.viewer, open_store(store), self._slide_of_run())
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

    def show_class(self, label: int, visible: bool) -> None:
        """Show or hide one class of the result."""
        if self.live is not None:
            self.live.show_class(label, visible)
            self._changed()
