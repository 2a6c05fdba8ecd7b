"""What a run would cost, before it is started: tiles, memory and time."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial

from napari_wsss.plugin.common import Job, Starter, with_known_thumbnails
from napari_wsss.plugin.results import RunState
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.segment.trial import Pace, try_out
from tiling.engine import estimate_memory
from tiling.plan import make_plan
from tiling.slides import open_slide
from tiling.words import clock

__all__ = ["Estimate", "Estimator", "LiveEstimate", "estimate_text"]

ENOUGH_TILES = 64
"""Tiles after which a run has found its pace."""
REST_SECONDS = 0.3
"""How long a choice must stay the same before it is estimated."""


@dataclass(frozen=True)
class Estimate:
    """The cost of a run.

    Attributes
    ----------
    tiles : int
        Tiles to predict.
    memory_bytes : int
        The engine's memory formula.
    seconds : float or None
        Expected duration on this machine with this model; None when it has not run yet.
    """

    tiles: int
    memory_bytes: int
    seconds: float | None = None


def estimate_text(estimate: Estimate | None) -> str:
    """Return the line above the Run button."""
    if estimate is None:
        return ""
    if estimate.tiles == 0:
        return "No tissue in this region."
    text = f"{estimate.tiles:,} tiles · {estimate.memory_bytes / 2**20:.0f} MB"
    return text if estimate.seconds is None else f"{text} · about {clock(estimate.seconds)}"


class Estimator:
    """Counts tiles with the engine's own planner.

    Attributes
    ----------
    paces : dict
        What was measured, by model hash and device.
    """

    def __init__(self) -> None:
        self.paces: dict[tuple[str, str], Pace] = {}

    def estimate(self, request: RunRequest, measure: bool = False) -> Generator[Estimate]:
        """Yield the estimate, and once more with the time when it had to be measured.

        Parameters
        ----------
        request : RunRequest
        measure : bool
            Whether to load the networks and run them on a few tiles when this model was never run.

        Raises
        ------
        WsssError
            What would stop the run as well: no µm per pixel, a region beside the slide, a bad bundle.
        """
        bundle = request.bundle
        options = request.settings().run_options(bundle.mpp)
        if not request.preferences.gate or bundle.gate.mode != "mask":
            options = replace(options, gate_mode="tile")
        with open_slide(request.slide, mpp=request.mpp) as slide:
            plan = make_plan(with_known_thumbnails(slide), bundle.tile, options)
            factor = round(plan.grid.tile / plan.cam_grid.tile) if plan.cam_grid else None
            memory = estimate_memory(
                plan.grid,
                len(bundle.schema),
                options.batch_size,
                options.read_threads,
                cam_factor=factor,
                reader_bytes=slide.reader_bytes(options.read_threads),
            )
            key = pace_key(request)

            def known() -> Estimate:
                pace = self.paces.get(key)
                seconds = None if pace is None else pace.seconds(plan.tiles)
                return Estimate(plan.tiles, memory.total, seconds)

            yield known()
            if measure and plan.tiles and key not in self.paces:
                for pace in try_out(request, slide, plan, options):
                    if pace is not None:
                        self.paces[key] = pace
                    yield known()

    def learn(self, request: RunRequest, state: RunState) -> None:
        """Take the pace of a run that goes on, which knows better than any trial, once it has done enough."""
        tiles = state.seconds * state.tiles_per_second
        if state.phase == "running" and tiles >= ENOUGH_TILES:
            known = self.paces.get(key := pace_key(request))
            start = 0.0 if known is None else known.start
            # The run's own rate has its start in it, which is no part of what a tile takes.
            self.paces[key] = Pace(start, (state.seconds - min(start, state.seconds / 2)) / tiles)


def pace_key(request: RunRequest) -> tuple[str, str]:
    """Return what a measured pace belongs to."""
    return "+".join(sorted(request.bundle.hashes.values())), request.preferences.device


class LiveEstimate:
    """The estimate of what is chosen right now, made in another thread whenever the choice has come to rest.

    Parameters
    ----------
    estimator : Estimator
    start : callable
        Starts a job in another thread.
    measure : bool
        Whether to time models that were never run.

    Attributes
    ----------
    estimate : Estimate or None
        None while it is not known.
    problem : str
        Why there is none, one sentence.
    """

    def __init__(self, estimator: Estimator, start: Starter, *, measure: bool) -> None:
        self.estimate: Estimate | None = None
        self.problem = ""
        self._estimator = estimator
        self._start = start
        self._measure = measure
        self._wanted: RunRequest | None = None
        self._since = 0.0
        self._job: Job[Estimate] | None = None
        self._job_for: RunRequest | None = None

    def update(self, request: RunRequest | None) -> bool:
        """Take what is chosen now (None: nothing to estimate); tell whether the answer has changed.

        Called again and again, by the panel's timer. A view that is being dragged is not estimated before it rests.
        """
        now = time.monotonic()
        changed = self._collect()
        if request != self._wanted:
            self._wanted, self._since = request, now
            changed |= self.estimate is not None or bool(self.problem)
            self.estimate, self.problem = None, ""
            if self._job is None:
                self._job_for = None
            elif request is None:
                self._job.cancel()  # a run begins, which wants the networks that a trial holds
        rested = now - self._since >= REST_SECONDS
        if self._job is None and rested and request is not None and self._job_for != request:
            self._job_for = request
            self._job = Job(partial(self._estimator.estimate, request, self._measure))
            self._start(self._job)
        return changed

    def learn(self, request: RunRequest, state: RunState) -> None:
        """Take the pace of a run that goes on."""
        self._estimator.learn(request, state)

    def _collect(self) -> bool:
        job = self._job
        if job is None:
            return False
        ended = job.has_ended
        estimates = job.poll()
        if ended:
            self._job = None
        if job.outcome == "cancelled":
            self._job_for = None
            return False
        if self._job_for != self._wanted:  # an answer to an old question
            return False
        if estimates:
            self.estimate = estimates[-1]
        elif ended and job.error is not None:
            self.problem = str(job.error)
        return bool(estimates) or (ended and job.error is not None)
