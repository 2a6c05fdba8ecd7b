"""Running a batch: each slide alone, so that one bad slide never stops the others."""

from __future__ import annotations

import contextlib
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tiling.batch.jobs import SlideJob
from tiling.batch.summary import SlideOutcome, Status, Summary
from tiling.errors import RunTooLargeError, StoreError, WsssError, disk_errors_as
from tiling.files import (
    LEFTOVERS,
    MORE_MEMORY,
    PASSING,
    create_new,
    lacks_memory,
    open_own,
    refuse_address,
    temporary_name,
)
from tiling.untrusted import printable

__all__ = ["Isolated", "RunOne", "Scheduler", "one_after_another", "prepare_output", "run_batch"]

_OLD_S = 3600.0

#: Works on one slide. Must be picklable when slides are spread over processes.
RunOne = Callable[[SlideJob], SlideOutcome]
#: Applies a function to all jobs and yields outcomes as they come: one after another, or on a cluster.
Scheduler = Callable[[RunOne, Sequence[SlideJob]], Iterator[SlideOutcome]]


@dataclass(frozen=True)
class Isolated:
    """A function for one slide that fails alone: an error becomes an outcome and a log.

    Attributes
    ----------
    run_one : callable
        The work on one slide.
    logs : Path
        Folder for ``<slide_id>.log``, which holds the traceback of a failed slide.
    retries : int
        How often a slide is tried again after an input/output error that may pass (a network disk that was away).
    pause_s : float
        Seconds between such tries.
    """

    run_one: RunOne
    logs: Path
    retries: int = 1
    pause_s: float = 3.0

    def __call__(self, job: SlideJob) -> SlideOutcome:
        """Run one slide; never raises, except to stop the whole batch (KeyboardInterrupt, SystemExit)."""
        log = self.logs / f"{job.slide_id}.log"
        start = time.perf_counter()
        try:
            outcome = self._tried(job)
        except WsssError as error:
            return self._failed(job, _sentence(error), error.code, log, start)
        except Exception as error:  # noqa: BLE001 - whatever a slide does, the next one runs; the log has it all
            if lacks_memory(error):
                sentence = (
                    f"There is not enough memory for {job.path}; {MORE_MEMORY}, and run again to resume."
                )
                return self._failed(job, sentence, RunTooLargeError.code, log, start)
            sentence = f"{type(error).__name__}: {_sentence(error)} (traceback in {log})"
            return self._failed(job, sentence, "unexpected", log, start)
        with contextlib.suppress(OSError):
            log.unlink()  # of an earlier run that failed
        return outcome

    def _tried(self, job: SlideJob) -> SlideOutcome:
        for _ in range(self.retries):
            try:
                return self.run_one(job)
            except Exception as error:
                if not _may_pass(error):
                    raise
            time.sleep(self.pause_s)  # what is done so far stays; the next try goes on from there
        return self.run_one(job)

    def _failed(self, job: SlideJob, sentence: str, code: str, log: Path, start: float) -> SlideOutcome:
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(open_own(log), "ab") as file:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                entry = f"{now} [{code}] {printable(str(job.path))}\n{traceback.format_exc()}\n"
                file.write(entry.encode("utf-8", "backslashreplace"))
        except OSError as error:  # a full disk often is the reason of the failure itself
            sentence += f" (no log: {error.strerror or error})"
        seconds = time.perf_counter() - start
        return SlideOutcome(job.slide_id, job.path, Status.FAILED, seconds=seconds, error=sentence, code=code)


def one_after_another(run_one: RunOne, jobs: Sequence[SlideJob]) -> Iterator[SlideOutcome]:
    """Work on the slides in order, in this process: the plain scheduler."""
    return (run_one(job) for job in jobs)


def prepare_output(out: Path) -> None:
    """Make the output folder and check that it can be written to.

    Raises
    ------
    StoreError
        When it cannot, with the reason.
    """
    refuse_address(out)
    with disk_errors_as(StoreError, f"Output folder {out} cannot be written to", "choose another one"):
        out.mkdir(parents=True, exist_ok=True)
        probe = out / temporary_name()
        os.close(create_new(probe))
        probe.unlink()
        for leftover in out.glob(LEFTOVERS):  # of a killed process; a living one needs its own for a moment
            with contextlib.suppress(FileNotFoundError):  # it lived, and has just taken its own away
                if time.time() - leftover.lstat().st_mtime > _OLD_S:
                    leftover.unlink()


def run_batch(
    jobs: Sequence[SlideJob],
    run_one: RunOne,
    out: Path,
    *,
    schedule: Scheduler = one_after_another,
    on_warning: Callable[[str], None] | None = None,
) -> Iterator[SlideOutcome]:
    """Run all slides and keep ``summary.csv`` up to date.

    Parameters
    ----------
    jobs : sequence of SlideJob
    run_one : callable
        Makes the store of one slide and returns its outcome; may raise.
    out : Path
        Output folder, made if needed; gets ``summary.csv`` and, for failed slides, ``logs/<slide_id>.log``.
    schedule : callable
        How jobs are spread.
    on_warning : callable, optional
        Told in one sentence when the summary could not be written; the run goes on.

    Yields
    ------
    SlideOutcome
        As slides finish.

    Raises
    ------
    StoreError
        Before any work, when the output folder cannot be written to.
    """
    prepare_output(out)
    summary = Summary(out / "summary.csv")

    def told(update: Callable[[], None]) -> None:
        try:
            update()
        except StoreError as error:
            if on_warning is None:
                raise
            on_warning(str(error))

    try:
        for outcome in schedule(Isolated(run_one, out / "logs"), jobs):
            told(partial(summary.add, outcome))
            yield outcome
    finally:
        told(summary.close)


def _may_pass(error: BaseException | None) -> bool:
    """Tell whether an error comes from a disk or network that may be back in a moment."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in PASSING:
            return True
        error = error.__cause__ or error.__context__
    return False


def _sentence(error: BaseException) -> str:
    """Return the message of an error on one line."""
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
