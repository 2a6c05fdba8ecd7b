"""The report of a night: ``index.html`` over all slides of an output folder, and a page for each.

Everything stands in the files themselves: no network, no server, no script from elsewhere. Pages and thumbnails of
slides that have not changed since are kept, so that a report over thousands of slides costs what is new.
"""

from __future__ import annotations

import base64
import csv
import datetime
import hashlib
import html
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tiling.batch.report_index import INDEX, script_data
from tiling.batch.report_page import slide_page
from tiling.batch.report_zoom import ZOOM, copy_viewer, write_zoom
from tiling.batch.summary import SUMMARY
from tiling.errors import ExportError, WsssError, disk_errors_as
from tiling.export import slide_and_classes
from tiling.files import read_regular, replacing
from tiling.store import Store, open_store
from tiling.untrusted import plain_cell, printable

__all__ = ["ReportRow", "write_report"]

FOLDER = "report"
"""Folder of the pages and thumbnails, inside the output folder."""

_THUMBNAIL = 96
_AREA = "area_mm2_"


@dataclass(frozen=True)
class ReportRow:
    """One slide of the report.

    Attributes
    ----------
    slide_id, path, status, error : str
        As in ``summary.csv``.
    tiles : int
    seconds : float
    areas : dict of str to float
        mm² by class abbreviation; what was not measured is not there.
    doubts : int
        Tiles out of focus, with pen, folds or bubbles.
    page : str
        Name of its page, from the output folder; empty when there is nothing to show.
    thumbnail : str
        JPEG as a data URI; empty when there is none.
    """

    slide_id: str
    path: str
    status: str
    error: str
    tiles: int
    seconds: float
    areas: dict[str, float]
    doubts: int = 0
    page: str = ""
    thumbnail: str = ""


def write_report(folder: Path, *, zoom: Callable[[str], object] | None = None) -> Path:
    """Write the report of an output folder.

    Parameters
    ----------
    folder : Path
        Holds ``summary.csv`` and the stores.
    zoom : callable, optional
        Also write a zoomable page of every slide (:mod:`tiling.batch.report_zoom`); it is told the name of each before
        its pictures are made, which takes a while.

    Returns
    -------
    Path
        ``folder/index.html``.

    Raises
    ------
    ExportError
        When the folder holds no ``summary.csv`` of ours, or the report cannot be written.
    """
    summary = list(_summary(folder))
    colours: dict[str, str] = {}
    what = f"The report of {folder} cannot be written"
    with disk_errors_as(ExportError, what, "mend it and run report again"):
        (folder / FOLDER).mkdir(exist_ok=True)
        if zoom is not None:
            copy_viewer(folder / FOLDER)
        stores = _stores(folder)
        rows = [_with_store(folder, row, stores.get(row.slide_id), colours, zoom) for row in summary]
        index = folder / "index.html"
        with replacing(index) as file:
            file.write(_index(folder.name, rows, colours).encode())
    return index


def _summary(folder: Path) -> Iterator[ReportRow]:
    """Yield the rows of summary.csv; where a slide has two lines the later one counts."""
    path = folder / SUMMARY
    try:
        text = read_regular(path).decode("utf-8")
    except FileNotFoundError as error:
        raise ExportError(f"{folder} holds no {SUMMARY}; give the --out folder of a run.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} cannot be read ({error}); run the slides again.") from error
    lines = {line.get("slide_id") or "": line for line in csv.DictReader(io.StringIO(text))}
    for _, line in sorted(lines.items()):
        cells = {key: plain_cell(value) for key, value in line.items() if key and isinstance(value, str)}
        if cells.get("slide_id"):
            yield ReportRow(
                slide_id=cells["slide_id"],
                path=cells.get("path", ""),
                status=cells.get("status", ""),
                error=cells.get("error", ""),
                tiles=int(_number(cells.get("tiles")) or 0),
                seconds=_number(cells.get("seconds")) or 0.0,
                areas={
                    key.removeprefix(_AREA): area
                    for key, cell in cells.items()
                    if key.startswith(_AREA) and (area := _number(cell)) is not None
                },
            )


