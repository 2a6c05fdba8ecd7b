"""A batch goes on whatever a slide does, and its summary is true at every moment."""

from __future__ import annotations

import csv
import pickle
import threading
from pathlib import Path

import pytest
from wsss_toys import slide_jobs as jobs

from tiling.batch.isolated import Isolated, prepare_output, run_batch
from tiling.batch.jobs import SlideJob
from tiling.batch.summary import SlideOutcome, Status, Summary, exit_code
from tiling.errors import SlideError, StoreError


def done(job: SlideJob, status: Status = Status.DONE) -> SlideOutcome:
    return SlideOutcome(job.slide_id, job.path, status, 10, 4.0, {"TUM": 1.5, "STR": 0.25})


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def moody(job: SlideJob) -> SlideOutcome:
    """Fail in the way the name of the slide says."""
    if job.slide_id == "typed":
        raise SlideError("Slide /slides/typed.svs\n cannot be opened; check it.")
    if job.slide_id == "bug":
        return done(jobs("bug")[1])
    if job.slide_id == "memory":
        raise MemoryError
    return done(job, Status.EMPTY if job.slide_id == "white" else Status.DONE)


def test_one_bad_slide_never_stops_the_others(tmp_path: Path) -> None:
    outcomes = list(
        run_batch(jobs("a", "typed", "bug", "memory", "white", "z"), moody, tmp_path / "new" / "out")
    )
    assert [o.status for o in outcomes] == ["done", "failed", "failed", "failed", "empty", "done"]
    assert exit_code(outcomes) == 1
    assert exit_code(o for o in outcomes if o.status != "failed") == 0
    rows = {row["slide_id"]: row for row in read(tmp_path / "new" / "out" / "summary.csv")}
    assert rows["typed"]["error"] == "Slide /slides/typed.svs cannot be opened; check it."
    assert rows["bug"]["error"].startswith("IndexError: list index out of range (traceback in ")
    assert rows["memory"]["error"].startswith(
        "There is not enough memory for /slides/memory.svs; close other"
    )
    logs = tmp_path / "new" / "out" / "logs"
    assert sorted(p.name for p in logs.iterdir()) == ["bug.log", "memory.log", "typed.log"]
    assert "Traceback" in (logs / "bug.log").read_text()


def test_a_slide_that_succeeds_later_loses_its_log(tmp_path: Path) -> None:
    list(run_batch(jobs("bug"), moody, tmp_path))
    list(run_batch(jobs("bug"), done, tmp_path))
    assert list((tmp_path / "logs").iterdir()) == []
    assert [row["status"] for row in read(tmp_path / "summary.csv")] == ["done"]


def test_summary_columns_and_numbers(tmp_path: Path) -> None:
    list(run_batch(jobs("a"), done, tmp_path))
    assert (tmp_path / "summary.csv").read_text().splitlines() == [
        "slide_id,path,status,tiles,seconds,tiles_per_s,area_mm2_TUM,area_mm2_STR,error",
        "a,/slides/a.svs,done,10,4.00,2.50,1.500000,0.250000,",
    ]


def test_rows_of_earlier_runs_stay_and_other_classes_get_their_columns(tmp_path: Path) -> None:
    list(run_batch(jobs("b", "a"), done, tmp_path))
    list(
        run_batch(
            jobs("b"),
            lambda job: SlideOutcome(job.slide_id, job.path, Status.DONE, areas={"NEC": 2}),
            tmp_path,
        )
    )
    a, b = read(tmp_path / "summary.csv")
    assert (a["slide_id"], a["area_mm2_TUM"], a["area_mm2_NEC"]) == ("a", "1.500000", "")
    assert (b["slide_id"], b["area_mm2_TUM"], b["area_mm2_NEC"]) == ("b", "", "2.000000")
    assert list(a)[-1] == "error"


def test_summary_is_written_after_every_slide(tmp_path: Path) -> None:
    seen = [len(read(tmp_path / "summary.csv")) for _ in run_batch(jobs("a", "b", "c"), done, tmp_path)]
    assert seen == [1, 2, 3]


def test_an_interrupt_stops_the_batch_and_keeps_the_rows(tmp_path: Path) -> None:
    def interrupted(job: SlideJob) -> SlideOutcome:
        if job.slide_id == "b":
            raise KeyboardInterrupt
        return done(job)

    with pytest.raises(KeyboardInterrupt):
        list(run_batch(jobs("a", "b", "c"), interrupted, tmp_path))
    assert [row["slide_id"] for row in read(tmp_path / "summary.csv")] == ["a"]


def test_shards_in_one_folder_lose_no_rows(tmp_path: Path) -> None:
    def shard(number: int) -> None:
        list(run_batch(jobs(*(f"{number}-{i}" for i in range(12))), done, tmp_path))

    threads = [threading.Thread(target=shard, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(tmp_path / "summary.csv")) == 48
    assert [p.name for p in tmp_path.iterdir()] == ["summary.csv"]


def test_a_neighbour_takes_its_probe_away_while_we_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "glob", lambda folder, _pattern: iter([folder / ".wsss-0123456789abcdef.tmp"]))
    prepare_output(tmp_path)


def test_the_lock_of_a_killed_process_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / ".summary.csv.lock").touch()
    Summary(tmp_path / "summary.csv").add(done(jobs("a")[0]))
    assert len(read(tmp_path / "summary.csv")) == 1


def test_an_alien_summary_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text("something,else\n1,2\n")
    warnings: list[str] = []
    outcomes = list(run_batch(jobs("a"), done, tmp_path, on_warning=warnings.append))
    assert [o.status for o in outcomes] == ["done"]
    assert "no column slide_id" in warnings[0]
    assert (tmp_path / "summary.csv").read_text() == "something,else\n1,2\n"


@pytest.mark.parametrize("out", ["file/sub", "file"])
def test_an_unwritable_output_is_refused_before_any_work(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written to"):
        next(run_batch(jobs("a"), pytest.fail, tmp_path / out))
    with pytest.raises(StoreError, match="cannot be written to"):
        prepare_output(tmp_path / out)


def test_the_isolated_function_can_go_to_another_process(tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(Isolated(moody, tmp_path)))
    assert again(jobs("a")[0]) == done(jobs("a")[0])
