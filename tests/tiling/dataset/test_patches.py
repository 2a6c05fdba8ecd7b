"""Annotations become patches whose names tell the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image

from tiling.annotations import ClassAreas, Place, parse_match, read_class_areas
from tiling.classes import store_to_reference
from tiling.dataset.patches import PatchOptions, write_patches
from tiling.errors import DataError
from tiling.geometry import Box
from tiling.polygons import label_regions
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
def truth() -> ClassAreas:
    return ClassAreas([(r.label, r.polygon) for r in label_regions(PLANE.truth(0, 0, 900, 700))])


def test_names_tell_which_classes_a_patch_shows(slide: Slide, truth: ClassAreas, tmp_path: Path) -> None:
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
    slide: Slide, truth: ClassAreas, tmp_path: Path
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
    small = ClassAreas([(1, shapely.box(x, y, x + 40, y + 40))])
    with pytest.raises(DataError, match="annotate larger areas"):
        write_patches(slide, small, SYNTHETIC_SCHEMA, tmp_path, "s", PatchOptions(size=96))
    generous = PatchOptions(size=96, min_annotated=0.1, min_tissue=0.1)
    assert write_patches(slide, small, SYNTHETIC_SCHEMA, tmp_path, "s", generous)["patches"] == 1


def test_a_folder_keeps_to_one_schema(slide: Slide, truth: ClassAreas, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("{}")
    with pytest.raises(DataError, match="names other classes"):
        write_patches(slide, truth, SYNTHETIC_SCHEMA, tmp_path, "s", PatchOptions())


def test_the_smaller_annotation_lies_on_the_larger_and_holes_are_open(tmp_path: Path) -> None:
    ring = square("STR", 0, 0, 100)
    ring["geometry"]["coordinates"].append([[60, 60], [90, 60], [90, 90], [60, 90], [60, 60]])
    path = written(tmp_path / "a.geojson", square("Tumour", 20, 20, 10), ring)
    drawn = read_class_areas(path, SYNTHETIC_SCHEMA, Place()).labels(0, 0, 1.0, 100)
    assert (drawn[22:28, 22:28] == 1).all()
    assert (drawn[62:88, 62:88] == 0).all()
    assert drawn[50, 50] == 2


def test_frames_differ_by_the_bounds(tmp_path: Path) -> None:
    path = written(tmp_path / "a.geojson", square("tum", 0, 0, 10))
    assert read_class_areas(path, SYNTHETIC_SCHEMA, Place(origin=(30, 40))).bounds == (30, 40, 40, 50)
    assert read_class_areas(path, SYNTHETIC_SCHEMA, Place()).bounds == (0, 0, 10, 10)


def test_qupaths_ways_of_naming_a_class(tmp_path: Path) -> None:
    features = [
        square(None, 0, 0, 9, classification="Necrosis"),
        square(None, 10, 0, 9, classification={"names": ["Tumour"]}),
        square("Region*", 0, 0, 900),
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 1]}, "properties": {}},
    ]
    (tmp_path / "list.json").write_text(json.dumps(features))  # QuPath exports a bare list, too
    found = read_class_areas(tmp_path / "list.json", SYNTHETIC_SCHEMA, Place())
    assert len(found) == 2
    drawn = found.labels(0, 0, 1, 20)
    assert (drawn[4, 4], drawn[4, 14]) == (4, 1)


def test_self_crossing_outlines_are_mended(tmp_path: Path) -> None:
    bow = feature("TUM", (0, 0), (10, 10), (10, 0), (0, 10))
    assert len(read_class_areas(written(tmp_path / "a.json", bow), SYNTHETIC_SCHEMA, Place())) == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "cannot be read"),
        ("{", "not GeoJSON"),
        ("[1]", "not GeoJSON"),
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
        read_class_areas(path, SYNTHETIC_SCHEMA, Place())
    assert str(path) in str(caught.value)


def test_unknown_classes_can_be_skipped(tmp_path: Path) -> None:
    path = written(tmp_path / "a.geojson", square("Muscle", 0, 0, 9), square("STR", 0, 0, 5))
    assert len(read_class_areas(path, SYNTHETIC_SCHEMA, Place(), skip_unknown=True)) == 1


def test_glass_need_not_be_annotated(tmp_path: Path) -> None:
    """A patch at the edge of the tissue is fine; glass outside the scanned area counts as glass."""
    pixels = np.full((400, 400, 3), 245, np.uint8)
    pixels[:, :250] = (190, 90, 160)
    slide = Slide(ArrayReader(pixels, mpp=0.5, bounds=Box(0, 0, 380, 400)))
    edge = ClassAreas([(1, shapely.box(100, 100, 400, 300))])
    counts = write_patches(
        slide, edge, SYNTHETIC_SCHEMA, tmp_path, "s", PatchOptions(size=200, min_tissue=0.4)
    )
    assert counts["patches"] == 1


def test_a_rerun_leaves_no_patch_with_another_label(slide: Slide, truth: ClassAreas, tmp_path: Path) -> None:
    """A place with two labels teaches both."""
    other = tmp_path / "train" / "s-1-0-0[1000].png"  # of a slide called s-1
    for share in (0.0001, 0.3):
        write_patches(
            slide, truth, SYNTHETIC_SCHEMA, tmp_path, "s", PatchOptions(size=96, min_share=share, split="val")
        )
        write_patches(slide, truth, SYNTHETIC_SCHEMA, tmp_path, "s", PatchOptions(size=96, min_share=share))
        other.touch()
    for folder in ("train", "val/img", "val/mask"):
        places = [file.name.split("[")[0] for file in (tmp_path / folder).iterdir()]
        assert len(places) == len(set(places)) > 10
    assert other.exists()


@pytest.mark.parametrize("mpp", [0, -1, float("nan"), float("inf"), 1e-9])
def test_a_size_of_pixels_that_is_none_is_refused(mpp: float) -> None:
    with pytest.raises(DataError, match="--patch-mpp"):
        PatchOptions(mpp=mpp)


def test_an_annotation_far_outside_costs_nothing(slide: Slide, tmp_path: Path) -> None:
    far = ClassAreas([(1, shapely.box(0, 0, 900, 700)), (2, shapely.box(9e7, 9e7, 9e7 + 5, 9e7 + 5))])
    counts = write_patches(slide, far, SYNTHETIC_SCHEMA, tmp_path, "s", PatchOptions(size=96))
    assert counts["patches"] > 10


def test_names_are_matched_and_the_unmatched_counted(tmp_path: Path) -> None:
    features = [square("Tumor: Positive", 0, 0, 9), square("Fat", 20, 0, 9), square("Fat", 40, 0, 9)]
    path = written(tmp_path / "a.geojson", *features, square("Ignore*", 0, 0, 99))
    match = parse_match('"Tumor: Positive"=TUM, fat = ')
    areas = read_class_areas(path, SYNTHETIC_SCHEMA, Place(), match)
    assert areas.labels(0, 0, 1, 10)[5, 5] == 1
    assert len(areas) == 1
    with pytest.raises(DataError, match=r"Fat \(2\)"):
        read_class_areas(path, SYNTHETIC_SCHEMA, Place(), parse_match("Tumor: Positive=TUM"))
    skipped = read_class_areas(path, SYNTHETIC_SCHEMA, Place(), parse_match("Tumor: Positive=TUM"), True)
    assert "Fat (2)" in skipped.notes[-1]


@pytest.mark.parametrize("text", ["Tumor", "=TUM", "a=TUM,a=STR"])
def test_a_match_that_is_none_is_one_sentence(text: str) -> None:
    with pytest.raises(DataError, match="--match"):
        parse_match(text)


def test_a_match_with_a_class_that_is_not_there(tmp_path: Path) -> None:
    path = written(tmp_path / "a.geojson", square("A", 0, 0, 9))
    with pytest.raises(DataError, match="does not have"):
        read_class_areas(path, SYNTHETIC_SCHEMA, Place(), parse_match("A=Muscle"))
