"""A store through its whole life, in any order: run, stop, kill, damage, lock, resume, verify, restart."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
import zarr
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from wsss_toys import ColourPredictor, colourful

from tiling.engine import BlockWritten, Finished, Planned, run
from tiling.errors import StoreError, StoreLockedError
from tiling.plan import RunOptions
from tiling.slides import ArrayReader, Slide
from tiling.store import StoreLock, verify
from tiling.store.journal import Journal

PICTURE = colourful(330, 100)
OPTIONS = RunOptions(mpp=0.5, tissue=None, batch_size=8)
TRUTH = PICTURE.argmax(-1) + 1


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it or tidy up after it on disk."""


class StoreLife(RuleBasedStateMachine):
    """The model knows how many rows are committed at least, and whether somebody has damaged a file.

    Labels are read with zarr alone and compared with the truth of the picture: whatever was done before, a store that
    `verify` calls complete holds exactly them, and a damaged one is refused until it is started over.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.out = self.folder / "a.zarr"
        self.rows = 0
        self.finished = False
        self.damaged = False

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def go(self, blocks: int | None, resume: bool = True) -> None:
        """Run until so many rows more are committed; None: to the end."""
        with Slide(ArrayReader(PICTURE, mpp=0.5)) as slide:
            events = run(slide, ColourPredictor(32), self.out, OPTIONS, resume=resume)
            try:
                for event in events:
                    if isinstance(event, Planned):
                        assert event.rows_done >= self.rows if resume else event.rows_done == 0
                        self.rows, self.finished = event.rows_done, False
                    elif isinstance(event, BlockWritten):
                        self.rows = event.row + 1
                        blocks = None if blocks is None else blocks - 1
                        if blocks == 0:
                            break
                    elif isinstance(event, Finished):
                        self.finished = True
            finally:
                events.close()

    @precondition(lambda self: not self.damaged)
    @rule(blocks=st.one_of(st.none(), st.integers(1, 4)))
    def run_on(self, blocks: int | None) -> None:
        self.go(blocks)

    @rule(blocks=st.one_of(st.none(), st.integers(1, 4)))
    def start_over(self, blocks: int | None) -> None:
        self.rows, self.damaged = 0, False
        self.go(blocks, resume=False)

    @precondition(lambda self: not self.damaged and not self.finished)
    @rule(
        step=st.sampled_from(
            [
                "tiling.store.journal.Journal.commit",
                "tiling.store.writer.StoreWriter.append_tiles",
                "tiling.store.writer.StoreWriter.set_areas",
                "tiling.engine.drive.write_receipt",
                "tiling.store.journal.Journal.remove",
                "tiling.store.chunks._write_file",
                "tiling.store.chunks.os.replace",
            ]
        ),
        after=st.booleans(),
        skip=st.integers(0, 12),
    )
    def kill(self, step: str, after: bool, skip: int) -> None:
        """Kill before or after one step of the writing."""
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, step, after, skip)
            try:
                self.go(None)
            except Killed:
                self.rows = max(self.rows, Journal(self.out / "journal").committed().rows)
        self.finished = (self.out / "receipt.json").exists()

    @precondition(lambda self: self.rows > 0 and not self.damaged)
    @rule(
        chunks=st.sampled_from([True, True, True, False]),
        number=st.integers(0, 10**6),
        how=st.sampled_from(["lost", "torn", "flipped", "swapped"]),
    )
    def damage(self, chunks: bool, number: int, how: str) -> None:
        """Hurt a file that a committed row has made final."""
        files = [p for p in sorted(self.out.rglob("*")) if p.is_file() and self.is_final(p)]
        files = [p for p in files if (p.suffix != ".json") == chunks]
        victim = files[number % len(files)]
        content = victim.read_bytes()
        if how == "lost":
            if victim.name in ("receipt.json", "run.json"):  # then it is an unfinished store, or none of ours
                return
            victim.unlink()
        elif how == "torn":
            victim.write_bytes(content[: len(content) // 2])
        elif how == "flipped":
            victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        else:
            other = files[(number + 1) % len(files)]
            if other.read_bytes() == content:
                return
            victim.write_bytes(other.read_bytes())
        self.damaged = True

    def is_final(self, path: Path) -> bool:
        name = path.relative_to(self.out).as_posix()
        if self.finished:
            return not name.startswith("journal/")
        # What else is chunked along the rows may be of a row that is not committed.
        is_first = self.rows > 8 and re.fullmatch(r"labels/tissue/0/c/0/\d+", name)
        is_whole = re.fullmatch(r"\d/c/.+|tiles/[xy]/c.+|(?!labels/tissue/zarr).*zarr\.json|run\.json", name)
        return bool(is_first or is_whole)

    @precondition(lambda self: self.damaged)
    @rule()
    def damage_is_refused(self) -> None:
        assert not verify(self.out).ok
        try:
            self.go(None)
        except StoreError:
            return
        raise AssertionError("a damaged store was resumed")

    @precondition(lambda self: self.out.exists())
    @rule()
    def a_second_writer_is_refused(self) -> None:
        with StoreLock(self.out):
            try:
                self.go(1)
            except StoreLockedError:
                return
        raise AssertionError("two writers")

    @invariant()
    def what_is_called_complete_is_the_truth(self) -> None:
        whole = self.out.exists() and verify(self.out).ok
        assert whole == (self.finished and not self.damaged)
        if whole:
            labels = zarr.open_array(self.out / "labels" / "tissue" / "0", mode="r")[...]
            np.testing.assert_array_equal(labels, TRUTH)

    @invariant()
    def nothing_is_left_beside_the_store(self) -> None:
        names = {
            p.name for p in self.folder.iterdir() if not p.name.startswith(".wsss-")
        }  # a later run removes those
        assert names <= {"a.zarr"}


def kill_at(patch: pytest.MonkeyPatch, step: str, after: bool, skip: int) -> None:
    """Raise `Killed` before or after the call number `skip` of a function of ours."""
    owner, _, name = step.rpartition(".")
    original, calls = resolve_name(step), 0

    def killing(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls <= skip:
            return original(*args, **kwargs)
        if after:
            original(*args, **kwargs)
        raise Killed

    patch.setattr(resolve_name(owner), name, killing)


TestStoreLife = StoreLife.TestCase
TestStoreLife.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
