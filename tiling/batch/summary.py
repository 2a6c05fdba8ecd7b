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
from tiling.files import replacing

__all__ = ["SlideOutcome", "Status", "Summary", "exit_code"]

_FIRST = ("slide_id", "path", "status", "tiles", "seconds", "tiles_per_s")
_AREA = "area_mm2_"
_LAST = ("error",)
_PATIENCE_S = 60.0


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
        Tiles predicted (for a cached slide: when its store was made).
    seconds : float
        Time spent on them.
    areas : mapping of str to float
        mm² by class abbreviation.
    error : str
        One sentence; empty unless failed.
    """

    slide_id: str
    path: Path
    status: Status
    tiles: int = 0
    seconds: float = 0.0
    areas: Mapping[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def tiles_per_s(self) -> float:
        """Tiles per second, 0 when nothing ran."""
        return self.tiles / self.seconds if self.seconds > 0 else 0.0


def exit_code(outcomes: Iterable[SlideOutcome]) -> int:
    """Return 0 when every slide is done, cached or empty, and 1 when some failed."""
    return int(any(outcome.status is Status.FAILED for outcome in outcomes))


class Summary:
    """``summary.csv`` of an output folder, shared by all runs and shards that write there.

    Rows of earlier runs stay; a slide that runs again replaces its row. Every write is atomic and holds all
    outcomes of this run, so that a row lost to a crash elsewhere comes back with the next one.

    Parameters
    ----------
    path : Path
        The CSV file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, dict[str, str]] = {}

    def add(self, outcome: SlideOutcome) -> None:
        """Write the outcome of one slide, after taking over what other processes wrote meanwhile.

        Raises
        ------
        StoreError
            When the file cannot be read or written; the outcome is kept for the next call.
        """
        self._rows[outcome.slide_id] = _as_row(outcome)
        try:
            with _locked(self.path.with_name(f".{self.path.name}.lock")):
                _write(self.path, {**_read(self.path), **self._rows})
        except (OSError, csv.Error, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise StoreError(f"Summary {self.path} cannot be updated: {reason}.") from error


def _as_row(outcome: SlideOutcome) -> dict[str, str]:
    areas = {f"{_AREA}{name}": f"{area:.6f}" for name, area in outcome.areas.items()}
    return {
        "slide_id": outcome.slide_id,
        "path": str(outcome.path),
        "status": outcome.status.value,
        "tiles": str(outcome.tiles),
        "seconds": f"{outcome.seconds:.2f}",
        "tiles_per_s": f"{outcome.tiles_per_s:.2f}",
        **areas,
        "error": outcome.error,
    }


def _read(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, restval="")
        if rows.fieldnames and "slide_id" not in rows.fieldnames:
            raise csv.Error("it has no column slide_id, so it is not ours; move it away")
        return {row["slide_id"]: {k: v for k, v in row.items() if k} for row in rows}


def _write(path: Path, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Replace the file in one step: a reader sees the old or the new one, never a part."""
    areas = dict.fromkeys(key for row in rows.values() for key in row if key.startswith(_AREA))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*_FIRST, *areas, *_LAST], restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows[slide_id] for slide_id in sorted(rows))
    with replacing(path) as file:
        file.write(text.getvalue().encode())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other shards out for the milliseconds of one update; a killed process holds nothing."""
    with FileLock(str(path), timeout=_PATIENCE_S):
        yield
        if os.name != "nt":  # an open file cannot be deleted there
            path.unlink(missing_ok=True)
