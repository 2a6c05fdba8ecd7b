"""Pseudo masks as files: the reference's palette PNGs, and the record of how a folder of them was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.classes import ClassSchema
from tiling.files import read_json, replacing

__all__ = ["MASKS_JSON", "recorded_layers", "reference_palette", "write_mask"]

MASKS_JSON = "masks.json"


def reference_palette(schema: ClassSchema) -> list[int]:
    """Return the palette of the reference's masks: the colours of the classes, then white for background."""
    return [*schema.palette[1:].ravel().tolist(), 255, 255, 255]


def write_mask(path: Path, mask: NDArray[np.uint8], palette: Sequence[int]) -> None:
    """Write a palette PNG atomically; (H, W) uint8 indexes."""
    image = Image.fromarray(mask, mode="P")
    image.putpalette(palette)
    with replacing(path) as file:
        image.save(file, format="PNG")


def recorded_layers(masks: Path) -> tuple[str, ...]:
    """Return the layers that :func:`make_pseudo_masks` wrote in a folder, deepest first; none for other programs'."""
    record = masks / MASKS_JSON
    return tuple(reversed(read_json(record)["layers"])) if record.is_file() else ()
