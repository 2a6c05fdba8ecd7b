"""Annotations become patches whose names tell the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image

from tiling.annotations.geojson import Annotations, read_annotations
from tiling.classes import store_to_reference
from tiling.dataset.patches import PatchOptions, write_patches
from tiling.errors import DataError
from tiling.export.polygons import label_regions
from tiling.geometry import Box
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide

PLANE = SyntheticSlide(width=900, height=700, mpp=0.5, seed=3, region_um=60)


def feature(name: Any, *ring: tuple[float, float], **properties: Any) -> dict[str, Any]:
    classification = {"classification": {"name": name}} if name else {}
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    return {"type": "Feature", "geometry": geometry, "properties": {**classification, **properties}}


def square(name: Any, x: float, y: float, side: float, **properties: Any) -> dict[str, Any]:
    return feature(name, (x, y), (x + side, y), (x + side, y + side), (x, y + side), **properties)


def written(path: Path, *features: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.fixture(scope="module")
def slide() -> Slide:
    return Slide(ArrayReader(PLANE.render(0, 0, 900, 700), mpp=0.5))


@pytest.fixture(scope="module")
def truth() -> Annotations:
    return Annotations([(r.label, r.polygon) for r in label_regions(PLANE.truth(0, 0, 900, 700))])


def test_names_tell_which_classes_a_patch_shows(slide: Slide, truth: Annotations, tmp_path: Path) -> None:
    options = PatchOptions(mpp=0.5, size=96)
    counts = write_patches(slide, truth, SYNTHETIC_SCHEMA, tmp_path, "s", options)
    files = sorted((tmp_path / "train").iterdir())
    assert len(files) == counts["patches"] > 10
    assert counts["Tumour"] > 0
    labels = PLANE.truth(0, 0, 900, 700)
    for file in files:
        place, label = file.stem.split("[")
        x, y = (int(number) for number in place.split("-")[1:])
        with Image.open(file) as image:
            assert image.size == (96, 96)
        shares = np.bincount(labels[y : y + 96, x : x + 96].ravel(), minlength=5)[1:] / 96**2
        for share, digit in zip(shares, label, strict=False):
            assert digit == "1" if share > 0.04 else True
            assert digit == "0" if share < 0.005 else True
    assert json.loads((tmp_path / "schema.json").read_text()) == SYNTHETIC_SCHEMA.to_dict()


def test_masks_for_evaluation_hold_the_annotated_classes(
    slide: Slide, truth: Annotations, tmp_path: Path
) -> None:
    options = PatchOptions(mpp=1.0, size=64, split="val")
    write_patches(slide, truth, SYNTHETIC_SCHEMA, tmp_path, "s", options)
    images, masks = (sorted((tmp_path / "val" / kind).iterdir()) for kind in ("img", "mask"))
    assert [p.name for p in images] == [p.name for p in masks]
    same, total = 0, 0
    for file in masks:
        x, y = (int(number) for number in file.stem.split("[")[0].split("-")[1:])
        with Image.open(file) as image:
            assert image.mode == "P"
            mask = np.asarray(image)
        true = store_to_reference(PLANE.truth(x, y, 128, 128)[1::2, 1::2], 4)
        known = mask < 4
        same += int((mask == true)[known].sum())
        total += int(known.sum())
    assert same / total > 0.99


def test_what_is_hardly_annotated_is_not_cut(slide: Slide, tmp_path: Path) -> None:
    """A label claims that the other classes are absent: tissue that nobody looked at must not be in the patch."""
    labels = PLANE.truth(0, 0, 900, 700)
    y, x = (int(v) for v in np.argwhere(labels[150:500, 200:600] > 0)[0] + (150, 200))
    small = Annotations([(1, shapely.box(x, y, x + 40, y + 40))])
    with pytest.raises(DataError, match="annotate larger areas"):
        write_patches(slide, small, SYNTHETIC_SCHEMA, tmp_path, "s", PatchOptions(size=96))
    generous = PatchOptions(size=96, min_annotated=0.1, min_tissue=0.1)
    assert write_patches(slide, small, SYNTHETIC_SCHEMA, tmp_path, "s", generous)["patches"] == 1


def test_a_folder_keeps_to_one_schema(slide: Slide, truth: Annotations, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("{}")
    with pytest.raises(DataError, match="names other classes"):
        write_patches(slide, truth, SYNTHETIC_SCHEMA, tmp_path, "s", PatchOptions())


def test_the_smaller_annotation_lies_on_the_larger_and_holes_are_open(tmp_path: Path) -> None:
    ring = square("STR", 0, 0, 100)
    ring["geometry"]["coordinates"].append([[60, 60], [90, 60], [90, 90], [60, 90], [60, 60]])
    path = written(tmp_path / "a.geojson", square("Tumour", 20, 20, 10), ring)
    drawn = read_annotations(path, SYNTHETIC_SCHEMA, (0, 0)).labels(0, 0, 1.0, 100)
    assert (drawn[22:28, 22:28] == 1).all()
    assert (drawn[62:88, 62:88] == 0).all()
    assert drawn[50, 50] == 2


def test_frames_differ_by_the_bounds(tmp_path: Path) -> None:
    path = written(tmp_path / "a.geojson", square("tum", 0, 0, 10))
    assert read_annotations(path, SYNTHETIC_SCHEMA, (30, 40)).bounds == (30, 40, 40, 50)
    assert read_annotations(path, SYNTHETIC_SCHEMA, (30, 40), "openslide").bounds == (0, 0, 10, 10)


def test_qupaths_ways_of_naming_a_class(tmp_path: Path) -> None:
    features = [
        square(None, 0, 0, 9, classification="Necrosis"),
        square(None, 10, 0, 9, classification={"names": ["Tumour"]}),
        square("Region*", 0, 0, 900),
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 1]}, "properties": {}},
    ]
    (tmp_path / "list.json").write_text(json.dumps(features))  # QuPath exports a bare list, too
    found = read_annotations(tmp_path / "list.json", SYNTHETIC_SCHEMA, (0, 0))
    assert len(found) == 2
    drawn = found.labels(0, 0, 1, 20)
    assert (drawn[4, 4], drawn[4, 14]) == (4, 1)


def test_self_crossing_outlines_are_mended(tmp_path: Path) -> None:
    bow = feature("TUM", (0, 0), (10, 10), (10, 0), (0, 10))
    assert len(read_annotations(written(tmp_path / "a.json", bow), SYNTHETIC_SCHEMA, (0, 0))) == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "cannot be read"),
        ("{", "is not GeoJSON"),
        ("[1]", "is not GeoJSON"),
        ('{"type": "FeatureCollection", "features": []}', "holds no annotation"),
        (json.dumps(square("Muscle", 0, 0, 9)), "annotations of Muscle"),
        (json.dumps(square(None, 0, 0, 9)), "annotations of no class"),
    ],
)
def test_bad_annotations_are_one_sentence(tmp_path: Path, text: str | None, complaint: str) -> None:
    path = tmp_path / "a.geojson"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=complaint) as caught:
        read_annotations(path, SYNTHETIC_SCHEMA, (0, 0))
    assert str(path) in str(caught.value)


def test_unknown_classes_can_be_skipped(tmp_path: Path) -> None:
    path = written(tmp_path / "a.geojson", square("Muscle", 0, 0, 9), square("STR", 0, 0, 5))
    assert len(read_annotations(path, SYNTHETIC_SCHEMA, (0, 0), skip_unknown=True)) == 1


def test_glass_need_not_be_annotated(tmp_path: Path) -> None:
    """A patch at the edge of the tissue is fine; glass outside the scanned area counts as glass."""
    pixels = np.full((400, 400, 3), 245, np.uint8)
    pixels[:, :250] = (190, 90, 160)
    slide = Slide(ArrayReader(pixels, mpp=0.5, bounds=Box(0, 0, 380, 400)))
    edge = Annotations([(1, shapely.box(100, 100, 400, 300))])
    counts = write_patches(
        slide, edge, SYNTHETIC_SCHEMA, tmp_path, "s", PatchOptions(size=200, min_tissue=0.4)
    )
    assert counts["patches"] == 1
