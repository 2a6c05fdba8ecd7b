"""Training patches from annotated slides: pictures whose name says which classes they show."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.annotations import ClassAreas
from tiling.classes import ClassSchema, store_to_reference
from tiling.errors import DataError, disk_errors_as
from tiling.geometry import Box
from tiling.patch_files import PatchName, write_mask
from tiling.plan import tissue_mask
from tiling.slides import Slide

__all__ = ["PatchOptions", "write_patches"]

_MASK_SIDE = 2048  # longer side of the picture on which tissue is told from glass


@dataclass(frozen=True)
class PatchOptions:
    """How patches are cut.

    Attributes
    ----------
    mpp : float
        µm per pixel of the patches.
    size : int
        Side in pixels.
    stride : int or None
        Distance between patches in pixels; None: their size.
    min_share : float
        Share of a patch that a class must cover to be named.
    min_annotated : float
        Share of a patch's tissue that must be annotated: what is not annotated may be any class, and the label would
        claim its absence.
    min_tissue : float
        Share of a patch that must be tissue.
    split : {"train", "val", "test"}
        ``train``: labels in the names only. The others also get masks, for evaluation.
    """

    mpp: float = 0.5
    size: int = 224
    stride: int | None = None
    min_share: float = 0.02
    min_annotated: float = 0.95
    min_tissue: float = 0.5
    split: Literal["train", "val", "test"] = "train"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mpp) and 0.05 <= self.mpp <= 100):
            raise DataError(
                f"--patch-mpp {self.mpp:g} is no size of a pixel; give µm per pixel, such as 0.5."
            )
        if self.size < 1 or (self.stride is not None and self.stride < 1):
            raise DataError("A patch and the step to the next must be at least one pixel.")


@dataclass(frozen=True)
class _Patch:
    x: float
    y: float
    labels: NDArray[np.uint8]
    present: tuple[bool, ...]


def write_patches(
    slide: Slide, annotations: ClassAreas, schema: ClassSchema, out: Path, name: str, options: PatchOptions
) -> dict[str, int]:
    """Cut patches in the layout of BCSS-WSSS.

    ``out/train/<name>-<x>-<y>[1010].png``, or ``out/val/img`` and ``out/val/mask`` with palette masks in the
    reference's indexing; ``out/schema.json`` names the classes. Several slides may go to one folder. What was cut
    from this slide into this part before is replaced: one place never has two labels.

    Parameters
    ----------
    slide : Slide
    annotations : ClassAreas
    schema : ClassSchema
    out : Path
        Folder of the data set; made if needed.
    name : str
        Slide id; begins the names of the files.
    options : PatchOptions

    Returns
    -------
    dict
        ``patches`` and, per class name, how many patches show it.

    Raises
    ------
    ResolutionError
        When the slide does not say its µm per pixel.
    DataError
        When the folder belongs to another schema, cannot be written, or nothing was found to cut.
    """
    counts: Counter[str] = Counter(dict.fromkeys(["patches", *schema.names], 0))
    folder = out / options.split
    images = folder if options.split == "train" else folder / "img"
    with disk_errors_as(DataError, f"{out} cannot be written", "choose another place"):
        images.mkdir(parents=True, exist_ok=True)
        _write_schema(out / "schema.json", schema)
        earlier = _earlier(images, name, len(schema))
        for patch in _patches(slide, annotations, len(schema), options):
            file = f"{PatchName.at(name, patch.x, patch.y, patch.present)}.png"
            pixels = slide.read(patch.x, patch.y, options.size, options.size, options.mpp)
            Image.fromarray(pixels).save(images / file)
            if options.split != "train":
                (folder / "mask").mkdir(exist_ok=True)
                write_mask(folder / "mask" / file, store_to_reference(patch.labels, len(schema)), schema)
            earlier.discard(file)
            counts["patches"] += 1
            counts.update(n for n, here in zip(schema.names, patch.present, strict=True) if here)
        for file in earlier if counts["patches"] else ():
            (images / file).unlink(missing_ok=True)
            (folder / "mask" / file).unlink(missing_ok=True)
    if not counts["patches"]:
        raise DataError(
            f"{slide.path}: no patch of {options.size} px at {options.mpp:g} µm has {options.min_annotated:.0%} of its "
            "tissue annotated; annotate larger areas or lower --min-annotated."
        )
    return dict(counts)


def _patches(slide: Slide, annotations: ClassAreas, classes: int, options: PatchOptions) -> Iterator[_Patch]:
    """Yield the patches of the grid that may be used, in reading order."""
    scale = options.mpp / slide.require_mpp()
    step = (options.stride or options.size) * scale
    tissue = _Tissue(slide)
    # An annotation far outside must not make the grid endless.
    left, top, right, bottom = annotations.bounds
    left, top = max(left, slide.bounds.x), max(top, slide.bounds.y)
    right, bottom = min(right, slide.bounds.right), min(bottom, slide.bounds.bottom)
    side = options.size * scale
    for row in range(max(1, math.floor((bottom - top - side) / step) + 1)):
        for column in range(max(1, math.floor((right - left - side) / step) + 1)):
            x, y = left + column * step, top + row * step
            if not annotations.touches(x, y, side):
                continue
            labels = annotations.labels(x, y, scale, options.size)
            if not labels.any():
                continue
            is_tissue = tissue.inside(x, y, side, options.size)
            shown = np.where(is_tissue, labels, 0).astype(np.uint8)
            counts = np.bincount(shown.ravel(), minlength=classes + 1)[1:]
            present = tuple(bool(c) for c in counts >= options.min_share * labels.size)
            enough = is_tissue.mean() >= options.min_tissue
            if enough and any(present) and counts.sum() >= options.min_annotated * is_tissue.sum():
                yield _Patch(x, y, shown, present)


def _earlier(images: Path, name: str, classes: int) -> set[str]:
    """Return the files that were cut from this slide before."""
    found = set()
    for file in images.glob("*.png"):
        with suppress(DataError):  # a file of another kind is not ours to judge
            place = PatchName.parse(file.stem, classes).place
            if re.fullmatch(re.escape(name) + r"-(-?\d+)-(-?\d+)", place):
                found.add(file.name)
    return found


class _Tissue:
    """Where a slide shows tissue, looked up on one small picture of it."""

    def __init__(self, slide: Slide) -> None:
        picture = slide.thumbnail(_MASK_SIDE)
        self._bounds: Box = slide.bounds
        self._step = slide.bounds.width / picture.shape[1], slide.bounds.height / picture.shape[0]
        self._mask = tissue_mask(picture, slide.require_mpp() * self._step[0])

    def inside(self, x: float, y: float, side: float, size: int) -> NDArray[np.bool_]:
        """Return (size, size) for the square at level-0 (x, y); glass outside the scanned area."""
        at = (np.arange(size) + 0.5) * side / size
        columns = np.floor((x + at - self._bounds.x) / self._step[0]).astype(int)
        rows = np.floor((y + at - self._bounds.y) / self._step[1]).astype(int)
        height, width = self._mask.shape
        known = np.outer((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
        found = self._mask[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
        return np.asarray(found & known)


def _write_schema(path: Path, schema: ClassSchema) -> None:
    text = json.dumps(schema.to_dict(), indent=2, ensure_ascii=False) + "\n"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != schema.to_dict():
        raise DataError(f"{path} names other classes than schema {schema.name!r}; choose another folder.")
    path.write_text(text, encoding="utf-8")
