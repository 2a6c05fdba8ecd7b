"""Finished tile rows on their way to disk: one writing thread, then one journal line."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.engine.events import BlockWritten
from tiling.errors import StoreError
from tiling.folders import RUN
from tiling.geometry import Box
from tiling.plan import RunPlan
from tiling.store import Committed, Journal, StoreWriter, disk_error

__all__ = ["FinishedRow", "RowCommitter"]


@dataclass(frozen=True)
class FinishedRow:
    """All that one tile row made final.

    Attributes
    ----------
    row : int
    first : int
        First canvas line.
    lines : dict
        Image name → finished lines (n, width) uint8; ``"labels"`` before the tissue mask is applied.
    table : dict
        Tile table columns, ``grid.columns`` entries each.
    carry : dict
        State that the next row starts from.
    tiles, read_errors : int
    """

    row: int
    first: int
    lines: dict[str, NDArray[np.uint8]]
    table: dict[str, NDArray[Any]]
    carry: dict[str, NDArray[Any]]
    tiles: int
    read_errors: int


@dataclass
class RowCommitter:
    """Writes finished rows in order, one at a time, in a thread of its own (a context manager).

    Attributes
    ----------
    plan, writer, journal
        Where rows come from and go to.
    committed : Committed
        Totals over all committed rows.
    started : float
        When this run began, by ``time.perf_counter``.
    busy_seconds : float
        Time spent writing.
    """

    plan: RunPlan
    writer: StoreWriter
    journal: Journal
    committed: Committed
    started: float
    busy_seconds: float = 0.0
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="wsss-write")
    )
    _pending: Future[BlockWritten | None] | None = None
    _seconds_before: float = field(init=False)

    def __post_init__(self) -> None:
        self._seconds_before = self.committed.seconds

    def __enter__(self) -> RowCommitter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        # A row that is being written is worth finishing: it need not be computed again.
        self._pool.shutdown(wait=True)

    def begin(self) -> None:
        """Write what does not depend on any row; a kill before the first row is committed starts over anyway."""
        self._pending = self._pool.submit(self._guarded, self._write_overview)

    def submit(self, row: FinishedRow) -> BlockWritten | None:
        """Hand over a row; waits for the one before and returns its event.

        At most one finished row is ever uncommitted, so a kill costs at most one finished row.
        """
        before = self.wait()
        self._pending = self._pool.submit(self._guarded, self._commit, row)
        return before

    def poll(self) -> BlockWritten | None:
        """Return the event of the pending row if it is committed by now."""
        return self.wait() if self._pending is not None and self._pending.done() else None

    def wait(self) -> BlockWritten | None:
        """Wait for the pending row and return its event, None when there is none."""
        if self._pending is None:
            return None
        event = self._pending.result()
        self._pending = None
        return event

    def _guarded(self, write: Callable[..., BlockWritten | None], *what: FinishedRow) -> BlockWritten | None:
        """Write something; errors of the disk become ours."""
        started = time.perf_counter()
        folder = self.journal.folder.parent
        gone = f"{folder} was deleted or moved while it was being written; run the slide again."
        try:
            return write(*what)
        except OSError as error:
            if not (folder / RUN).exists():
                raise StoreError(gone) from error
            raise disk_error(
                folder, "cannot be written any more", error, "mend it and run again to resume"
            ) from error
        finally:
            self.busy_seconds += time.perf_counter() - started

    def _write_overview(self) -> None:
        self.writer.write_overview(self.plan.overview)

    def _commit(self, row: FinishedRow) -> BlockWritten:
        labels = row.lines["labels"]
        wanted = self.plan.wanted(row.first, row.first + len(labels))
        if wanted is not None:
            np.multiply(labels, wanted, out=labels)
        for name, lines in row.lines.items():
            self.writer.images[name].append(lines)
        self.writer.append_tiles(row.table)
        before = self.committed
        committed = Committed(
            rows=row.row + 1,
            tiles=before.tiles + row.tiles,
            counts=self._counts(labels),
            seconds=round(self._seconds_before + time.perf_counter() - self.started, 4),
            read_errors=before.read_errors + row.read_errors,
            chunks=self.writer.tallies(),
        )
        self.journal.commit(committed, {**row.carry, **self.writer.pending()})
        self.committed = committed
        box = Box(0, row.first, labels.shape[1], labels.shape[0])
        return BlockWritten(row.row, box, labels, np.array(committed.counts, np.int64))

    def _counts(self, labels: NDArray[np.uint8]) -> tuple[int, ...]:
        """Return the pixels per store label over all rows, these lines included."""
        before = self.committed.counts
        filled = [int(np.count_nonzero(labels == value)) for value in range(1, len(before))]
        here = (labels.size - sum(filled), *filled)
        return tuple(a + b for a, b in zip(before, here, strict=True))
