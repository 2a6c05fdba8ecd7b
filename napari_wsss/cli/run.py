"""`wsss-tile run`: a batch of slides with one model."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_wsss.cli.border import INTERRUPTED, answer, answer_json, before_work, tell
from napari_wsss.cli.choices import parse_exports, parse_region
from napari_wsss.cli.export import files_beside, write_exports
from napari_wsss.cli.progress import make_display
from napari_wsss.cli.stopping import stopping
from napari_wsss.models import default_bundle, list_bundles, load_bundle
from napari_wsss.pipeline import Settings, make_predictor, segment_events
from tiling.annotations import annotations_of, parse_match, place_on
from tiling.batch import (
    DaskScheduler,
    FirstContact,
    Guarded,
    RunOne,
    Scheduler,
    Shard,
    SlideJob,
    SlideOutcome,
    Status,
    exit_code,
    find_jobs,
    one_after_another,
    prepare_output,
    run_batch,
    worker_number,
    write_report,
)
from tiling.engine import Event, Finished
from tiling.plan import Roi, read_roi
from tiling.slides import open_slide
from tiling.store import open_store

if TYPE_CHECKING:
    from napari_wsss.predictor import BundlePredictor
    from tiling.classes import ClassSchema
    from tiling.export import Frame
    from tiling.slides import Slide

from tiling.errors import ClusterError, UsageProblem

__all__ = ["RunRequest", "SegmentSlide", "run_slides"]

_STOPPED = "Interrupted; the same command goes on where this one stopped."


@dataclass(frozen=True)
class RunRequest:
    """The command line of a run, before anything is checked.

    Attributes
    ----------
    slides : tuple of str
        What to run over; see :func:`tiling.batch.jobs.find_jobs`.
    out : Path
    model : str or None
    mpp : float or None
        Overrides manifest and metadata of every slide.
    icc : bool
        Convert colours to sRGB by the profiles in the slides.
    shard : str or None
        ``K/N``.
    resume : bool
    exports : str
        Formats, separated by commas.
    region : str or None
        ``X,Y,W,H``.
    roi : Path or None
        Annotations of any format, or a folder with one ``<slide_id>.<suffix>`` per slide.
    match : str
        What the names of those annotations mean, ``NAME=CLASS,…``; empty: all are taken.
    tissue : Path or None
        The same for what counts as tissue.
    frame : {"qupath", "openslide"}
        Origin of the polygons' coordinates.
    workers : int
        Local processes; 0: this one.
    cluster : str or None
        A running Dask scheduler.
    options : mapping
        Fields of :class:`napari_wsss.pipeline.Settings`.
    """

    slides: tuple[str, ...]
    out: Path
    model: str | None = None
    mpp: float | None = None
    icc: bool = False
    shard: str | None = None
    resume: bool = True
    exports: str = ""
    region: str | None = None
    roi: Path | None = None
    match: str = ""
    tissue: Path | None = None
    frame: Frame = "qupath"
    workers: int = 0
    cluster: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SegmentSlide:
    """The work on one slide; can be sent to another process.

    Attributes
    ----------
    model : str
        Bundle name or folder.
    settings : Settings
    out : Path
    mpp : float or None
        Overrides manifest and metadata.
    icc : bool
    resume : bool
    exports : tuple of str
        Formats to write beside the store.
    roi, tissue, frame : Path or None, Path or None, str
        Polygons to which the run is confined, and of tissue, and where GeoJSON counts from.
    match : mapping of str to str
        With names, only polygons of the region that mean a class of the model.
    on_event : callable, optional
        Receives the job and each event; only in the process that made it.
    """

    model: str
    settings: Settings
    out: Path
    mpp: float | None = None
    icc: bool = False
    resume: bool = True
    exports: tuple[str, ...] = ()
    roi: Path | None = None
    tissue: Path | None = None
    frame: Frame = "qupath"
    match: Mapping[str, str] = field(default_factory=dict)
    on_event: Callable[[SlideJob, Event], None] | None = None

    def __call__(self, job: SlideJob) -> SlideOutcome:
        """Segment one slide and write its exports.

        Raises
        ------
        WsssError
            Whatever is wrong with the slide, the store or the exports.
        """
        path = self.out / f"{job.slide_id}.zarr"
        mpp, source = (self.mpp, "--mpp") if self.mpp is not None else (job.mpp, "manifest")
        with open_slide(job.path, mpp=mpp, mpp_source=source, icc=self.icc) as slide:
            predictor = _predictor(self.model, _on_this_worker(self.settings))
            settings = replace(
                self.settings,
                roi=self._polygons(self.roi, job, slide, predictor.schema),
                tissue_areas=self._polygons(self.tissue, job, slide),
            )
            events = segment_events(
                slide, predictor, path, settings=settings, name=job.slide_id, resume=self.resume
            )
            finished = self._watch(job, events)
        store = open_store(path)
        for _ in write_exports(store, files_beside(path, self.exports).items()):
            pass
        receipt = store.receipt
        assert receipt is not None, "the run has just written or checked it"
        return SlideOutcome(
            slide_id=job.slide_id,
            path=job.path,
            status=Status(finished.status),
            tiles=finished.tiles,
            seconds=float(receipt["timings"]["seconds"]),
            areas={c.abbreviation: finished.areas[c.name] for c in store.schema.classes},
        )

    def _polygons(
        self, given: Path | None, job: SlideJob, slide: Slide, schema: ClassSchema | None = None
    ) -> Roi | None:
        if given is None:
            return None
        file = annotations_of(given, job.slide_id) if given.is_dir() else given
        roi = read_roi(file, place_on(slide, self.frame), schema, self.match)
        for note in roi.notes:
            tell(f"Note: {note}")
        return roi

    def _watch(self, job: SlideJob, events: Generator[Event]) -> Finished:
        finished: Finished | None = None
        with closing(events):
            for event in events:
                if self.on_event is not None:
                    self.on_event(job, event)
                if isinstance(event, Finished):
                    finished = event
        assert finished is not None, "a run that raises nothing ends with Finished"
        return finished


def _on_this_worker(settings: Settings) -> Settings:
    """Share the GPUs of a machine between its local workers, by their numbers."""
    if settings.device not in ("auto", "cuda") or "distributed.worker" not in sys.modules:
        return settings
    import torch

    number, gpus = worker_number(), torch.cuda.device_count()
    return settings if number is None or gpus < 2 else replace(settings, device=f"cuda:{number % gpus}")


@lru_cache(maxsize=1)
def _predictor(model: str, settings: Settings) -> BundlePredictor:
    """Load the networks once per process, not once per slide."""
    return make_predictor(model, settings)


def run_slides(request: RunRequest, as_json: bool) -> int:
    """Check the request, run the batch, print the stores made; return the exit code."""
    with before_work():
        jobs = find_jobs(request.slides, exclude=[request.out])
        if request.shard is not None:
            jobs = Shard.parse(request.shard).of(jobs)
        segment = _prepare(request)
        prepare_output(segment.out)
        schedule = _scheduler(request)
        for given in (request.roi, request.tissue):
            if given is not None and len(jobs) > 1 and not given.is_dir():
                raise UsageProblem(
                    f"{given} holds the polygons of one slide, and there are {len(jobs)}; "
                    "give a folder with one <slide_id>.geojson (.xml, .ndpa) per slide."
                )
        if jobs and schedule is one_after_another:
            # Loaded here, a missing GPU stops the batch instead of failing every slide.
            predictor = _predictor(segment.model, segment.settings)
            for note in predictor.notes:
                tell(f"Note: {note}")
    outcomes: list[SlideOutcome] = []
    try:
        with stopping(), make_display(len(jobs)) as display, ExitStack() as stack:
            work: RunOne = segment
            if schedule is one_after_another:  # Dask's workers may crash
                work = replace(segment, on_event=display.event)
                if len(jobs) > 1:
                    work = Guarded(work, stack.enter_context(FirstContact()))
            for outcome in run_batch(jobs, work, segment.out, schedule=schedule, on_warning=display.warn):
                outcomes.append(outcome)
                display.finished(outcome)
    except ClusterError as error:
        raise UsageProblem(str(error)) from error
    except KeyboardInterrupt:
        tell(_STOPPED)
        return INTERRUPTED
    except SystemExit:
        tell(_STOPPED)
        raise
    _report(segment.out, outcomes, as_json)
    if len(outcomes) > 1:
        tell(f"Report: {write_report(segment.out)}")
    return exit_code(outcomes)


def _prepare(request: RunRequest) -> SegmentSlide:
    """Turn words into checked values; raises before anything is written."""
    model = request.model or default_bundle()
    bundle = load_bundle(model)
    limit = request.options.get("gate_threshold")
    if limit is not None and not 0 <= limit <= 1:
        raise UsageProblem(f"The gate threshold is {limit:g}; it is a probability from 0 to 1.")
    settings = Settings(**{**request.options, "region": parse_region(request.region)})
    match = parse_match(request.match, bundle.schema)
    if match and request.roi is None:
        raise UsageProblem("--match says what the names in --roi FILE mean; give that file, too.")
    return SegmentSlide(
        # A process elsewhere has the same embedded models, but maybe not the same current folder.
        model=model if model in list_bundles() else str(bundle.path.absolute()),
        settings=settings,
        out=request.out.absolute(),
        mpp=request.mpp,
        icc=request.icc,
        resume=request.resume,
        exports=parse_exports(request.exports),
        roi=None if request.roi is None else request.roi.absolute(),
        match=match,
        tissue=None if request.tissue is None else request.tissue.absolute(),
        frame=request.frame,
    )


def _scheduler(request: RunRequest) -> Scheduler:
    if request.cluster is None and request.workers == 0:
        return one_after_another
    if request.cluster is not None and request.workers:
        raise UsageProblem("Give either --workers, for processes of this machine, or --cluster, not both.")
    most = 4 * max(4, os.cpu_count() or 1)
    if request.workers > most:
        raise UsageProblem(
            f"--workers {request.workers} would start more processes than this machine can use; give {most} at most."
        )
    gpu = str(request.options.get("device", "auto")).startswith("cuda")
    return DaskScheduler(request.workers, request.cluster, gpu)


def _report(out: Path, outcomes: Sequence[SlideOutcome], as_json: bool) -> None:
    stores = {outcome.slide_id: out / f"{outcome.slide_id}.zarr" for outcome in outcomes}
    if as_json:
        rows = [
            {
                "slide_id": outcome.slide_id,
                "path": str(outcome.path),
                "status": outcome.status.value,
                "store": None if outcome.error else str(stores[outcome.slide_id]),
                "tiles": outcome.tiles,
                "seconds": round(outcome.seconds, 3),
                "tiles_per_s": round(outcome.tiles_per_s, 3),
                "areas_mm2": dict(outcome.areas),
                "error": outcome.error or None,
                "code": outcome.code or None,
            }
            for outcome in outcomes
        ]
        answer_json(rows)
    else:
        for outcome in outcomes:
            if not outcome.error:
                answer(stores[outcome.slide_id])
    counts = Counter(outcome.status.value for outcome in outcomes)
    total = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no slide"
    tell(f"{total}; see {out / 'summary.csv'}" if outcomes else "This shard has no slides.")
