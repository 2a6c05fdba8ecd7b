"""Slides on Dask workers: spread, resumed elsewhere when a worker dies, given up when it kills them all."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wsss_toys import slide_jobs as jobs

from tiling.batch.cluster import DaskScheduler, worker_number
from tiling.batch.isolated import Isolated, run_batch
from tiling.batch.jobs import SlideJob
from tiling.batch.summary import SlideOutcome
from tiling.errors import ClusterError

pytest.importorskip("distributed", reason="needs the extra 'cluster'")


def moody(folder: Path) -> Callable[[SlideJob], SlideOutcome]:
    """Return work that dies as its slide says; a nested function, so that it can go to workers."""

    def work(job: SlideJob) -> SlideOutcome:
        import os

        from tiling.batch.cluster import worker_number
        from tiling.batch.summary import SlideOutcome, Status

        first = not (folder / job.slide_id).exists()
        (folder / job.slide_id).touch()
        if job.slide_id.startswith("deadly") or (job.slide_id.startswith("unlucky") and first):
            os._exit(9)
        if job.slide_id.startswith("bad"):
            raise ValueError("bad slide")
        return SlideOutcome(job.slide_id, job.path, Status.DONE, tiles=worker_number() or 0)

    return work


@pytest.mark.slow
def test_a_dead_worker_costs_at_most_its_own_slide(tmp_path: Path) -> None:
    names = ["a", "unlucky", "b", "deadly", "c", "bad", "d", "e"]
    outcomes = run_batch(jobs(*names), moody(tmp_path), tmp_path / "out", schedule=DaskScheduler(workers=2))
    found = {outcome.slide_id: outcome for outcome in outcomes}
    assert sorted(found) == sorted(names)
    assert {name for name in names if found[name].status == "failed"} == {"deadly", "bad"}
    assert "Its worker was lost" in found["deadly"].error
    assert found["bad"].error.startswith("ValueError: bad slide")
    assert (tmp_path / "out" / "logs" / "bad.log").is_file()
    assert (tmp_path / "out" / "summary.csv").read_text().count("\n") == len(names) + 1


def test_outside_of_dask_there_is_no_worker_number() -> None:
    assert worker_number() is None


def test_a_scheduler_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiling.batch.cluster._WAIT_FOR_SCHEDULER_S", 0.2)
    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:1 cannot be reached"):
        next(DaskScheduler(address="tcp://127.0.0.1:1")(moody(Path()), jobs("a")))
    with pytest.raises(ClusterError, match="nonsense cannot be reached"):
        next(DaskScheduler(address="nonsense")(moody(Path()), jobs("a")))


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"napari-wsss\[cluster\]"):
        next(DaskScheduler()(moody(Path()), jobs("a")))


def test_gpu_workers_are_asked_for_as_a_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only workers that have a GPU get such slides; local ones share the GPUs by their number instead."""
    asked: list[Any] = []

    class Done:
        status = "finished"

        def result(self) -> str:
            return "outcome"

    class Client:
        def __init__(self, **_: Any) -> None: ...
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None: ...
        def nthreads(self) -> dict[str, int]:
            return {"tcp://one": 1, "tcp://two": 1}

        def submit(self, *_: Any, resources: Any, **__: Any) -> Done:
            asked.append(resources)
            return Done()

    class Waited:
        def __init__(self, done: list[Done]) -> None:
            self.done = done

    import distributed

    monkeypatch.setattr(distributed, "Client", Client)
    monkeypatch.setattr(distributed, "wait", lambda futures, **_: Waited(futures))
    work = moody(Path())
    assert len(list(DaskScheduler(address="tcp://x", gpu=True)(work, jobs("a", "b", "c")))) == 3
    assert asked == [{"GPU": 1}] * 3
    list(DaskScheduler(address="tcp://x")(work, jobs("a")))
    assert asked[-1] is None


def test_an_error_that_may_pass_is_tried_again(tmp_path: Path) -> None:
    tries: list[str] = []

    def flaky(job: SlideJob) -> SlideOutcome:
        tries.append(job.slide_id)
        if len(tries) == 1:
            try:
                raise OSError(builtins.__import__("errno").ESTALE, os.strerror(116))
            except OSError as error:
                raise RuntimeError("while reading") from error
        return moody(tmp_path)(job)

    outcome = Isolated(flaky, tmp_path / "logs", pause_s=0)(jobs("a")[0])
    assert (outcome.status, tries) == ("done", ["a", "a"])

    def broken(job: SlideJob) -> SlideOutcome:
        tries.append(job.slide_id)
        raise OSError(28, "No space left on device")

    tries.clear()
    outcome = Isolated(broken, tmp_path / "logs", pause_s=0)(jobs("a")[0])
    assert (outcome.status, tries) == ("failed", ["a"])


@pytest.mark.parametrize(
    "error", [OSError(30, "Read-only file system"), RuntimeError("Nanny failed to start.")]
)
def test_workers_that_cannot_start_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As on a machine without shared memory."""
    distributed = pytest.importorskip("distributed")

    def refuse(**_: object) -> None:
        raise error

    monkeypatch.setattr(distributed, "LocalCluster", refuse)
    with pytest.raises(ClusterError, match="run without --workers"):
        list(DaskScheduler(workers=2)(str, []))  # type: ignore[arg-type]
