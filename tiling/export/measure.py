"""How much of each class lies in each annotation: pixels of the stored labels, counted under the polygons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.annotations import Annotation, Place, PolygonRaster, read_annotation_file
from tiling.errors import ExportError
from tiling.export.table import write_table
from tiling.store import Store, open_store

__all__ = [
    "MEASURES_HEAD",
    "Measure",
    "Ratio",
    "measure",
    "place_in",
    "ratios",
    "write_measures",
    "write_ratios",
]

MEASURES_HEAD = (
    "annotation",
    "name",
    "annotation_class",
    "class",
    "area_mm2",
    "percent_of_annotation",
    "percent_of_tissue",
)

_SAMPLES = 1000.0
"""Samples along the side of a square as large as an annotation, at least: small ones are drawn finer than pixels."""

_FINEST = 8


@dataclass(frozen=True)
class Measure:
    """One class in one annotation.

    Attributes
    ----------
    annotation, name, annotation_class : str
        Key, name and class of the annotation, as its file says.
    tissue_class : str
        Name of the class that was measured.
    area_mm2 : float
    percent_of_annotation : float
        Of the area of the annotation, glass and what lies outside the scan included.
    percent_of_tissue : float
        Of all that has a class in the annotation; 0 when nothing has.
    """

    annotation: str
    name: str
    annotation_class: str
    tissue_class: str
    area_mm2: float
    percent_of_annotation: float
    percent_of_tissue: float


@dataclass(frozen=True)
class Ratio:
    """The area of one class over that of another, in one annotation.

    Attributes
    ----------
    annotation, name : str
    one, other : str
        Class names.
    ratio : float
        NaN when there is neither, infinite when there is none of the other.
    """

    annotation: str
    name: str
    one: str
    other: str
    ratio: float


@dataclass
class _Area:
    """One annotation while labels stream by."""

    annotation: Annotation
    raster: PolygonRaster
    box: tuple[int, int, int, int]  # left, top, right, bottom in label pixels, cut to the canvas
    finer: int  # samples along a label pixel
    counts: NDArray[np.int64]


def place_in(store: Store, frame: str = "qupath") -> Place:
    """Return where the pixels of a store's slide lie, for reading annotations without the slide.

    Parameters
    ----------
    store : Store
    frame : {"qupath", "openslide"}
        Whether GeoJSON counts from the scanned area's corner or from level-0 (0, 0).
    """
    origin = store.origin if frame == "qupath" else (0, 0)
    return Place.of_identity(store.run.get("slide", {}), store.slide_mpp, origin)


def measure(store: Store | str | Path, annotations: Iterable[Annotation] | str | Path) -> tuple[Measure, ...]:
    """Measure every class in every annotation.

    The labels are read band by band; annotations that overlap count in full, each. A pixel counts where its centre
    lies inside; in small annotations pixels are divided, so that areas are right to a fraction of a per cent.

    Parameters
    ----------
    store : Store, str or Path
        Complete, or as far as it is.
    annotations : iterable of Annotation, or str or Path
        In level-0 pixels; or a file of any format (:func:`tiling.annotations.read_annotation_file`), whose GeoJSON
        counts from the scanned area's corner.

    Returns
    -------
    tuple of Measure
        Annotation by annotation, the classes in schema order.

    Raises
    ------
    AnnotationError, StoreError
        When a file or a store cannot be read.
    """
    store = store if isinstance(store, Store) else open_store(store)
    if isinstance(annotations, str | Path):
        annotations = read_annotation_file(Path(annotations), place_in(store)).annotations
    labels = store.labels()[0]
    height, width = (int(extent) for extent in labels.shape)
    areas = [_area(store, annotation, width, height) for annotation in annotations]
    pending = sorted((area for area in areas if area.box[1] < area.box[3]), key=lambda area: area.box[1])
    lines = int(labels.chunks[0])
    for top in range(0, height, lines):
        bottom = min(top + lines, height)
        pending = [area for area in pending if area.box[3] > top]
        here = [area for area in pending if area.box[1] < bottom]
        if here:
            left, right = min(area.box[0] for area in here), max(area.box[2] for area in here)
            band = np.asarray(labels[top:bottom, left:right])
            for area in here:
                _count(store, area, band, left, top)
    return tuple(_rows(store, areas))


def ratios(measures: Sequence[Measure], one: str, other: str) -> tuple[Ratio, ...]:
    """Return the area of one class over that of another, annotation by annotation.

    Raises
    ------
    ExportError
        When one of the classes was not measured.
    """
    by_class: dict[str, dict[str, Measure]] = {}
    for each in measures:
        by_class.setdefault(each.tissue_class.casefold(), {})[each.annotation] = each
    for name in (one, other):
        if measures and name.casefold() not in by_class:
            known = ", ".join(dict.fromkeys(each.tissue_class for each in measures))
            raise ExportError(f"There is no class {name!r} to compare; the classes are {known}.")
    found = []
    for key, first in by_class.get(one.casefold(), {}).items():
        second = by_class[other.casefold()][key]
        a, b = first.area_mm2, second.area_mm2
        ratio = a / b if b else (math.inf if a else math.nan)
        found.append(Ratio(key, first.name, first.tissue_class, second.tissue_class, ratio))
    return tuple(found)


def write_measures(path: Path, measures: Iterable[Measure]) -> None:
    """Write one line per annotation and class as CSV.

    Raises
    ------
    ExportError
        When the file cannot be written.
    """
    write_table(path, MEASURES_HEAD, (cells(each) for each in measures))


def write_ratios(path: Path, found: Iterable[Ratio]) -> None:
    """Write one line per annotation: annotation, name, one, other, ratio.

    Raises
    ------
    ExportError
        When the file cannot be written.
    """
    rows = ((r.annotation, r.name, r.one, r.other, f"{r.ratio:.6g}") for r in found)
    write_table(path, ("annotation", "name", "one", "other", "ratio"), rows)


def cells(each: Measure) -> tuple[str, ...]:
    """Return a measure as the cells of its line."""
    numbers = f"{each.area_mm2:.6f}", f"{each.percent_of_annotation:.3f}", f"{each.percent_of_tissue:.3f}"
    return each.annotation, each.name, each.annotation_class, each.tissue_class, *numbers


def _area(store: Store, annotation: Annotation, width: int, height: int) -> _Area:
    bounds = np.array(shapely.bounds(annotation.polygon)).reshape(2, 2)
    corners = (bounds - np.array(store.origin)) / store.scale
    first = np.clip(np.floor(corners[0]), 0, (width, height)).astype(int)
    last = np.clip(np.ceil(corners[1]), first, (width, height)).astype(int)
    side = math.sqrt(annotation.polygon.area) / store.scale
    return _Area(
        annotation,
        PolygonRaster([annotation.polygon]),
        (int(first[0]), int(first[1]), int(last[0]), int(last[1])),
        min(_FINEST, max(1, math.ceil(_SAMPLES / max(side, 1e-9)))),
        np.zeros(len(store.schema) + 1, np.int64),
    )


def _count(store: Store, area: _Area, band: NDArray[np.uint8], left: int, top: int) -> None:
    """Add the pixels of a band of labels, whose corner is at label pixel (left, top)."""
    x0, y0, x1, y1 = area.box
    y0, y1 = max(y0, top), min(y1, top + band.shape[0])
    if y1 <= y0 or x1 <= x0:
        return
    finer, step = area.finer, store.scale / area.finer
    origin_x, origin_y = store.origin
    inside = area.raster.draw(
        origin_x + x0 * store.scale,
        origin_y,
        step,
        step,
        (x1 - x0) * finer,
        (y1 - y0) * finer,
        first=y0 * finer,
    )
    samples = inside.reshape(y1 - y0, finer, x1 - x0, finer).sum(axis=(1, 3), dtype=np.int64)
    part = band[y0 - top : y1 - top, x0 - left : x1 - left]
    counts = np.bincount(part.ravel(), weights=samples.ravel(), minlength=len(area.counts))
    area.counts += np.rint(counts[: len(area.counts)]).astype(np.int64)


def _rows(store: Store, areas: Sequence[_Area]) -> Iterator[Measure]:
    for area in areas:
        of_sample = (store.mpp / 1000 / area.finer) ** 2
        whole = area.annotation.polygon.area * (store.slide_mpp / 1000) ** 2
        tissue = int(area.counts[1:].sum())
        for tissue_class, count in zip(store.schema.classes, area.counts[1:].tolist(), strict=True):
            yield Measure(
                annotation=area.annotation.key,
                name=area.annotation.name,
                annotation_class=area.annotation.class_name,
                tissue_class=tissue_class.name,
                area_mm2=count * of_sample,
                percent_of_annotation=100 * count * of_sample / whole,
                percent_of_tissue=100 * count / tissue if tissue else 0.0,
            )
