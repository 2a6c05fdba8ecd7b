"""The head as a teacher: masks of labelled tiles, and tiles that nobody has labelled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image
from toy_projects import SMALL, held

from napari_wsss.project import Project
from napari_wsss.project.data_set import PAINTED, write_data_set
from napari_wsss.project.sketch import (
    Sketch,
    classes_of,
    draw_mask,
    sketch_of,
    sketched_patches,
    write_sketch,
)
from tiling.classes import ClassSchema
from tiling.errors import FewLabelsError
from tiling.files import read_json
from tiling.geometry import Box
from tiling.patch_files import PatchName
from tiling.synthetic import SYNTHETIC_SCHEMA

Make = Callable[..., Project]
CLASSES = len(SYNTHETIC_SCHEMA)


@given(
    st.integers(1, 7), st.sets(st.integers(0, CLASSES - 1), min_size=1), st.floats(0, 1), st.integers(0, 99)
)
def test_a_drawn_tile_holds_only_its_classes(places: int, held: set[int], sure: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(CLASSES), (places, places)).astype(np.float32)
    present = np.isin(np.arange(CLASSES), list(held))
    pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
    mask = draw_mask(probabilities, present, pixels, SYNTHETIC_SCHEMA)
    assert set(np.unique(mask)) <= held
    careful = draw_mask(probabilities, present, pixels, SYNTHETIC_SCHEMA, sure)
    assert ((careful == mask) | (careful == CLASSES)).all()
    if len(held) == 1:
        assert (careful == mask).all()


def test_white_is_left_out_where_the_schema_says_so() -> None:
    schema = ClassSchema("white", SYNTHETIC_SCHEMA.classes, white_background=True)
    pixels = np.full((32, 32, 3), 120, np.uint8)
    pixels[:8] = 250
    sure = np.zeros((2, 2, CLASSES), np.float32)
    sure[..., 1] = 1
    mask = draw_mask(sure, np.ones(CLASSES, np.bool_), pixels, schema)
    assert (mask[:6] == CLASSES).all()
    assert (mask[10:] == 1).all()


def test_a_tile_without_a_label_is_named_by_what_is_believed() -> None:
    mask = np.full((10, 10), CLASSES, np.uint8)
    assert classes_of(mask, CLASSES) is None
    mask[:5], mask[0, 0] = 1, 2  # one pixel in fifty is no class
    named = classes_of(mask, CLASSES)
    assert named is not None
    assert named.tolist() == [i == 1 for i in range(CLASSES)]


def test_a_tile_is_looked_at_in_four_directions() -> None:
    head: Any = SimpleNamespace(weights=SimpleNamespace(scores=lambda values: np.float32(values)))
    sketch = Sketch(head, (), ())
    pixels = np.random.default_rng(0).integers(0, 9, (6, 6, 3), np.uint8)
    as_it_lies = sketch.probabilities(pixels.astype(np.float16))
    # Eyes that do not care how a tile lies see the same four times; of others, the mean counts.
    np.testing.assert_allclose(
        sketch.turned(pixels.astype(np.float16), pixels, lambda tiles: np.float32(tiles)),
        as_it_lies,
        rtol=1e-5,
    )
    top = np.zeros((6, 6, 3), np.float32)
    top[:3, :, 0] = 50
    seen = sketch.turned(top.astype(np.float16), pixels, lambda tiles: np.stack([top] * len(tiles)))
    np.testing.assert_allclose(seen[..., 0], np.float32(2 / 3), atol=1e-5)
    np.testing.assert_array_equal(
        sketch.turned(top.astype(np.float16), pixels, None), sketch.probabilities(top.astype(np.float16))
    )


def test_the_sketch_of_a_project(make: Make, slides: dict[str, Path], tmp_path: Path) -> None:
    project = make(slides["small"])
    for row in range(3):
        for column in range(4):
            tile = project.tile_of("small", row, column)
            project.label("small", *tile.middle, held(SMALL, tile) or {"Stroma"})
    with pytest.raises(FewLabelsError, match="No prepared tile"):
        sketch_of(project, project._features)
    list(project.prepare("small", backend="torch"))
    aside = {tile.place for tile in project.set_aside(6)}
    box = Box(256, 384, 192, 128)
    for where in (Box(800, 600, 8, 8), Box(820, 600, 8, 8), box):
        project.correct("small", where, np.ones((where.height, where.width), np.uint8))
    sketch = sketch_of(project, project._features)
    assert sketch.others
    for tile, _ in sketch.others:
        assert tile.place not in aside
        assert tile.box.intersection(box).is_empty

    data, manifest = write_data_set(project)
    out = tmp_path / "sketched"
    assert sketched_patches(out) is None
    count = write_sketch(project, sketch, data, out)
    painted = {p.name for p in (data / PAINTED).iterdir()}
    labelled = {p.name for p in (data / "train").iterdir()} - painted
    assert len(labelled) == len(manifest["labels"])
    patches = {p.name for p in (out / "train").iterdir()}
    assert len(patches) == count == sketched_patches(out)
    assert painted <= patches
    assert patches - labelled - painted, "tiles that nobody labelled"
    assert {p.name for p in (out / "val" / "img").iterdir()} == {
        p.name for p in (data / "val" / "img").iterdir()
    }

    said = read_json(out / "masks" / "said.json")
    assert {f"{name}.png" for name in said["guessed"]} == patches - labelled - painted
    assert {f"{name}.png" for name in said["exact"]} >= painted
    assert not set(said["exact"]) & set(said["guessed"])

    # Every patch has a mask of its own classes; a tile that is not prepared only where its label leaves no doubt.
    assert {p.name for p in (out / "masks" / "PM_sketch").iterdir()} == patches
    prepared = {f"small-{round(t.tile.x)}-{round(t.tile.y)}" for t, _ in sketch.labelled}
    for name in labelled:
        single = sum(PatchName.parse(name, CLASSES).label) == 1
        assert (name in patches) == (single or name.partition("[")[0] in prepared)
    for name in patches:
        mask = np.asarray(Image.open(out / "masks" / "PM_sketch" / name))
        classes = set(np.unique(mask).tolist()) - {CLASSES}
        assert classes
        assert classes <= set(np.flatnonzero(PatchName.parse(name, CLASSES).label))
