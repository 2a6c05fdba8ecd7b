"""The engine: a slide and a predictor in, a result store out, told as a stream of events.

Reading threads run ahead, the caller's thread predicts, one thread blends a batch behind, one writes. Closing the
generator at any moment leaves a store that the next run resumes.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tiling.engine.assemble import RowAssembler
from tiling.engine.behind import BlendBehind
from tiling.engine.commit import FinishedRow, RowCommitter
from tiling.engine.events import BlockWritten, Event, Finished, Planned, Progress, TilesDone
from tiling.engine.memory import MemoryEstimate, available_memory, estimate_memory, refuse_what_cannot_fit
from tiling.engine.predictor import Predictor
from tiling.engine.read_ahead import ReadAhead
from tiling.errors import SlideChangedError, StoreDamagedError, StoreError, StoreMismatchError, disk_errors_as
from tiling.files import refuse_long_name
from tiling.plan import RunOptions, RunPlan, TileBatch, make_plan, plan_grids
from tiling.slides import Slide
from tiling.store import (
    Committed,
    Journal,
    StoreLayout,
    StoreLock,
    StoreWriter,
    Tally,
    areas_mm2,
    count_doubts,
    create_store,
    disk_error,
    read_receipt,
    read_run,
    sweep,
    verify,
    versions,
    write_receipt,
)
from tiling.untrusted import printable
from tiling.words import differences

__all__ = ["run"]

PROGRESS_SECONDS = 0.25
"""Shortest time between two progress events."""


def run(
    slide: Slide,
    predictor: Predictor,
    out: Path,
    options: RunOptions,
    *,
    name: str | None = None,
    resume: bool = True,
) -> Generator[Event]:
    """Segment a slide into a store, as a generator of events.

    Parameters
    ----------
    slide : Slide
    predictor : Predictor
        Called in the thread that iterates, with batches of one tile row.
    out : Path
        The store to write (``<slide_id>.zarr``).
    options : RunOptions
    name : str, optional
        Slide id; the stem of ``out`` when absent. In the store, what cannot be shown stands as an escape.
    resume : bool
        Go on with an unfinished store, keep a finished one; else start over.

    Yields
    ------
    Event
        :class:`~tiling.engine.events.Planned` first, :class:`~tiling.engine.events.Finished` last.

    Raises
    ------
    ResolutionError, RegionError
        Before anything is written.
    StoreLockedError
        When another process writes the store.
    StoreMismatchError
        When the store was made from something else and ``resume`` is on.
    SlideError, StoreError, PredictionError
        In the middle; what is committed stays and can be resumed.
    """
    slide.require_mpp()
    _make_parent(out)
    with StoreLock(out):
        job = _prepare(slide, predictor, out, options, printable(name or out.stem), resume)
        if isinstance(job, Finished):
            yield job
        else:
            with closing(_stream(job)) as events:
                yield from events


@dataclass(frozen=True)
class _Job:
    """A run that has work to do: everything is decided; the store exists unless the run ``starts`` it."""

    slide: Slide
    predictor: Predictor
    out: Path
    options: RunOptions
    plan: RunPlan
    layout: StoreLayout
    description: dict[str, Any]
    journal: Journal
    starts: bool

    @property
    def memory(self) -> MemoryEstimate:
        """What the run needs beside the program and the network."""
        grid, cams = self.plan.grid, self.plan.cam_grid
        return estimate_memory(
            grid,
            len(self.layout.schema),
            self.options.batch_size,
            self.options.read_threads,
            self.layout.probabilities,
            grid.tile // cams.tile if cams else None,
            self.slide.reader_bytes(self.options.read_threads),
        )


def _prepare(
    slide: Slide, predictor: Predictor, out: Path, options: RunOptions, name: str, resume: bool
) -> _Job | Finished:
    """Decide between nothing to do, going on and starting."""
    earlier = read_run(out) if resume else None
    options = _with_gate(slide, predictor, options)
    grid, cam_grid = plan_grids(slide, predictor.tile, options)
    layout = StoreLayout(
        name=name,
        schema=predictor.schema,
        grid=grid,
        mpp=options.mpp,
        slide_mpp=slide.require_mpp(),
        probabilities=options.probabilities,
        cam_grid=cam_grid,
    )
    description = _describe(slide, predictor, options, layout)
    if earlier is not None:
        _refuse_difference(out, earlier, description)
        # Before anything is read or reserved: a finished store needs neither.
        if read_receipt(out) is not None:
            return _cached(out)
    journal = Journal(out / "journal")
    starts = earlier is None or not journal.committed().rows
    if earlier is not None and not starts:
        description = earlier
    plan = make_plan(slide, predictor.tile, options)
    job = _Job(slide, predictor, out, options, plan, layout, description, journal, starts)
    refuse_what_cannot_fit(job.memory, available_memory())
    return job


def _with_gate(slide: Slide, predictor: Predictor, options: RunOptions) -> RunOptions:
    """Leave the gate to the tiles where there is no field: without thresholds, and where there is one tile."""
    if options.gate_mode == "field":
        grid, _ = plan_grids(slide, predictor.tile, options)
        if predictor.thresholds is None or grid.rows == grid.columns == 1:
            return dataclasses.replace(options, gate_mode="tile")
    return options


def _stream(job: _Job) -> Generator[Event]:
    """Do the rows that are not committed yet, then write the receipt."""
    started = time.perf_counter()
    plan, grid, options = job.plan, job.plan.grid, job.options
    committed, carry = (_nothing(job), {}) if job.starts else job.journal.resume()
    rows = range(committed.rows, grid.rows)
    batches = (batch for row in rows for batch in plan.batches(row))
    fill = options.read_errors == "fill"
    # The first tiles are read while the store is made.
    with ReadAhead(job.slide, grid, options.mpp, batches, options.read_threads, fill) as reader:
        if job.starts:
            tallies = create_store(job.out, job.layout, job.description, plan.overview.shape[:2])
        else:
            sweep(job.out)
            tallies = Tally.read(committed.chunks)
        writer = StoreWriter(job.out, job.layout, tallies)
        by_field = options.gate_mode == "field"
        assembler = RowAssembler(plan, job.layout, job.predictor.thresholds if by_field else None)
        if not job.starts:
            _restore(job, committed.rows, carry, assembler, writer)
            writer.check()
        del carry
        done = committed.tiles + committed.read_errors
        yield _planned(job, committed.rows, done)

        committer = RowCommitter(plan, writer, job.journal, committed, started)
        clock = _Clock(plan, started, done)
        cam_side = plan.cam_grid.tile if plan.cam_grid else None
        ungated = {"gated": False} if by_field else {}
        with committer, BlendBehind(assembler) as blending:
            if job.starts:
                committer.begin()
            for row in rows:
                blending.begin(row)
                for tiles in reader.of_row(row):
                    with clock.predicting():
                        blending.add(tiles, job.predictor(tiles.pixels, cam_side, **ungated))
                    yield clock.tiles_done(tiles.batch)
                    yield from _commit(blending.finished(), committer)
                    if clock.is_due:
                        yield clock.progress(row, reader, committer)
                blending.finish()
                yield from _commit(blending.finished(), committer)
            yield from _commit(blending.finished(all_of_them=True), committer)
            if block := committer.wait():
                yield block
    yield clock.progress(grid.rows, reader, committer)
    yield _finish(job, writer, clock, reader, committer, committed.seconds)


def _commit(rows: Iterable[FinishedRow], committer: RowCommitter) -> Iterator[BlockWritten]:
    """Hand over finished rows; yield what is on disk by now."""
    for row in rows:
        if block := committer.submit(row):
            yield block
    if block := committer.poll():
        yield block


def _nothing(job: _Job) -> Committed:
    """Return the state before the first row."""
    return Committed(counts=(0,) * (len(job.layout.schema) + 1))


def _restore(
    job: _Job, rows: int, carry: dict[str, NDArray[Any]], assembler: RowAssembler, writer: StoreWriter
) -> None:
    """Set everything to where the last committed row left it."""
    assembler.restore(carry)
    grids = {"cams": job.plan.cam_grid or job.plan.grid}
    lines = {
        name: grids.get(name.split("/")[0], job.plan.grid).finished_lines(rows - 1)[1]
        for name in writer.images
    }
    writer.restore(carry, rows, lines)


@dataclass
class _Clock:
    """Counts tiles and measures the shares of time for progress events."""

    plan: RunPlan
    started: float
    done: int
    predict_seconds: float = 0.0
    _fresh: int = 0
    _last: float = 0.0

    @contextmanager
    def predicting(self) -> Iterator[None]:
        entered = time.perf_counter()
        yield
        self.predict_seconds += time.perf_counter() - entered

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def tiles_done(self, batch: TileBatch) -> TilesDone:
        self.done += len(batch.columns)
        self._fresh += len(batch.columns)
        return TilesDone(batch.row, batch.columns, self.done, self.plan.tiles)

    @property
    def is_due(self) -> bool:
        return time.perf_counter() - self._last >= PROGRESS_SECONDS

    def progress(self, rows_done: int, reader: ReadAhead, committer: RowCommitter) -> Progress:
        self._last = time.perf_counter()
        seconds = max(self.seconds, 1e-9)
        return Progress(
            tiles_done=self.done,
            tiles=self.plan.tiles,
            rows_done=rows_done,
            rows=self.plan.grid.rows,
            seconds=seconds,
            tiles_per_second=self._fresh / seconds,
            read_busy=min(1.0, reader.busy_seconds / reader.threads / seconds),
            predict_busy=min(1.0, self.predict_seconds / seconds),
            write_busy=min(1.0, committer.busy_seconds / seconds),
        )


def _planned(job: _Job, rows_done: int, tiles_done: int) -> Planned:
    plan, grid = job.plan, job.plan.grid
    return Planned(
        store=job.out,
        width=grid.width,
        height=grid.height,
        mpp=job.options.mpp,
        tiles=plan.tiles,
        tiles_done=tiles_done,
        rows=grid.rows,
        rows_done=rows_done,
        memory_bytes=job.memory.total,
    )


def _finish(
    job: _Job,
    writer: StoreWriter,
    clock: _Clock,
    reader: ReadAhead,
    committer: RowCommitter,
    seconds_before: float,
) -> Finished:
    """Write the areas and the receipt; only then is the store complete."""
    committed = committer.committed
    areas = areas_mm2(job.layout.schema, committed.counts, job.options.mpp)
    errors = committed.read_errors
    unread = [f"{errors} tiles could not be read and were left blank"] if errors else []
    warnings = [*job.slide.warnings, *job.plan.warnings, *unread]
    tiles = committed.tiles
    _refuse_changed_slide(job)
    try:
        writer.set_areas(areas)
        receipt = {
            **job.description,
            "status": "done" if job.plan.tiles else "empty",
            "counters": {
                "tiles": tiles,
                "tiles_in_grid": job.plan.grid.rows * job.plan.grid.columns,
                "read_errors": errors,
                "doubts": count_doubts(job.out),
                "pixels_per_label": list(committed.counts),
            },
            "areas_mm2": areas,
            "tissue": job.plan.tissue,
            "warnings": warnings,
            "versions": versions(),
            "timings": {
                "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "seconds": round(seconds_before + clock.seconds, 3),
                "seconds_last_run": round(clock.seconds, 3),
                "seconds_reading": round(reader.busy_seconds, 3),
                "seconds_predicting": round(clock.predict_seconds, 3),
                "seconds_writing": round(committer.busy_seconds, 3),
            },
            "content_digest": writer.check(),
        }
        write_receipt(job.out, receipt)
        job.journal.remove()
    except OSError as error:
        raise disk_error(job.out, "cannot be completed", error, "mend it and run again to resume") from error
    return Finished(job.out, "done" if job.plan.tiles else "empty", tiles, clock.seconds, areas)


def _cached(out: Path) -> Finished:
    """Trust a finished store only after checking it."""
    checked = verify(out, recount=False)
    if not checked.ok:
        raise StoreDamagedError(checked.problem)
    receipt = read_receipt(out) or {}
    Journal(out / "journal").remove()
    return Finished(
        out,
        "empty" if receipt["status"] == "empty" else "cached",
        receipt["counters"]["tiles"],
        0.0,
        dict(receipt["areas_mm2"]),
    )


def _refuse_changed_slide(job: _Job) -> None:
    """Raise when the slide is not the file any more that its first rows were read from."""
    try:
        unchanged = job.slide.identity == job.description["slide"]
    except OSError:
        unchanged = False
    if not unchanged:
        raise SlideChangedError(
            f"{job.slide.path} was changed or moved while it was being read; "
            "when it is what it shall be, run the slide again with --restart."
        )


def _describe(slide: Slide, predictor: Predictor, options: RunOptions, layout: StoreLayout) -> dict[str, Any]:
    """Collect what decides the result: equal descriptions mean equal stores."""
    assert slide.resolution is not None
    grid = dataclasses.asdict(layout.grid)
    return {
        "name": layout.name,
        "slide": slide.identity,
        "resolution": dataclasses.asdict(slide.resolution),
        "mpp": options.mpp,
        "model": predictor.identity,
        "schema": layout.schema.to_dict(),
        "parameters": options.deciding(),
        "grid": {**grid, "origin": list(layout.grid.origin)},
        "cam_tile": layout.cam_grid.tile if layout.cam_grid else None,
        "notice": "Research use only, not for diagnosis.",
    }


def _refuse_difference(out: Path, earlier: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise when an existing store was made from something else."""
    # Who said how large a pixel is does not matter where both say the same.
    changes = [d for d in differences(earlier, now) if not d.startswith("resolution.source:")]
    if changes:
        shown = "; ".join(changes[:6]) + ("; …" if len(changes) > 6 else "")
        raise StoreMismatchError(
            f"{out} was made differently ({shown}); run with --restart to replace it or choose another --out."
        )


def _make_parent(out: Path) -> None:
    refuse_long_name(out)
    with disk_errors_as(StoreError, f"{out.parent} cannot be created", "choose another --out"):
        out.parent.mkdir(parents=True, exist_ok=True)
