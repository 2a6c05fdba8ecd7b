"""Tables for spreadsheets and statistics: the area of each class, and what is known of each tile."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tiling.export.amounts import amounts
from tiling.export.writing import export_file
from tiling.store import DOUBTS, FLAG_PREDICTED, FLAG_READ_ERROR, Store
from tiling.untrusted import safe_cell

__all__ = ["write_areas", "write_table", "write_tiles"]

_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")


def write_areas(store: Store, path: Path) -> None:
    """Write one line per class: slide_id, class, abbreviation, area_mm2, percent_of_tissue.

    Raises
    ------
    ExportError
        When the store is not complete or the file cannot be written.
    """
    rows = (
        (store.name, a.tissue.name, a.tissue.abbreviation, f"{a.area_mm2:.6f}", f"{a.percent_of_tissue:.3f}")
        for a in amounts(store)
    )
    write_table(path, ("slide_id", "class", "abbreviation", "area_mm2", "percent_of_tissue"), rows)


def write_tiles(store: Store, path: Path) -> None:
    """Write one line per tile of the grid, in reading order.

    Columns: row, column, x, y (level-0 pixels of the whole slide), status (predicted, empty, read_error), doubts
    (of blur, pen, fold, bubble), confidence, then per class its stage-1 ``presence_ABBR`` (0 … 1) and its
    ``share_ABBR`` of the tile (0 … 1); empty where nothing was predicted.

    Raises
    ------
    ExportError
        When the file cannot be written.
    """
    names = [tissue.abbreviation for tissue in store.schema.classes]
    head = ["row", "column", "x", "y", "status", "doubts", "confidence"]
    head += [f"presence_{name}" for name in names] + [f"share_{name}" for name in names]
    write_table(path, head, _tile_rows(store))


def _tile_rows(store: Store) -> Iterator[list[str]]:
    tiles = store.tiles()
    for i, flags in enumerate(tiles["flags"].tolist()):
        row, column = divmod(i, store.grid.columns)
        place = [str(row), str(column), f"{tiles['x'][i]:.2f}", f"{tiles['y'][i]:.2f}"]
        values = [tiles["confidence"][i], *tiles["presence"][i], *tiles["shares"][i]]
        predicted = bool(flags & FLAG_PREDICTED)
        yield [
            *place,
            _status(flags),
            _doubts(flags),
            *(f"{value:.4f}" if predicted else "" for value in values),
        ]


def _status(flags: int) -> str:
    if flags & FLAG_READ_ERROR:
        return "read_error"
    return "predicted" if flags & FLAG_PREDICTED else "empty"


def _doubts(flags: int) -> str:
    return " ".join(name for name, flag in DOUBTS.items() if flags & flag)


def write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file as a stream; it is complete or not there, and no cell of it is a formula.

    Raises
    ------
    ExportError
        When the file cannot be written.
    """
    with export_file(path) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(head)
        writer.writerows([_cell(cell) for cell in row] for row in rows)
        text.detach()  # flushes, and leaves the file to its owner


def _cell(cell: str) -> str:
    # Numbers below zero begin like a formula and are none.
    return cell if _NUMBER.fullmatch(cell) else safe_cell(cell)
