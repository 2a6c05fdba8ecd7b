"""Manifests: a table of slides as people's spreadsheets write it, read strictly where a slip would go unseen."""

from __future__ import annotations

import codecs
import csv
import difflib
import math
from collections.abc import Sequence
from pathlib import Path

from tiling.address import is_address
from tiling.batch.job import SlideJob, check_slide_id
from tiling.errors import JobError
from tiling.files import expanded, read_regular

__all__ = ["read_manifest"]

_COLUMNS = ("slide_id", "path", "mpp")
_SEPARATORS = ",;\t|"
_HINTS = (
    *("mpp", "micron", "micromet", "resolution", "dpi"),
    *("pixelsize", "pixelwidth", "pixelspacing", "umper", "nmper", "umpx", "nmpx"),
)
"""Parts of column names that mean the resolution: one of them unread would be a wrong result without a word."""

_LONGEST = 256 * 2**20
"""Bytes: a million slides."""

_EXACT_HINTS = frozenset({"um", "nm", "res", "spacing"})

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_manifest(path: Path) -> list[SlideJob]:
    """Read a table with the columns ``slide_id``, ``path`` and, if wanted, ``mpp``.

    The separator may be a comma, semicolon, tab or vertical bar; capitals and spaces around names do not matter; lines
    that are empty or start with ``#`` are passed over, and so are other columns, unless their names look like a slip
    for one of these. Relative paths start at the manifest.

    Raises
    ------
    JobError
        With the number of the line, when anything is not clear.
    """
    lines = [line + "\n" for line in _text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    start, separator, header = _header(path, lines)
    places = {name: header.index(name) for name in _COLUMNS if name in header}
    content = _Content(lines[start:])
    rows = csv.reader(content, delimiter=separator, strict=True)
    jobs = []
    try:
        for row in rows:
            content.between_rows = True
            if any(field.strip() for field in row):
                jobs.append(_job(path, start + rows.line_num, row, places, len(header), separator))
    except csv.Error as error:
        raise JobError(
            f"Manifest {path}, line {start + rows.line_num}: {error}; check the quotation marks."
        ) from error
    if not jobs:
        raise JobError(f"Manifest {path} names no slide.")
    return jobs


class _Content:
    """The lines with comments emptied, so that their numbers stay; a line inside quotation marks is no comment."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = iter(lines)
        self.between_rows = True

    def __iter__(self) -> _Content:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        comment = self.between_rows and line.lstrip().startswith("#")
        self.between_rows = False
        return "\n" if comment else line


def _text(path: Path) -> str:
    """Return a manifest's text: UTF-8, or what its byte order mark says."""
    try:
        raw = read_regular(path, _LONGEST)
    except (OSError, ValueError) as error:
        raise JobError(
            f"Manifest {path} cannot be read: {getattr(error, 'strerror', None) or error}."
        ) from error
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise JobError(
            f"Manifest {path} is not text in UTF-8 (byte {error.start}); save it as CSV UTF-8."
        ) from error
    if "\0" in text:
        raise JobError(f"Manifest {path} is not text in UTF-8 (it holds zero bytes); save it as CSV UTF-8.")
    return text


def _header(path: Path, lines: Sequence[str]) -> tuple[int, str, list[str]]:
    """Return the number of lines up to and with the header, the separator and the names of the columns."""
    separators = _SEPARATORS
    for number, line in enumerate(lines, 1):
        text = line.strip(" \n")
        if text.casefold().startswith("sep=") and len(text) == 5:  # a line for Excel
            separators = text[-1]
            continue
        if not text or text.startswith("#"):
            continue
        for separator in separators:
            names = [name.strip().casefold() for name in next(csv.reader([text], delimiter=separator))]
            if {"slide_id", "path"} & set(names):
                return number, separator, _checked(path, names)
        break
    raise JobError(f"Manifest {path} has no column path and slide_id; {_ADVICE}.")


_ADVICE = "its first line must name slide_id,path and, if wanted, mpp"


def _checked(path: Path, names: list[str]) -> list[str]:
    """Refuse columns that are missing, come twice, or are written almost like ours."""
    missing = {"slide_id", "path"} - set(names)
    if missing:
        raise JobError(f"Manifest {path} has no column {' and '.join(sorted(missing))}; {_ADVICE}.")
    for name in _COLUMNS:
        if names.count(name) > 1:
            raise JobError(f"Manifest {path} has the column {name} twice; keep one of them.")
    for name in names:
        if name not in _COLUMNS and (meant := _meant(name)):
            raise JobError(
                f"Manifest {path} has a column {name!r}, which looks like {meant} and would not be read; "
                f"call it {meant}, or something else."
            )
    return names


def _meant(name: str) -> str:
    """Return the column that a name is a slip for; empty when it is another thing."""
    plain = "".join(c for c in name if c.isalnum()).replace(
        "μ", "u"
    )  # casefold makes one of both signs for micro
    if plain in _EXACT_HINTS or any(hint in plain for hint in _HINTS):
        return "mpp"
    close = difflib.get_close_matches(plain, [column.replace("_", "") for column in _COLUMNS], 1, 0.8)
    return {column.replace("_", ""): column for column in _COLUMNS}[close[0]] if close else ""


def _job(
    manifest: Path, line: int, row: Sequence[str], places: dict[str, int], width: int, separator: str
) -> SlideJob:
    where = f"Manifest {manifest}, line {line}:"
    if any(field.strip() for field in row[width:]):
        raise JobError(
            f"{where} {len(row)} fields where the first line names {width}; put quotation marks around a field that "
            f"holds {separator!r}."
        )
    slide_id, path, mpp = (
        row[places[name]].strip() if name in places and places[name] < len(row) else "" for name in _COLUMNS
    )
    if not path:
        raise JobError(f"{where} the path is empty.")
    check_slide_id(slide_id, where)
    # A spreadsheet that separates by semicolons writes 0,25.
    number = mpp.replace(",", ".") if separator != "," and mpp.count(",") == 1 and "." not in mpp else mpp
    try:
        value = float(number) if number else None
    except ValueError:
        value = math.nan
    if "_" in number:  # Python reads 0_5
        value = math.nan
    if value is not None and not (math.isfinite(value) and value > 0):
        raise JobError(f"{where} mpp {mpp!r} is not a positive number of µm per pixel.")
    lies = (
        Path(path)
        if is_address(path)
        else manifest.absolute().parent / expanded(path, JobError, f"{where} the path")
    )
    return SlideJob(slide_id, lies, value)
