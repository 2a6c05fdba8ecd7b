"""What a run would cost, before it is started: tiles, memory and time."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.common import Job, Starter
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.view import class_features, label_colormap
from tiling.classes import ClassSchema
from tiling.engine import estimate_memory
from tiling.plan import RunOptions, TissueParameters, make_plan
from tiling.slides import Slide, open_slide
from tiling.words import clock

__all__ = ["Estimate", "Estimator", "LiveEstimate", "estimate_text"]

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
    tiles_per_second : float or None
        Measured on this machine with this model; None when it has not run yet.
    """

    tiles: int
    memory_bytes: int
    tiles_per_second: float | None = None

    @property
    def seconds(self) -> float | None:
        """Expected duration."""
        return self.tiles / self.tiles_per_second if self.tiles_per_second else None


def estimate_text(estimate: Estimate | None) -> str:
    """Return the line above the Run button."""
    if estimate is None:
        return ""
    if estimate.tiles == 0:
        return "No tissue in this region."
    text = f"{estimate.tiles:,} tiles · {estimate.memory_bytes / 2**20:.0f} MB"
    return text if estimate.seconds is None else f"{text} · about {clock(estimate.seconds)}"


class Estimator:
    """Counts tiles with the engine's own planner; remembers the slow part, the thumbnail of each slide.

    Attributes
    ----------
    rates : dict
        Measured tiles/s by model hash and device.
    """

    def __init__(self) -> None:
        self.rates: dict[tuple[str, str], float] = {}
        self._thumbnails: dict[tuple[Path, int], NDArray[np.uint8]] = {}

    def estimate(self, request: RunRequest, measure: bool = False) -> Generator[Estimate]:
        """Yield the estimate, and once more with the time when it had to be measured.

        Parameters
        ----------
        request : RunRequest
        measure : bool
            Whether to load the networks and time one small batch when this model was never run.

        Raises
        ------
        WsssError
            What would stop the run as well: no µm per pixel, a region beside the slide, a bad bundle.
        """
        preferences, bundle = request.preferences, request.bundle
        options = RunOptions(
            mpp=bundle.mpp,
            overlap=preferences.overlap,
            tissue=TissueParameters() if preferences.skip_background else None,
            region=request.region,
            roi=request.roi,
            batch_size=preferences.batch_size,
            cams=preferences.keep_cams,
            gate_mode="field" if preferences.gate and bundle.gate.mode == "mask" else "tile",
        )
        with open_slide(request.slide, mpp=request.mpp) as slide:
            planned = cast("Slide", _RememberedThumbnail(slide, self._thumbnails))
            plan = make_plan(planned, bundle.tile, options)
            reader_bytes = slide.reader_bytes(options.read_threads)
        factor = round(plan.grid.tile / plan.cam_grid.tile) if plan.cam_grid else None
        memory = estimate_memory(
            plan.grid,
            len(bundle.schema),
            options.batch_size,
            options.read_threads,
            cam_factor=factor,
            reader_bytes=reader_bytes,
        )
        key = rate_key(request)
        estimate = Estimate(plan.tiles, memory.total, self.rates.get(key))
        yield estimate
        if measure and plan.tiles and key not in self.rates:
            self.rates[key] = measure_rate(request)
            yield Estimate(plan.tiles, memory.total, self.rates[key])


def rate_key(request: RunRequest) -> tuple[str, str]:
    """Return what a measured rate belongs to."""
    return "+".join(sorted(request.bundle.hashes.values())), request.preferences.device


def _load_what_a_result_needs(schema: ClassSchema) -> None:
    """Do here, in a thread, what else stops the viewer for a third of a second when a run shows its first layer."""
    from napari.layers import Labels

    Labels(np.zeros((2, 2), np.uint8), colormap=label_colormap(schema), features=class_features(schema))
    with suppress(ImportError):  # a private module of napari: one that has moved costs a moment, no more
        import_module("napari._vispy.overlays.labels_polygon")


def measure_rate(request: RunRequest, tiles: int = 4) -> float:
    """Load the networks and return tiles/s of the second of two small batches (the first one warms up)."""
    from napari_wsss.pipeline import Settings, make_predictor
    from napari_wsss.plugin.common import limit_compute_threads

    limit_compute_threads()
    _load_what_a_result_needs(request.bundle.schema)
    predictor = make_predictor(request.bundle, Settings(device=request.preferences.device))
    side = request.bundle.tile
    pixels = np.random.default_rng(0).integers(120, 255, (tiles, side, side, 3), dtype=np.uint8)
    predictor(pixels)
    start = time.perf_counter()
    predictor(pixels)
    return tiles / max(1e-6, time.perf_counter() - start)


class _RememberedThumbnail:
    """A slide whose thumbnail is read once, however often a run on it is planned."""

    def __init__(self, slide: Slide, known: dict[tuple[Path, int], NDArray[np.uint8]]) -> None:
        self._slide = slide
        self._known = known

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slide, name)

    def thumbnail(self, max_side: int) -> NDArray[np.uint8]:
        key = (self._slide.path, max_side)
        if key not in self._known:
            self._known.clear()  # one slide at a time is enough
            self._known[key] = self._slide.thumbnail(max_side)
        return self._known[key]


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
        rested = now - self._since >= REST_SECONDS
        if self._job is None and rested and request is not None and self._job_for != request:
            self._job_for = request
            self._job = Job(partial(self._estimator.estimate, request, self._measure))
            self._start(self._job)
        return changed

    def _collect(self) -> bool:
        job = self._job
        if job is None:
            return False
        ended = job.has_ended
        estimates = job.poll()
        if ended:
            self._job = None
        if self._job_for != self._wanted:  # an answer to an old question
            return False
        if estimates:
            self.estimate = estimates[-1]
        elif ended and job.error is not None:
            self.problem = str(job.error)
        return bool(estimates) or (ended and job.error is not None)
