"""Tiny data roots for the training tests: four textures, 32 px, written in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tiling.classes import ClassSchema, TissueClass

SIDE = 32
SCHEMA = ClassSchema(
    "tiny",
    (
        TissueClass("dark", "DRK", "#ff0000"),
        TissueClass("stripes", "STP", "#00ff00"),
        TissueClass("pale", "PAL", "#0000ff"),
    ),
)
_COLOURS = np.array([(90, 40, 120), (200, 80, 140), (230, 200, 220)])


def texture(mask: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint a mask (H, W) of class indexes: one noisy colour per class, stripes on class 1; ignore is white."""
    image = np.full((*mask.shape, 3), 250.0)
    for c, colour in enumerate(_COLOURS):
        image[mask == c] = colour
    columns = np.arange(mask.shape[1]) % 4 < 2
    image[(mask == 1) & columns] -= 40
    noise = rng.normal(0, 8, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def random_mask(rng: np.random.Generator, single: bool) -> NDArray[np.uint8]:
    """One class everywhere, or two classes side by side."""
    a, b = rng.permutation(3)[:2]
    mask = np.full((SIDE, SIDE), a, np.uint8)
    if not single:
        mask[:, int(rng.integers(SIDE // 4, 3 * SIDE // 4)) :] = b
    return mask


def save_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    image = Image.fromarray(mask, mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255])
    image.save(path)


def write_root(root: Path, train: int = 24, val: int = 4, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    (root / "train").mkdir(parents=True)
    for i in range(train):
        mask = random_mask(rng, single=i % 2 == 0)
        label = " ".join(str(int((mask == c).any())) for c in range(3))
        Image.fromarray(texture(mask, rng)).save(root / "train" / f"p{i:03d}-[{label}].png")
    for kind in ("img", "mask"):
        (root / "val" / kind).mkdir(parents=True)
    for i in range(val):
        mask = random_mask(rng, single=False)
        Image.fromarray(texture(mask, rng)).save(root / "val" / "img" / f"v{i}.png")
        save_mask(root / "val" / "mask" / f"v{i}.png", mask)
    (root / "schema.json").write_text(json.dumps(SCHEMA.to_dict()), encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def schema() -> ClassSchema:
    """The three classes of the tiny data roots."""
    return SCHEMA


@pytest.fixture(scope="session")
def make_root() -> Callable[..., Path]:
    """The function that writes a data root, for fixtures of a wider scope."""
    return write_root


@pytest.fixture
def tiny_root(tmp_path: Path) -> Path:
    """A fresh data root that a test may damage."""
    return write_root(tmp_path / "data")
