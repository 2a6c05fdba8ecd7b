"""The head as a teacher: it draws the masks that stage 2 learns from, of tiles with labels and of others it is sure of.

A label tells what a tile holds, and the head, which is fitted on all labels, where in it. What a linear head on frozen
features gets wrong at random, a network that is trained on it need not repeat.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_wsss.models import white_background
from napari_wsss.project.asking import ask
from napari_wsss.project.cache import FeatureCache
from napari_wsss.project.core import ProjectCore
from napari_wsss.project.corrections import read_corrections
from napari_wsss.project.data_set import PAINTED
from napari_wsss.project.encoder import Encode
from napari_wsss.project.fitted import Head
from napari_wsss.project.fitting import agreed_labels, fit_head
from napari_wsss.project.head import softmax
from napari_wsss.project.painted import JUDGED, said_of
from napari_wsss.project.tiles import Tile, TileLabel
from tiling.classes import ClassSchema
from tiling.errors import TrainingError, disk_errors_as
from tiling.files import read_json, write_json_atomic
from tiling.patch_files import PatchName, write_mask

__all__ = [
    "MASKS",
    "Sketch",
    "classes_of",
    "draw_mask",
    "sketch_of",
    "sketched_patches",
    "write_sketch",
]

MASKS = "masks"
"""Folder of the masks that stage 2 learns from, in the folder that :func:`write_sketch` fills."""

_LAYER = "sketch"

LOOKED_AT = 1000
"""Tiles without labels, drawn at random, of which those are taken that the head is sure of."""

SURE = 0.6
"""Probability from which the sketch of a tile without labels is believed; below it the pixel is ignored."""

_TURNS = (1, 2, 3)
_MADE = "made.json"
_SAID = "said.json"  # training.data.files.SAID_JSON
_MAY_BE_HELD = 0.05  # mean probability in a tile below which a class is taken to be absent
_LEAST_SURE = 0.3  # share of a tile that must be believed
_LEAST_HELD = 0.04  # share of what is believed that names a class


@dataclass(frozen=True)
class Sketch:
    """A head with the tiles that it can draw.

    Attributes
    ----------
    head : Head
    labelled : sequence of (TileLabel, (P, P, V) float16)
        What it was fitted on.
    others : sequence of (Tile, (P, P, V) float16)
        Tissue without labels, never what is set aside for a test.
    """

    head: Head
    labelled: Sequence[tuple[TileLabel, NDArray[np.float16]]]
    others: Sequence[tuple[Tile, NDArray[np.float16]]]

    def probabilities(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return class probabilities of places, (P, P, V) -> (P, P, C)."""
        return softmax(self.head.weights.scores(values))

    def turned(
        self, values: NDArray[np.float16], pixels: NDArray[np.uint8], encode: Encode | None
    ) -> NDArray[np.float32]:
        """Return the same, averaged over the tile as it lies and turned by 90, 180 and 270 degrees.

        Parameters
        ----------
        values : (P, P, V) float16
            Of the tile as it lies.
        pixels : (T, T, 3) uint8
        encode : Encode or None
            None: only as it lies.
        """
        parts = [self.probabilities(values)]
        if encode is not None:
            found = encode(np.stack([np.rot90(pixels, turns) for turns in _TURNS]))
            parts += [np.rot90(self.probabilities(v), -turns) for turns, v in zip(_TURNS, found, strict=True)]
        mean: NDArray[np.float32] = np.mean(parts, axis=0, dtype=np.float32)
        return mean


def sketch_of(project: ProjectCore, cache: FeatureCache) -> Sketch:
    """Return what the head can draw.

    Raises
    ------
    FewLabelsError
        Where no labelled tile is prepared.
    """
    head = fit_head(project, cache, None)
    tiles = ask(project, cache, None, LOOKED_AT, "random", ())
    others = []
    for slide_id in project.slides:
        # What a person has painted needs no sketch, and what judges a model does not train it.
        painted = [c.box for c in read_corrections(project, slide_id)]
        here = [
            tile
            for tile in tiles
            if tile.slide_id == slide_id and all(tile.box.intersection(box).is_empty for box in painted)
        ]
        found = cache.tiles(slide_id, [tile.place for tile in here]) if here else {}
        others += [(tile, found[tile.place]) for tile in here if tile.place in found]
    taught = head.taught
    return Sketch(head, list(zip(taught.labels, taught.values, strict=True)), others)


