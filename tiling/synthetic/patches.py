"""Weakly labelled patches of synthetic tissue, as folders in the reference's naming."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.classes import store_to_reference
from tiling.errors import DataError, disk_errors_as
from tiling.patch_files import PatchName, write_mask
from tiling.synthetic.slide import SYNTHETIC_SCHEMA, SyntheticSlide

__all__ = ["PRESENT", "Patch", "paint_patches", "presence"]

PRESENT = 0.02
"""A class is named in a patch's label when it covers at least this share of the patch."""

_SIDE_UM = 1024.0
_PER_SLIDE = 24
_SPLIT_SEEDS = {"train": 0, "val": 100_000, "test": 200_000}


@dataclass(frozen=True)
class Patch:
    """One patch and what it shows.

    Attributes
    ----------
    name : str
        File name with the presence label, ``…+0[1101].png``.
    pixels : (size, size, 3) uint8
    mask : (size, size) uint8
        Reference PNG indexing: class *i* is *i*, background is the number of classes.
    """

    name: str
    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def presence(labels: NDArray[np.uint8]) -> tuple[bool, ...]:
    """Return for each class whether it covers at least :data:`PRESENT` of these store labels, (h, w) uint8."""
    counts = np.bincount(labels.ravel(), minlength=len(SYNTHETIC_SCHEMA) + 1)[1:]
    return tuple(bool(c) for c in counts >= PRESENT * labels.size)


def _candidates(
    truth: NDArray[np.uint8], size: int, rng: np.random.Generator
) -> list[tuple[int, int, tuple[bool, ...]]]:
    """Cut a truth into a shifted grid and return (x, y, presence) of the patches that are mostly tissue, shuffled."""
    shift_x, shift_y = (int(v) for v in rng.integers(0, size, 2))
    found = []
    for y in range(shift_y, truth.shape[0] - size + 1, size):
        for x in range(shift_x, truth.shape[1] - size + 1, size):
            labels = truth[y : y + size, x : x + size]
            present = presence(labels)
            # Now and then a patch at the edge of the tissue, as in real sets.
            if any(present) and float((labels == 0).mean()) < (0.35 if rng.random() < 0.3 else 0.05):
                found.append((x, y, present))
    order = rng.permutation(len(found))
    return [found[i] for i in order]


def _patches(count: int, size: int, mpp: float, seed: int, single: float) -> Iterator[Patch]:
    """Yield ``count`` patches: the class that is rarest so far is served first, alone or in company."""
    served = np.zeros(len(SYNTHETIC_SCHEMA), int)
    side = max(round(_SIDE_UM / mpp), 3 * size)
    number = made = 0
    while made < count:
        slide = SyntheticSlide(side, side, mpp, seed + number)
        rng = np.random.default_rng([seed + number, size])
        number += 1
        left = _candidates(slide.truth(0, 0, side, side), size, rng)
        for _ in range(min(_PER_SLIDE, len(left), count - made)):
            alone = rng.random() < single
            rank = np.argsort(np.argsort(served, kind="stable"), kind="stable")
            # Best: shows the rarest class, and is single- or multi-label as drawn.
            scores = [
                min(int(rank[i]) for i, here in enumerate(present) if here)
                + 10 * ((sum(present) == 1) != alone)
                for _, _, present in left
            ]
            x, y, present = left.pop(int(np.argmin(scores)))
            served += np.array(present)
            name = PatchName(f"SYN-{slide.seed}-{x}-{y}+0", tuple(present))
            mask = store_to_reference(slide.truth(x, y, size, size), len(SYNTHETIC_SCHEMA))
            yield Patch(f"{name}.png", slide.render(x, y, size, size), mask)
            made += 1


def paint_patches(
    directory: str | os.PathLike[str],
    *,
    count: int = 1000,
    val: int = 100,
    test: int = 100,
    size: int = 224,
    mpp: float = 0.5,
    seed: int = 1000,
    single: float = 0.45,
) -> dict[str, int]:
    """Write a weakly labelled data set in the layout of BCSS-WSSS.

    ``train/*.png`` hold a class-presence label in their name (``…+0[1101].png``: TUM, STR, no LYM, NEC; present
    means at least 2 % of the patch); ``val`` and ``test`` hold ``img/*.png`` and, under the same name,
    ``mask/*.png``: palette PNGs whose index is the class, and the index after the last class is background.
    ``schema.json`` names the classes. The three sets come from different slides; the same arguments give the same
    files.

    Parameters
    ----------
    directory : path
        Folder to write into; made if needed.
    count, val, test : int
        Number of patches of each set.
    size : int
        Side of a patch in pixels.
    mpp : float
        µm per pixel.
    seed : int
        Slides ``seed``, ``seed + 1``, … are cut for training; the other sets use seeds 100,000 and 200,000 further
        on.
    single : float
        Share of patches that should show one class only, 0 to 1.

    Returns
    -------
    dict
        Number of patches written, by set.

    Raises
    ------
    DataError
        When a file cannot be written.
    """
    root = Path(directory)
    written = {"train": count, "val": val, "test": test}
    what = f"The patches cannot be written to {str(root)!r}"
    with disk_errors_as(DataError, what, "choose another folder"):
        root.mkdir(parents=True, exist_ok=True)
        (root / "schema.json").write_text(
            json.dumps(SYNTHETIC_SCHEMA.to_dict(), indent=2) + "\n", encoding="utf-8"
        )
        for split, wanted in written.items():
            images = root / split if split == "train" else root / split / "img"
            images.mkdir(parents=True, exist_ok=True)
            masks = root / split / "mask"
            for patch in _patches(wanted, size, mpp, seed + _SPLIT_SEEDS[split], single):
                Image.fromarray(patch.pixels).save(images / patch.name)
                if split != "train":
                    masks.mkdir(exist_ok=True)
                    write_mask(masks / patch.name, patch.mask, SYNTHETIC_SCHEMA)
    return written
