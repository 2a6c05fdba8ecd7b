"""Areas under annotations equal those of the vectorised result, however annotations overlap and bounds lie."""

from __future__ import annotations

import csv
import math
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import shapely
from wsss_toys import ColourPredictor, colourful

from tiling.annotations import Annotation
from tiling.engine import run
from tiling.errors import ExportError
from tiling.export import MEASURES_HEAD, measure, place_in, ratios, write_measures, write_ratios
from tiling.geometry import Box
from tiling.plan import RunOptions
from tiling.polygons import label_regions
from tiling.slides import Slide
from tiling.slides.readers.array import ArrayReader
from tiling.store import Store, open_store

BOUNDS = Box(60, 30, 700, 560)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store at 2.6 level-0 pixels per label pixel, of a slide with bounds."""
    out = tmp_path_factory.mktemp("measure") / "a.zarr"
    image = np.kron(colourful(160, 210), np.ones((4, 4, 1), np.uint8))
    with Slide(ArrayReader(image, mpp=0.25, bounds=BOUNDS)) as slide:
        list(run(slide, ColourPredictor(32), out, RunOptions(mpp=0.65, tissue=None)))
    return open_store(out)


ANNOTATIONS = (
    Annotation("1", "whole", "", shapely.box(0, 0, 900, 700)),
    Annotation("2", "core", "T", shapely.Point(380, 300).buffer(200)),
    Annotation("3", "small", "=1+2", shapely.Point(400.7, 290.2).buffer(41)),
    Annotation(
        "4", "two with a hole", "T",
        shapely.MultiPolygon(
            [shapely.box(100, 100, 250, 300) - shapely.box(130, 130, 200, 220), shapely.box(500, 350, 640, 480)]
        ),
    ),
    Annotation("5", "outside", "", shapely.box(2000, 2000, 2100, 2100)),
)  # fmt: skip


def test_areas_equal_those_of_the_vectorised_result(store: Store) -> None:
    classes: dict[int, list[shapely.Geometry]] = {}
    corner = np.array(store.origin)
    for region in label_regions(store.labels()[0][...]):
        outline = shapely.transform(region.polygon, lambda points: points * store.scale + corner)
        classes.setdefault(region.label, []).append(outline)
    rows = iter(measure(store, ANNOTATIONS))
    for annotation in ANNOTATIONS:
        shapes = [shapely.union_all(classes[label]) for label in sorted(classes)]
        inside = [shape.intersection(annotation.polygon).area for shape in shapes]
        for tissue_class, pixels in zip(store.schema.classes, inside, strict=True):
            row = next(rows)
            assert (row.annotation, row.tissue_class) == (annotation.key, tissue_class.name)
            assert row.area_mm2 == pytest.approx(pixels * 0.25**2 / 1e6, rel=0.005)
            assert row.percent_of_annotation == pytest.approx(
                100 * pixels / annotation.polygon.area, rel=0.005
            )
            total = sum(inside)
            assert row.percent_of_tissue == pytest.approx(100 * pixels / total if total else 0, rel=0.005)
    assert not list(rows)


def test_bands_of_chunks_make_no_difference(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure(store, ANNOTATIONS)

    class Thin:
        shape, chunks = store.labels()[0].shape, (7, 7)

        def __getitem__(self, key: tuple[slice, slice]) -> object:
            assert key[0].stop - key[0].start <= 7  # never the whole label map
            return store.labels()[0][key]

    other = Store(store.path)
    monkeypatch.setattr(other, "labels", lambda: [Thin()])
    assert measure(other, ANNOTATIONS) == whole


def test_tables(store: Store, tmp_path: Path) -> None:
    rows = measure(store, ANNOTATIONS)
    write_measures(tmp_path / "m.csv", rows)
    with (tmp_path / "m.csv").open(newline="") as stream:
        head, *lines = csv.reader(stream)
    assert tuple(head) == MEASURES_HEAD
    assert head == [
        "annotation",
        "name",
        "annotation_class",
        "class",
        "area_mm2",
        "percent_of_annotation",
        "percent_of_tissue",
    ]
    assert len(lines) == len(rows) == len(ANNOTATIONS) * len(store.schema)
    assert [line[2] for line in lines if line[1] == "small"] == ["'=1+2"] * len(store.schema)  # no formula
    with pytest.raises(FrozenInstanceError):
        rows[0].area_mm2 = 1.0  # type: ignore[misc]
    first, second = store.schema.names[:2]
    found = ratios(rows, first, second.upper())
    assert found[0].ratio == pytest.approx(rows[0].area_mm2 / rows[1].area_mm2)
    assert math.isnan(found[4].ratio)
    write_ratios(tmp_path / "r.csv", found)
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 6
    with pytest.raises(ExportError, match="no class 'x'"):
        ratios(rows, "x", first)


def test_a_store_knows_where_its_slide_lies(store: Store) -> None:
    place = place_in(store)
    assert place.origin == (60, 30)
    assert place.dimensions == (840, 640)
    assert place.mpp == pytest.approx(0.25)
    assert place_in(store, "openslide").origin == (0, 0)


def test_files_are_measured_as_they_lie(store: Store, tmp_path: Path) -> None:
    from napari_wsss import measure as as_users_call_it

    outlines = [shapely.transform(a.polygon, lambda points: points - np.array([60, 30])) for a in ANNOTATIONS]
    path = tmp_path / "a.geojson"
    path.write_text(f'{{"type": "GeometryCollection", "geometries": [{shapely.to_geojson(outlines[1])}]}}')
    rows = as_users_call_it(str(store.path), str(path))
    expected = measure(store, ANNOTATIONS[1:2])
    assert [r.area_mm2 for r in rows] == pytest.approx([r.area_mm2 for r in expected], rel=1e-3)


def test_nothing_annotated_is_nothing_measured(store: Store) -> None:
    assert measure(store, ()) == ()
    assert ratios((), "a", "b") == ()
