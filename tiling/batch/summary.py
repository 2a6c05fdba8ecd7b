"""What became of each slide of a batch: statuses, the exit code they give, and ``summary.csv``."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from filelock import FileLock

from tiling.errors import StoreError
from tiling.files import open_own, read_regular, replacing, sync
from tiling.untrusted import plain_cell, printable, safe_cell

__all__ = ["SUMMARY", "SlideOutcome", "Status", "Summary", "exit_code"]

SUMMARY = "summary.csv"
"""Name of the table in an output folder."""

_FIRST = ("slide_id", "path", "status", "tiles", "seconds", "tiles_per_s")
_AREA = "area_mm2_"
_LAST = ("error",)
_PATIENCE_S = 60.0
_TAIL = 256  # bytes at the end of what is known of a file, by which it is known again
_CHEAP_ROWS = 200
"""A table of so few rows is written whole, in order, for every slide; a larger one grows by single lines."""


class Status(StrEnum):
    """What became of a slide."""

    DONE = "done"
    CACHED = "cached"  # complete already, its receipt was checked
    EMPTY = "empty"  # no tissue found
    FAILED = "failed"


@dataclass(frozen=True)
class SlideOutcome:
    """The row of one slide.

    Attributes
    ----------
    slide_id, path : str, Path
        As in the job.
    status : Status
    tiles : int
        Tiles predicted, in all runs that made the store.
    seconds : float
        Time spent on them, in all those runs.
    areas : mapping of str to float
        mm² by class abbreviation.
    error : str
        One sentence; empty unless failed.
    code : str
        The kind of error (:mod:`tiling.errors`; ``unexpected`` for one that is not ours); empty unless failed.
    """

    slide_id: str
    path: Path
    status: Status
    tiles: int = 0
    seconds: float = 0.0
    areas: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    code: str = ""

    @property
    def tiles_per_s(self) -> float:
        """Tiles per second, 0 when nothing ran."""
        return self.tiles / self.seconds if self.seconds > 0 else 0.0


def exit_code(outcomes: Iterable[SlideOutcome]) -> int:
    """Return 0 when every slide is done, cached or empty, and 1 when some failed."""
    return int(any(outcome.status is Status.FAILED for outcome in outcomes))


class Summary:
    """``summary.csv`` of an output folder, shared by all runs and shards that write there.

    Rows of earlier runs stay; a slide that runs again replaces its row. The file is the truth: nobody writes what
    another process has written since. A large table grows by one line per slide, and where a slide has two lines the
    later one counts; :meth:`close` and every rewrite leave one line each, in order.

    Parameters
    ----------
    path : Path
        The CSV file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, dict[str, str]] = {}
        self._own: dict[str, dict[str, str]] = {}
        self._head: list[str] = []
        self._lines = 0
        self._seen: tuple[int, int, bytes] | None = None

    def add(self, outcome: SlideOutcome) -> None:
        """Write the outcome of one slide, after taking over what other processes wrote meanwhile.

        Raises
        ------
        StoreError
            When the file cannot be read or written; the outcome is kept for the next call.
        """
        row = _as_row(outcome)
        self._own[row["slide_id"]] = row
        with self._updating():
            self._rows.update(self._own)
            has_columns = all(key in self._head for key in row)
            is_large = len(self._rows) > _CHEAP_ROWS
            if is_large and has_columns and len(self._own) == 1 and not self._needs_rewrite:
                self._append(row)
            else:
                self._rewrite()
            self._own.clear()

    def close(self) -> None:
        """Leave one line for each slide, in order.

        Raises
        ------
        StoreError
            As :meth:`add`.
        """
        if self._own or self._lines > len(self._rows) or list(self._rows) != sorted(self._rows):
            with self._updating():
                self._rows.update(self._own)
                self._rewrite()
                self._own.clear()

    @property
    def _needs_rewrite(self) -> bool:
        """Whether a line cannot be appended, or half of the lines are outdated, so that a rewrite is worth its cost."""
        return self._seen is None or self._lines > 2 * len(self._rows)

    @contextlib.contextmanager
    def _updating(self) -> Iterator[None]:
        """Keep others out, know the file, and make errors ours."""
        try:
            with _locked(self.path.with_name(f".{self.path.name}.lock")):
                self._take_over()
                yield
        except (OSError, csv.Error, UnicodeDecodeError, NotImplementedError) as error:
            self._seen = None  # whatever is there now is read anew
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise StoreError(f"Summary {self.path} cannot be updated: {reason}.") from error

    def _take_over(self) -> None:
        """Read what others wrote: the lines behind those that are known, or all of a file that was replaced."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            # Taken away: what this process knows goes into a new one, as a crash elsewhere may have lost it.
            self._head, self._lines, self._seen = [], 0, None
            return
        if self._seen is not None and self._seen[0] == status.st_ino and self._seen[1] <= status.st_size:
            end, last = self._seen[1:]
            with self.path.open("rb") as file:
                file.seek(end - len(last))
                if file.read(len(last)) == last:
                    self._take_lines(file.read(), status.st_ino, end)
                    return
        self._rows, self._head, self._lines = {}, [], 0
        self._take_lines(read_regular(self.path), status.st_ino, 0)

    def _take_lines(self, content: bytes, inode: int, start: int) -> None:
        """Add lines to what is known of the file; a last line that a kill has cut off does not count."""
        text = content.decode("utf-8-sig" if start == 0 else "utf-8")
        rows = [cells for cells in csv.reader(io.StringIO(text, newline="")) if cells]
        if not self._head and rows:
            self._head = rows.pop(0)
            if "slide_id" not in self._head:
                raise csv.Error("it has no column slide_id, so it is not ours; move it away")
        is_cut_off = bool(content) and not content.endswith(b"\n")
        if is_cut_off and rows and len(rows[-1]) < len(self._head):
            rows.pop()
        self._lines += len(rows)
        for cells in rows:
            row = dict(zip(self._head, map(plain_cell, cells), strict=False))
            self._rows[row["slide_id"]] = row
        if content:
            # What is cut off, or saved without an end by another program, is written whole with the next row.
            self._seen = None if is_cut_off else (inode, start + len(content), content[-_TAIL:])

    def _append(self, row: Mapping[str, str]) -> None:
        """Add one line, synced."""
        text = io.StringIO(newline="")
        csv.writer(text).writerow(safe_cell(row.get(key, "")) for key in self._head)
        content = text.getvalue().encode("utf-8", "backslashreplace")
        descriptor = open_own(self.path)
        try:
            _write_all(descriptor, content)
            sync(descriptor)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        self._lines += 1
        self._seen = (status.st_ino, status.st_size, content[-_TAIL:])

    def _rewrite(self) -> None:
        """Replace the file in one step: a reader sees the old or the new one, never a part."""
        areas = dict.fromkeys(key for row in self._rows.values() for key in row if key.startswith(_AREA))
        self._head = [*_FIRST, *areas, *_LAST]
        self._rows = {slide_id: self._rows[slide_id] for slide_id in sorted(self._rows)}
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(self._head)
        writer.writerows([safe_cell(row.get(key, "")) for key in self._head] for row in self._rows.values())
        content = text.getvalue().encode("utf-8", "backslashreplace")
        with replacing(self.path) as file:
            file.write(content)
        self._lines = len(self._rows)
        self._seen = (self.path.stat().st_ino, len(content), content[-_TAIL:])


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _as_row(outcome: SlideOutcome) -> dict[str, str]:
    areas = {f"{_AREA}{name}": f"{area:.6f}" for name, area in outcome.areas.items()}
    return {
        # Line breaks and the like inside a cell would be read back, but not by all that read CSV.
        "slide_id": printable(outcome.slide_id),
        "path": printable(str(outcome.path)),
        "status": outcome.status.value,
        "tiles": str(outcome.tiles),
        "seconds": f"{outcome.seconds:.2f}",
        "tiles_per_s": f"{outcome.tiles_per_s:.2f}",
        **areas,
        "error": printable(outcome.error),
    }


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other shards out for the milliseconds of one update; a killed process holds nothing."""
    with FileLock(str(path), timeout=_PATIENCE_S):
        try:
            yield
        finally:
            if os.name != "nt":  # an open file cannot be deleted there
                path.unlink(missing_ok=True)