def draw_mask(
    probabilities: NDArray[np.float32],
    present: NDArray[np.bool_],
    pixels: NDArray[np.uint8],
    schema: ClassSchema,
    sure: float = 0.0,
) -> NDArray[np.uint8]:
    """Draw a tile: at every pixel the most probable of the classes that it holds.

    Parameters
    ----------
    probabilities : (P, P, C) float32
        Of places.
    present : (C,) bool
    pixels : (T, T, 3) uint8
        Their white is left out where the schema says so.
    schema : ClassSchema
    sure : float, optional
        Share of the present classes' probability that the best one needs.

    Returns
    -------
    (T, T) uint8
        Class indexes; C where nothing is said.
    """
    size = pixels.shape[1::-1]
    planes = np.where(present, probabilities, np.float32(0)).transpose(2, 0, 1)
    drawn = np.stack(
        [
            np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BILINEAR))
            for p in np.ascontiguousarray(planes)
        ]
    )
    mask: NDArray[np.uint8] = drawn.argmax(0).astype(np.uint8)
    mask[drawn.max(0) < sure * drawn.sum(0)] = len(present)
    if schema.white_background:
        mask[white_background(pixels)] = len(present)
    return mask


def classes_of(mask: NDArray[np.uint8], classes: int) -> NDArray[np.bool_] | None:
    """Return the classes that a tile without a label is taken to hold; None where too little of it is believed."""
    counts = np.bincount(mask.ravel(), minlength=classes + 1)[:classes]
    if counts.sum() < _LEAST_SURE * mask.size:
        return None
    return np.asarray(counts >= _LEAST_HELD * counts.sum())


