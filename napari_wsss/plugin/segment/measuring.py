"""Areas of every class in drawn shapes and in imported annotations, written as a table."""

from __future__ import annotations

import csv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import shapely

from napari_wsss.plugin.results import Result
from napari_wsss.plugin.segment.region import outlines_on
from tiling.annotations import Annotation, read_annotation_file
from tiling.errors import RegionError
from tiling.export import measure, place_in, write_measures
from tiling.store import Store, open_store

__all__ = ["drawn_annotations", "measure_file", "measure_shapes", "table_of_shapes"]


def drawn_annotations(viewer: Any, slide: Any, shapes: Any) -> tuple[Annotation, ...]:
    """Return what is drawn in a shapes layer as annotations, numbered from 1 and named after the layer.

    Raises
    ------
    RegionError
        When nothing with an area is drawn, or an outline crosses itself.
    """
    found = []
    for number, outline in enumerate(outlines_on(viewer, slide, shapes), start=1):
        polygon = shapely.Polygon(np.asarray(outline)[:, ::-1] + 0.5)
        if not polygon.is_valid:
            raise RegionError(f"Shape {number} of {shapes.name} crosses itself; draw it anew.")
        found.append(Annotation(str(number), f"{shapes.name} {number}", "", polygon))
    return tuple(found)


def measure_shapes(result: Result, annotations: tuple[Annotation, ...], path: Path) -> None:
    """Write mm² and per cent of every class in every annotation as CSV.

    Raises
    ------
    ExportError, StoreError
    """
    write_measures(path, measure(_named(result), annotations))


def table_of_shapes(result: Result, annotations: tuple[Annotation, ...]) -> str:
    """Return the same table as text for a spreadsheet's clipboard: cells apart by tabs.

    Raises
    ------
    ExportError, StoreError
    """
    with TemporaryDirectory(prefix="napari-wsss-") as folder:
        path = Path(folder) / "shapes.csv"
        measure_shapes(result, annotations, path)
        with path.open(newline="", encoding="utf-8-sig") as file:
            return "\n".join("\t".join(row) for row in csv.reader(file))


def measure_file(result: Result, annotations: Path, path: Path) -> str:
    """Do the same for an annotation file of another program (GeoJSON, ASAP, Aperio, NDPA); return what was left out.

    Raises
    ------
    WsssError
        When the file cannot be read, or the table not written.
    """
    store = _named(result)
    file = read_annotation_file(annotations, place_in(store, "qupath"))
    write_measures(path, measure(store, file.annotations))
    return " ".join(file.left_out)


def _named(result: Result) -> Store:
    store = open_store(result.store)
    store.schema = result.schema
    return store