def _number(text: str | None) -> float | None:
    """Return what a cell says; None where it says no number."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _stores(folder: Path) -> dict[str, Path]:
    """Return the stores of a folder by their ids as summary.csv writes them: odd characters are escapes there."""
    found = (entry for entry in folder.iterdir() if entry.name.endswith(".zarr"))
    return {printable(entry.name.removesuffix(".zarr")): entry for entry in found}


def _slide_at(path: str) -> str:
    """Return the path of a slide by what summary.csv calls it; a file that is gone keeps that."""
    folder = Path(path).parent
    if "\\" not in path or Path(path).exists() or not folder.is_dir():
        return path
    return next((str(entry) for entry in folder.iterdir() if printable(str(entry)) == path), path)


def _stem(store: Path) -> str:
    """Return what pages are named by: the id, or a number for one that holds what browsers do not find in a link."""
    stem = store.name.removesuffix(".zarr")
    if stem.isprintable() and "\\" not in stem:
        return stem
    return f"slide-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:16]}"


def _with_store(
    folder: Path,
    row: ReportRow,
    path: Path | None,
    colours: dict[str, str],
    zoom: Callable[[str], object] | None,
) -> ReportRow:
    """Add what the slide's store knows; write its page and thumbnail unless they are as new as its receipt."""
    if row.status == "failed" or path is None or not (receipt_file := path / "receipt.json").is_file():
        return row
    stem = _stem(path)
    try:
        store = open_store(path)
        receipt = store.receipt or {}
        colours.update({c.abbreviation: c.color for c in store.schema.classes})
        page, thumbnail = (folder / FOLDER / f"{stem}.{suffix}" for suffix in ("html", "jpg"))
        closer = folder / FOLDER / f"{stem}{ZOOM}"
        changed = receipt_file.stat().st_mtime_ns
        if zoom is not None and not _is_of(closer, changed):
            zoom(row.slide_id)
            page.unlink(missing_ok=True)  # it shall lead there
            write_zoom(store, _slide_at(row.path), folder / FOLDER, stem)
            os.utime(closer, ns=(changed, changed))
        if not _is_of(thumbnail, changed):
            with _made_of(thumbnail, changed) as stream:
                stream.write(_thumbnail(store))
        if not _is_of(page, changed):
            zoomable = _is_of(closer, changed)
            with _made_of(page, changed) as stream:
                stream.write(slide_page(store, closer.name if zoomable else ""))
        picture = base64.b64encode(thumbnail.read_bytes()).decode()
    except (WsssError, KeyError, TypeError) as error:
        return ReportRow(**{**row.__dict__, "error": row.error or f"The store cannot be shown: {error}"})
    return ReportRow(
        **{
            **row.__dict__,
            "doubts": min(row.tiles, sum(receipt.get("counters", {}).get("doubts", {}).values())),
            "page": f"{FOLDER}/{stem}.html",
            "thumbnail": f"data:image/jpeg;base64,{picture}",
        }
    )


@contextmanager
def _made_of(file: Path, changed: int) -> Iterator[BinaryIO]:
    """Open a file for writing and give it the time, in ns, of what it is made of."""
    with replacing(file) as stream:
        yield stream
        stream.flush()
        os.utime(stream.fileno(), ns=(changed, changed))


def _is_of(file: Path, changed: int) -> bool:
    """Tell whether a file was made of something of this time: the same, not a later one, as clocks are put back."""
    return file.is_file() and file.stat().st_mtime_ns == changed


def _thumbnail(store: Store) -> bytes:
    """Return the overview with its classes, as small as in a list, JPEG."""
    stream = io.BytesIO()
    slide_and_classes(store, _THUMBNAIL)[1].save(stream, "JPEG", quality=70, optimize=True)
    return stream.getvalue()


def _index(name: str, rows: list[ReportRow], colours: dict[str, str]) -> str:
    """Fill the page; the data stand in a script that is no program, and only become text."""
    classes = list(dict.fromkeys(key for row in rows for key in row.areas))
    data: dict[str, Any] = {
        "classes": [{"name": key, "color": colours.get(key, "#888888")} for key in classes],
        "rows": [
            [
                row.slide_id,
                row.status,
                row.tiles,
                row.seconds,
                row.doubts,
                [row.areas.get(key) for key in classes],
                row.error,
                row.page,
                row.thumbnail,
                row.path,
            ]
            for row in rows
        ],
    }
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = INDEX.replace("{{title}}", html.escape(name or "results")).replace("{{when}}", when)
    return page.replace("{{data}}", script_data(data).encode("utf-8", "replace").decode())
