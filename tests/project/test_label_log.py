"""The label log: every decision that was confirmed is there afterwards, whatever happens to the writer."""

from __future__ import annotations

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from napari_wsss.project.decisions import Decision, in_force, last_action
from napari_wsss.project.label_log import COLUMNS, LabelLog
from tiling.errors import LabelError

CLASSES = 3
READERS = ("KL", 'M, "M"', "")


def decision(
    tile: int,
    labels: tuple[bool, ...] | None,
    reader: str = "KL",
    time: str = "t",
    cancels: int | None = None,
) -> Decision:
    return Decision(0, time, reader, tile * 224.4, 0.0, 224.4, 0.5, labels, "click", cancels)


class Log(RuleBasedStateMachine):
    """A log that is written, torn, reopened and read by others, against a list of what was confirmed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "labels" / "a.csv"
        self.log = LabelLog(self.path, CLASSES)
        self.stack: list[list[Decision]] = []  # what stands, newest last
        self.clock = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    def tick(self) -> str:
        self.clock += 1
        return f"2026-01-01T00:00:00.{self.clock:06d}+00:00"

    @rule(
        tiles=st.sets(st.integers(0, 4), min_size=1, max_size=3),
        labels=st.tuples(*[st.booleans()] * CLASSES),
        reader=st.sampled_from(READERS),
    )
    def label(self, tiles: set[int], labels: tuple[bool, ...], reader: str) -> None:
        time = self.tick()
        self.stack.append([*self.log.append([decision(t, labels, reader, time) for t in sorted(tiles)])])

    @precondition(lambda self: self.stack)
    @rule()
    def undo(self) -> None:
        found = last_action(self.log.decisions())
        assert found == self.stack.pop()
        time = self.tick()
        self.log.append([decision(round(d.x / 224.4), None, d.reader, time, cancels=d.line) for d in found])

    @rule(share=st.floats(0, 1), labels=st.tuples(*[st.booleans()] * CLASSES))
    def killed_while_writing(self, share: float, labels: tuple[bool, ...]) -> None:
        """Of the next line only a part reaches the disk; the writer is gone."""
        whole = self.path.read_bytes() if self.path.exists() else b""
        line = self.log.append([decision(0, labels, "XX", self.tick())])
        content = self.path.read_bytes()
        kept = len(whole) + int(share * (len(content) - len(whole) - 1))
        self.path.write_bytes(content[:kept])
        del line
        self.log = LabelLog(self.path, CLASSES)

    @rule()
    def reopen(self) -> None:
        self.log = LabelLog(self.path, CLASSES)

    @invariant()
    def what_is_in_force_is_what_was_said(self) -> None:
        expected: dict[tuple[tuple[int, int], str], tuple[bool, ...]] = {}
        for action in self.stack:
            for d in action:
                assert d.labels is not None
                expected[d.tile, d.reader] = d.labels
        expected = {key: labels for key, labels in expected.items() if any(labels)}
        for log in (self.log, LabelLog(self.path, CLASSES)):
            found = {(d.tile, d.reader): d.labels for d in in_force(log.decisions())}
            assert found == expected


TestLog = Log.TestCase
TestLog.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


def test_the_file_has_the_columns_of_the_contract(tmp_path: Path) -> None:
    log = LabelLog(tmp_path / "a.csv", CLASSES)
    log.append([decision(1, (True, False, True), 'L, "K"')])
    log.append([decision(1, None, cancels=2)])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0] | {"time": ""} == {
        "time": "",
        "reader": 'L, "K"',
        "x": "224.4",
        "y": "0",
        "side": "224.4",
        "mpp": "0.5",
        "labels": "1 0 1",
        "source": "click",
        "cancels": "",
    }
    assert (rows[1]["labels"], rows[1]["cancels"]) == ("", "2")


def test_a_torn_line_is_set_aside_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    LabelLog(path, CLASSES).append([decision(1, (True, False, False)), decision(2, (False, True, False))])
    path.write_bytes(path.read_bytes()[:-1])  # only the line's end is missing: the line may not be whole
    reader = LabelLog(path, CLASSES)
    assert len(reader.decisions()) == 1
    assert path.read_bytes().endswith(b",click,")  # a reader changes nothing
    reader.append([decision(3, (True, False, False))])
    assert [d.tile[0] for d in LabelLog(path, CLASSES).decisions()] == [224, 673]
    assert b",0 1 0,click," in (tmp_path / "a.csv.torn").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"1 0 0", b"1 0", "2 labels, and the project has 3 classes"),
        (b"1 0 0", b"1 0 2", "not 0 and 1"),
        (b"click", b"guess", "line 2"),
        (b"224.4", b"nan", "no number"),
        (b"click,", b"click,9", "no earlier decision"),
        (b"1 0 0", b"", "neither labels nor a line"),
        (b"reader", b"who", "other columns"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, old: bytes, new: bytes, said: str) -> None:
    path = tmp_path / "a.csv"
    LabelLog(path, CLASSES).append([decision(1, (True, False, False))])
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(LabelError, match=said) as caught:
        LabelLog(path, CLASSES).decisions()
    assert str(path) in str(caught.value)


def test_a_full_disk_keeps_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    log = LabelLog(path, CLASSES)
    log.append([decision(1, (True, False, False))])
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_wsss.project.label_log.os.fsync", full)
    with pytest.raises(LabelError, match="No space left"):
        log.append([decision(2, (True, False, False))])
    assert path.read_bytes() == before
    assert len(log.decisions()) == 1


def test_a_redo_takes_an_undo_back(tmp_path: Path) -> None:
    log = LabelLog(tmp_path / "a.csv", CLASSES)
    log.append([decision(1, (True, False, False))])
    log.append([decision(1, None, cancels=2)])
    assert in_force(log.decisions()) == []
    log.append([decision(1, None, cancels=3)])
    assert [d.line for d in in_force(log.decisions())] == [2]
