"""`wsss-tile measure`: how much of each class lies in each annotation."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer

from napari_wsss.cli.border import answer_json, before_work, tell
from tiling.errors import UsageProblem

__all__ = ["measure_store"]


def measure_store(
    path: Path,
    file: Path,
    table: Path | None,
    pairs: Sequence[str],
    names: str,
    frame: str,
    as_json: bool,
) -> int:
    """Measure, and print or write one line per annotation and class."""
    from tiling.annotations import named_by_schema, parse_match, read_annotation_file
    from tiling.export import (
        MEASURES_HEAD,
        cells,
        measure,
        place_in,
        ratios,
        write_measures,
        write_ratios,
    )
    from tiling.store import open_store

    with before_work():
        wanted = [_pair(text) for text in pairs]
        match = parse_match(names)
    store = open_store(path)
    annotations = read_annotation_file(file, place_in(store, frame))
    if match:
        annotations = named_by_schema(annotations, store.schema, match, keep_others=True)
    for note in annotations.left_out:
        tell(f"Note: {note}")
    if not store.is_complete:
        tell(f"Note: {path} is not complete; what is measured is what is there so far.")
    measures = measure(store, annotations.annotations)
    whole = {c.abbreviation.casefold(): c.name for c in store.schema.classes}
    pairs_of_names = [[whole.get(name.casefold(), name) for name in pair] for pair in wanted]
    compared = [ratio for one, other in pairs_of_names for ratio in ratios(measures, one, other)]
    if table is not None:
        write_measures(table, measures)
        tell(f"Written to {table}")
        if wanted:
            beside = table.with_suffix(".ratios.csv")
            write_ratios(beside, compared)
            tell(f"Written to {beside}")
    if as_json:
        rows = [dict(zip(MEASURES_HEAD, asdict(each).values(), strict=True)) for each in measures]
        answer_json({"measures": rows, "ratios": [_finite(asdict(each)) for each in compared]})
    elif table is None:
        _show([MEASURES_HEAD, *(cells(each) for each in measures)])
        if wanted:
            lines = [(r.annotation, r.name, r.one, r.other, f"{r.ratio:.6g}") for r in compared]
            _show([("annotation", "name", "one", "other", "ratio"), *lines])
    return 0


def _pair(text: str) -> tuple[str, str]:
    one, colon, other = (part.strip() for part in text.rpartition(":"))
    if not (one and colon and other):
        raise UsageProblem(f"--ratio {text!r} is not A:B, such as tumour:stroma.")
    return one, other


def _show(rows: Sequence[Sequence[str]]) -> None:
    from tiling.untrusted import printable

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([printable(cell) for cell in row] for row in rows)
    typer.echo(text.getvalue(), nl=False)


def _finite(row: dict[str, object]) -> dict[str, object]:
    """JSON knows neither NaN nor infinity."""
    ratio = row["ratio"]
    bad = isinstance(ratio, float) and (ratio != ratio or ratio in (float("inf"), float("-inf")))
    return {**row, "ratio": None if bad else ratio}
