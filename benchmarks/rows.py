"""What the programs of this folder have in common: a line of the table that ``bench.py`` prints."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One measured comparison.

    Attributes
    ----------
    what : str
        What was done.
    ours, compared : str
        Our figure and the one it is compared with, with units.
    ratio : str
        The comparison in one number.
    wanted : str
        The aim, or empty.
    """

    what: str
    ours: str
    compared: str
    ratio: str
    wanted: str = ""


def save(rows: Iterable[Row], path: Path | None) -> None:
    """Write rows as JSON; nothing without a path."""
    if path is not None:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=2))


def load(path: Path) -> list[Row]:
    """Read rows; none where a program wrote none."""
    return [Row(**row) for row in json.loads(path.read_text())] if path.exists() else []


def table(rows: Iterable[Row]) -> str:
    """Return a Markdown table."""
    lines = ["| measured | ours | compared with | ratio | wanted |", "|---|---|---|---|---|"]
    lines += [f"| {r.what} | {r.ours} | {r.compared} | {r.ratio} | {r.wanted} |" for r in rows]
    return "\n".join(lines)
