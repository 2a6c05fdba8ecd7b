"""``summary.csv``: no writer undoes another, a kill costs only its own line, and ten thousand slides are cheap."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tiling.batch import summary as module
from tiling.batch.isolated import Isolated, run_batch
from tiling.batch.jobs import SlideJob
from tiling.batch.summary import SlideOutcome, Status, Summary
from tiling.errors import SlideError


def outcome(slide_id: str, status: Status = Status.DONE, error: str = "", **areas: float) -> SlideOutcome:
    return SlideOutcome(
        slide_id, Path("/s") / f"{slide_id}.svs", status, 3, 1.5, areas or {"TUM": 1.0}, error
    )


def lines(path: Path) -> list[dict[str, str]]:
    """Read as any other program would."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def statuses(path: Path) -> dict[str, str]:
    """Where a slide has two lines the later one counts."""
    return {row["slide_id"]: row["status"] for row in lines(path)}


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of four rows counts as large."""
    monkeypatch.setattr(module, "_CHEAP_ROWS", 3)


def test_a_writer_does_not_bring_back_its_old_rows(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    a, b = Summary(path), Summary(path)
    b.add(outcome("one", Status.FAILED, "broken"))
    a.add(outcome("one", Status.DONE))
    b.add(outcome("two"))
    assert statuses(path) == {"one": "done", "two": "done"}


def test_a_large_table_grows_by_lines_and_ends_sorted_with_one_line_each(tmp_path: Path, large: None) -> None:
    path = tmp_path / "summary.csv"
    writer = Summary(path)
    for name in "dbca":
        writer.add(outcome(name))
    before = path.stat().st_ino, path.read_bytes()
    writer.add(outcome("aa"))
    writer.add(outcome("b", Status.CACHED))
    assert path.stat().st_ino == before[0]
    assert path.read_bytes().startswith(before[1])
    assert statuses(path)["b"] == "cached"
    writer.close()
    assert [row["slide_id"] for row in lines(path)] == ["a", "aa", "b", "c", "d"]


def test_a_line_that_a_kill_cut_off_costs_only_itself(tmp_path: Path, large: None) -> None:
    path = tmp_path / "summary.csv"
    for name in "abcde":
        Summary(path).add(outcome(name))
    whole = path.read_bytes()
    start = whole[:-2].rindex(b"\n") + 1
    for cut in range(start, len(whole) - 3):
        path.write_bytes(whole[:cut])
        Summary(path).add(outcome("f", Status.EMPTY))
        found = statuses(path)
        assert found.pop("f") == "empty"
        assert found == dict.fromkeys("abcd", "done"), whole[start:cut]


def test_a_table_taken_away_in_the_middle_comes_back(tmp_path: Path, large: None) -> None:
    path = tmp_path / "summary.csv"
    writer = Summary(path)
    for name in "abcde":
        writer.add(outcome(name))
    path.unlink()
    writer.add(outcome("f"))
    assert list(statuses(path)) == list("abcdef")


def test_a_table_saved_by_a_spreadsheet_is_taken_over(tmp_path: Path, large: None) -> None:
    path = tmp_path / "summary.csv"
    writer = Summary(path)
    for name in "abcde":
        writer.add(outcome(name))
    text = path.read_text().replace("done", "failed", 1).rstrip("\r\n")
    path.write_text("\ufeff" + text, encoding="utf-8")
    writer.add(outcome("f"))
    assert statuses(path) == {"a": "failed", **dict.fromkeys("bcdef", "done")}


@pytest.mark.parametrize(
    "slide_id", ["=1+2", "@SUM(1)", "+cmd", "-2", "'=1", "\tx", "a\nb", "a,b", 'a"b', "\x1b[2J"]
)
def test_no_id_runs_in_a_spreadsheet_and_each_keeps_one_row(tmp_path: Path, slide_id: str) -> None:
    path = tmp_path / "summary.csv"
    for status in (Status.FAILED, Status.DONE):
        Summary(path).add(outcome(slide_id, status, f"={slide_id}"))
    (row,) = lines(path)
    assert row["status"] == "done"
    assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r")) for value in row.values())
    assert path.read_text().count("\n") == 2
    assert "\x1b" not in path.read_text()


def test_names_that_are_no_utf8_stop_neither_the_batch_nor_a_later_one(tmp_path: Path) -> None:
    name = os.fsdecode(b"Pr\xe4parat")

    def fails(job: SlideJob) -> SlideOutcome:
        raise SlideError(f"{job.path} is broken")

    jobs = [SlideJob(name, tmp_path / f"{name}.svs"), SlideJob("b", tmp_path / "b.svs")]
    for _ in range(2):
        found = list(run_batch(jobs, fails, tmp_path / "out"))
        assert [(o.status, o.code) for o in found] == [(Status.FAILED, "slide")] * 2
    assert len(lines(tmp_path / "out" / "summary.csv")) == 2
    (log,) = (p for p in (tmp_path / "out" / "logs").iterdir() if p.name != "b.log")
    assert "[slide]" in log.read_text()


def test_logs_carry_the_code_and_are_not_written_through_links(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").symlink_to(victim)

    def bug(job: SlideJob) -> SlideOutcome:
        raise ZeroDivisionError(job.slide_id)

    found = Isolated(bug, tmp_path / "logs")(SlideJob("a", tmp_path / "a.svs"))
    assert (found.code, "no log" in found.error) == ("unexpected", True)
    assert victim.read_text() == "precious"
    assert Isolated(bug, tmp_path / "logs")(SlideJob("b", tmp_path / "b.svs")).code == "unexpected"
    assert "[unexpected]" in (tmp_path / "logs" / "b.log").read_text()


@pytest.mark.parametrize("again", [False, True], ids=["new slides", "slides that ran before"])
def test_the_cost_of_a_slide_does_not_grow_with_the_table(tmp_path: Path, again: bool) -> None:
    """Bytes written, not seconds: a rewrite of 4,000 rows for every slide would be 1,000 times as many."""
    path = tmp_path / "summary.csv"
    names = [f"slide-{number:05}" for number in range(4000)]
    with mock.patch.object(module, "_CHEAP_ROWS", 10**9):
        writer = Summary(path)
        writer._rows = {name: module._as_row(outcome(name)) for name in names}
        writer.add(outcome(names[0]))
    rewrites = 0
    original = Summary._rewrite

    def counted(self: Summary) -> None:
        nonlocal rewrites
        rewrites += 1
        original(self)

    started = time.perf_counter()
    with mock.patch.object(Summary, "_rewrite", counted):
        writer = Summary(path)
        for number in range(300):
            writer.add(outcome(names[number] if again else f"new-{number}", Status.CACHED))
        assert rewrites == 0
        writer.close()
    assert rewrites == 1
    assert time.perf_counter() - started < 60
    assert len(lines(path)) == len(statuses(path)) == (4000 if again else 4300)


IDS = st.sampled_from(["a", "b", "=c", "d\n", "e", "f"])


class TwoWriters(RuleBasedStateMachine):
    """Two processes share a summary; the model is a dictionary, the file is read without our code."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "summary.csv"
        self.writers = [Summary(self.path), Summary(self.path)]
        self.model: dict[str, str] = {}
        self.torn: tuple[bytes, bytes, dict[str, str]] | None = None
        self.patch = mock.patch.object(module, "_CHEAP_ROWS", 2)
        self.patch.start()

    def teardown(self) -> None:
        self.patch.stop()
        shutil.rmtree(self.folder)

    @rule(
        writer=st.integers(0, 1),
        slide_id=IDS,
        status=st.sampled_from(Status),
        area=st.sampled_from(["TUM", "NEC"]),
    )
    def add(self, writer: int, slide_id: str, status: Status, area: str) -> None:
        before, model = self.path.read_bytes() if self.path.exists() else b"", dict(self.model)
        self.writers[writer].add(outcome(slide_id, status, "", **{area: 1.0}))
        self.model[self.shown(slide_id)] = status.value
        after = self.path.read_bytes()
        self.torn = (before, after[len(before) :], model) if before and after.startswith(before) else None

    @precondition(lambda self: self.torn is not None)
    @rule(share=st.floats(0, 0.9), writer=st.integers(0, 1))
    def kill_in_the_middle_of_a_line(self, share: float, writer: int) -> None:
        assert self.torn is not None
        before, line, self.model = self.torn
        self.path.write_bytes(before + line[: int(share * (len(line) - 3))])
        self.torn = None
        self.writers = (
            [Summary(self.path), self.writers[1]] if writer else [self.writers[0], Summary(self.path)]
        )
        # The next row mends the table; until then a reader may see half a line.
        self.add(writer, "e", Status.DONE, "TUM")

    @rule(writer=st.integers(0, 1))
    def end_and_start_again(self, writer: int) -> None:
        self.writers[writer].close()
        self.writers[writer] = Summary(self.path)
        self.torn = None

    @rule(writer=st.integers(0, 1))
    def killed_between_slides(self, writer: int) -> None:
        self.writers[writer] = Summary(self.path)

    @invariant()
    def the_file_tells_the_last_outcome_of_each_slide(self) -> None:
        found = statuses(self.path) if self.path.exists() else {}
        assert found == self.model

    @staticmethod
    def shown(slide_id: str) -> str:
        return {"=c": "'=c", "d\n": r"d\n"}.get(slide_id, slide_id)


TestTwoWriters = TwoWriters.TestCase
TestTwoWriters.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@pytest.fixture(autouse=True)
def _no_lock_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not (tmp_path / ".summary.csv.lock").exists()
