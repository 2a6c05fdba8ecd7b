"""Multi-label training patches with exact masks, mixed from patches that hold one class each.

A patch of one class needs no pixel labels: its mask is that class. Pieces of several such patches side by side are a
patch with several classes whose mask is known to the pixel. (PistoSeg, AAAI 2023, trains on such mosaics alone.)
The folder that :func:`write_mosaics` makes is an ordinary data root: stage 1 and stage 2 train on it as on any other.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.classes import ClassSchema
from tiling.errors import DataError
from tiling.files import read_json, write_json_atomic
from tiling.patch_files import PatchName, write_mask
from training.data.augment import augment, mosaic, stain_jitter, voronoi_cells
from training.data.files import pseudo_mask_path
from training.settings import AugmentSettings

__all__ = ["EXACT", "MosaicSettings", "mix", "window", "write_mosaics"]

EXACT = "exact"
"""Name of the mask layer that :func:`write_mosaics` writes: ``train_PM/PM_exact``."""

_log = logging.getLogger("training")
_MADE = "made.json"
_TURNS = AugmentSettings(vertical_flip=0.5, rotate=True)
_TRIES = 8
_WRITERS = 2


@dataclass(frozen=True)
class MosaicSettings:
    """What the patches look like.

    Attributes
    ----------
    side : int
        Of a patch in px.
    single : float
        Share of patches that hold one class only.
    classes : int
        Most classes in a mosaic.
    cell : tuple of float
        Smallest and largest typical side of a piece in px; drawn anew for every mosaic.
    least : float
        Smallest share of a mosaic that each of its classes takes up.
    zoom : float
        Every source is magnified by a factor from 1 / (1 + zoom) to 1 + zoom.
    stain : float
        Jitter of haematoxylin and eosin per source (see :func:`training.data.augment.stain_jitter`): pieces of one
        class must not be known by the colour of their slide.
    """

    side: int = 224
    single: float = 0.5
    classes: int = 4
    cell: tuple[float, float] = (40.0, 160.0)
    least: float = 0.04
    zoom: float = 0.25
    stain: float = 0.0


def window(image: NDArray[np.uint8], side: int, factor: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut a random square out of a patch, magnified; what lies over the edge is the mirrored patch.

    Parameters
    ----------
    image : (H, W, 3) uint8
    side : int
        Of the result in px.
    factor : float
        Magnification; the square is ``side / factor`` px of the patch.
    rng : numpy.random.Generator

    Returns
    -------
    (side, side, 3) uint8
    """
    cut = max(1, round(side / factor))
    margins = [(max(0, cut - length + 1) // 2, max(0, cut - length) // 2) for length in image.shape[:2]]
    if any(map(any, margins)):
        image = np.pad(image, (*margins, (0, 0)), mode="symmetric")
    y, x = (int(rng.integers(length - cut + 1)) for length in image.shape[:2])
    part = image[y : y + cut, x : x + cut]
    if cut == side:
        return part.copy()
    resized = Image.fromarray(np.ascontiguousarray(part)).resize((side, side), Image.Resampling.BICUBIC)
    return np.array(resized)


def mix(
    sources: Sequence[Sequence[NDArray[np.uint8]]], settings: MosaicSettings, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Make one patch: a single class, or a mosaic of several, every class equally often.

    Parameters
    ----------
    sources : sequence, one entry per class
        Patches (H, W, 3) uint8 that hold only this class; an entry may be empty.
    settings : MosaicSettings
    rng : numpy.random.Generator

    Returns
    -------
    image : (side, side, 3) uint8
    mask : (side, side) uint8
        Class indexes; exact.

    Raises
    ------
    DataError
        When there is no source at all.
    """
    usable = [c for c, found in enumerate(sources) if found]
    if not usable:
        raise DataError("There is no patch that holds a single class, so no mosaic can be made.")
    most = min(settings.classes, len(usable))
    count = 1 if most < 2 or rng.random() < settings.single else int(rng.integers(2, most + 1))
    classes = rng.permutation(usable)[:count]
    pieces = [_source(sources[c][int(rng.integers(len(sources[c])))], settings, rng) for c in classes]
    masks = [np.full((settings.side, settings.side), c, np.uint8) for c in classes]
    if count == 1:
        return pieces[0], masks[0]
    return mosaic(pieces, masks, _cells(count, settings, rng))


def _source(
    patch: NDArray[np.uint8], settings: MosaicSettings, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Zoom, turn and stain one patch."""
    bound = np.log1p(settings.zoom)
    image = window(patch, settings.side, float(np.exp(rng.uniform(-bound, bound))), rng)
    image, _ = augment(image, (), _TURNS, rng)
    return stain_jitter(image, settings.stain, rng) if settings.stain > 0 else image


def _cells(count: int, settings: MosaicSettings, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw cells until each source has its least share; of several failures the best is taken."""
    side = settings.side
    best, found = -1.0, np.zeros((side, side), np.intp)
    for _ in range(_TRIES):
        cell = float(np.exp(rng.uniform(*np.log(settings.cell))))
        pieces = int(np.clip(round(side * side / cell**2), count, 64))
        cells = voronoi_cells((side, side), pieces, count, rng)
        least = float(np.bincount(cells.ravel(), minlength=count).min()) / cells.size
        if least > best:
            best, found = least, cells
        if best >= settings.least:
            break
    return found


def write_mosaics(
    sources: Sequence[Sequence[NDArray[np.uint8]]],
    schema: ClassSchema,
    root: Path,
    count: int,
    settings: MosaicSettings,
    seed: int,
    note: str = "",
) -> None:
    """Write a data root for stage 1 and stage 2; one that is there already, made the same way, is kept.

    Parameters
    ----------
    sources : sequence, one entry per class of ``schema``
        Patches (H, W, 3) uint8 that hold only this class.
    schema : ClassSchema
    root : Path
        Gets ``train/*.png``, labels in the names (the union of the mask's classes), and ``train_PM/PM_exact/*.png``.
    count : int
        Number of patches.
    settings : MosaicSettings
    seed : int
        Patch *i* depends on ``(seed, i)`` and the sources only.
    note : str
        Identifies the sources; another note makes the root anew.

    Raises
    ------
    DataError
        When there are no sources, or the folder holds something else.
    """
    facts: dict[str, Any] = {"count": count, "seed": seed, "sources": note, "schema": schema.name}
    facts |= {**asdict(settings), "cell": list(settings.cell)}
    made = root / _MADE
    if made.is_file() and read_json(made) == facts:
        return
    if root.exists() and any(root.iterdir()) and not made.is_file():
        raise DataError(f"{root} holds other files than mosaics; choose another folder.")
    for part in (root / "train", root / "train_PM"):
        shutil.rmtree(part, ignore_errors=True)
    (root / "train").mkdir(parents=True)
    (root / "train_PM" / f"PM_{EXACT}").mkdir(parents=True)
    write_json_atomic(made, {})

    def make(number: int) -> None:
        image, mask = mix(sources, settings, np.random.default_rng((seed, number)))
        present = tuple(np.isin(np.arange(len(schema)), mask).tolist())
        path = root / "train" / f"{PatchName(f'm{number:05}-', present)}.png"
        Image.fromarray(image).save(path, compress_level=1)
        write_mask(pseudo_mask_path(root / "train_PM", EXACT, path), mask, schema)

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(make, range(count)))
    # Last: a killed run starts over instead of training on a part.
    write_json_atomic(made, facts)
    _log.info("%s: %d patches", root, count)