def sketched_patches(out: Path) -> int | None:
    """Return how many patches :func:`write_sketch` has written; None where it has not, or not to the end."""
    try:
        return int(read_json(out / _MADE)["patches"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_sketch(
    project: ProjectCore, sketch: Sketch, data: Path, out: Path, encode: Encode | None = None
) -> int:
    """Write a data root for stage 2: labelled tiles, tiles without labels that the head is sure of, and their masks.

    Parameters
    ----------
    project : ProjectCore
    sketch : Sketch
    data : Path
        What :func:`napari_wsss.project.data_set.write_data_set` has written.
    out : Path
        Gets ``train/``, ``val/`` where there is one, and ``masks/``. A label of several classes on a tile that is not
        prepared says nothing about where they are, and is left out.
    encode : Encode, optional
        Lets the head look at tiles in four directions.

    Returns
    -------
    int
        Patches in ``out/train``.

    Raises
    ------
    SlideError, TrainingError
    """
    shutil.rmtree(out, ignore_errors=True)
    with disk_errors_as(TrainingError, f"{out} cannot be written", "mend it"):
        (out / MASKS / f"PM_{_LAYER}").mkdir(parents=True)
        (out / "train").mkdir()
        if (data / "val").is_dir():
            shutil.copytree(data / "val", out / "val", copy_function=_linked)
        known = {_name(label.tile, label.present): values for label, values in sketch.labelled}
        regions = _Regions(project)
        exact = []
        for patch in sorted((data / "train").iterdir()):
            if (painted := data / PAINTED / patch.name).is_file():
                _linked(str(patch), str(out / "train" / patch.name))
                _linked(str(painted), str(out / MASKS / f"PM_{_LAYER}" / patch.name))
                exact.append(patch.stem)
                continue
            present = np.array(PatchName.parse(patch.name, len(project.schema)).label, np.bool_)
            if patch.name not in known and present.sum() > 1:
                continue
            with Image.open(patch) as image:
                pixels = np.asarray(image.convert("RGB"))
            drawn = (
                sketch.turned(known[patch.name], pixels, encode)
                if patch.name in known
                else present[None, None].astype(np.float32)
            )
            mask = draw_mask(drawn, present, pixels, project.schema)
            if regions.mend(patch.name, mask, present):
                exact += [patch.stem] * regions.touch(patch.name)
                _linked(str(patch), str(out / "train" / patch.name))
                _write_mask(out, patch.name, mask, project.schema)
        labelled = {patch.stem for patch in (out / "train").iterdir()}
        for slide_id in project.slides:
            _add_unlabelled(project, sketch, slide_id, out, encode)
        guessed = sorted({patch.stem for patch in (out / "train").iterdir()} - labelled)
        # Stage 2 keeps to painted masks, and does not learn from guesses what a tile holds.
        write_json_atomic(out / MASKS / _SAID, {"exact": exact, "guessed": guessed})
        write_json_atomic(out / MASKS / "masks.json", {"layers": [_LAYER], "made with": "sketch"})
        count = sum(1 for _ in (out / "train").iterdir())
        write_json_atomic(out / _MADE, {"patches": count})
    return count


class _Regions:
    """What painted regions say of labelled tiles."""

    def __init__(self, project: ProjectCore) -> None:
        self.project = project
        labels = [label for label in agreed_labels(project.labels())[0] if not label.test]
        self.tiles = {_name(label.tile, label.present): label.tile for label in labels}
        self.painted = {slide_id: list(read_corrections(project, slide_id)) for slide_id in project.slides}

    def touch(self, name: str) -> bool:
        """Whether something is painted in a tile."""
        tile = self.tiles[name]
        return any(not tile.box.intersection(c.box).is_empty for c in self.painted[tile.slide_id])

    def mend(self, name: str, mask: NDArray[np.uint8], present: NDArray[np.bool_]) -> bool:
        """Put what is painted into a tile's mask, and nothing where a region judges; tell whether something is left."""
        if not self.touch(name):
            return True
        tile, classes = self.tiles[name], len(present)
        painted = self.painted[tile.slide_id]
        step = self.project.mpp / self.project.entry(tile.slide_id).mpp
        said = said_of(painted, tile.x, tile.y, mask.shape, step)
        # A class that the tile's own label denies is a contradiction: neither is believed.
        exact = np.where(np.append(present, False), np.arange(classes + 1), classes).astype(np.uint8)
        told = (said > 0) & (said != JUDGED)
        mask[told] = exact[said[told] - 1]
        mask[said == JUDGED] = classes
        return bool((mask < classes).any())


def _name(tile: Tile, present: Sequence[bool]) -> str:
    return f"{PatchName.at(tile.slide_id, tile.x, tile.y, tuple(present))}.png"


def _write_mask(out: Path, name: str, mask: NDArray[np.uint8], schema: ClassSchema) -> None:
    write_mask(out / MASKS / f"PM_{_LAYER}" / name, mask, schema)


def _add_unlabelled(
    project: ProjectCore, sketch: Sketch, slide_id: str, out: Path, encode: Encode | None
) -> None:
    """Add the tiles of a slide that nobody has labelled, as far as the head is sure of them."""
    here = [(tile, values) for tile, values in sketch.others if tile.slide_id == slide_id]
    if not here:
        return
    side, classes = project.tile, len(project.schema)
    with project.open_slide(slide_id) as slide:
        for tile, values in here:
            probabilities = sketch.probabilities(values)
            present = probabilities.mean((0, 1)) > _MAY_BE_HELD
            if np.mean(_best(probabilities, present) >= SURE) < _LEAST_SURE / 2:
                continue  # not worth reading
            pixels = slide.read(tile.x, tile.y, side, side, project.mpp)
            probabilities = sketch.turned(values, pixels, encode)
            mask = draw_mask(probabilities, present, pixels, project.schema, SURE)
            held = classes_of(mask, classes)
            if held is None:
                continue
            mask[~np.append(held, True)[mask]] = classes
            name = _name(tile, held.tolist())
            Image.fromarray(pixels).save(out / "train" / name)
            _write_mask(out, name, mask, project.schema)


def _best(probabilities: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the share of the best class in what the present ones have, per place."""
    allowed = np.where(present, probabilities, np.float32(0))
    return np.asarray(allowed.max(-1) / np.maximum(allowed.sum(-1), np.float32(1e-9)))


def _linked(source: str, target: str) -> None:
    """Link a file, or copy it where files cannot be linked."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
