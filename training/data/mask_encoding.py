"""Masks of another encoding that only happen to be legal: black and white, counted from 1, 0 for background."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["IGNORE", "MaskEncoding"]

IGNORE = 255
"""Label that every schema ignores, beside the one after its last class."""

_GLASS, _CONTRAST = 225.0, 25.0
"""Mean grey value above which pixels are glass, and how much darker tissue is at least."""


@dataclass(frozen=True)
class MaskEncoding:
    """What tells how masks are encoded: which labels occur, and how bright the tissue of label 0 and C is."""

    labels: NDArray[np.bool_]
    brightness: tuple[float, float]
    pixels: tuple[int, int]

    @classmethod
    def of(cls, image: Path, mask: NDArray[np.uint8], num_classes: int) -> MaskEncoding:
        """Look at one image and its mask (H, W) uint8."""
        found = np.zeros(256, np.bool_)
        found[np.unique(mask)] = True
        with Image.open(image) as picture:
            gray = np.asarray(picture.convert("L"))
        places = [gray[mask == label] for label in (0, num_classes)]
        return cls(found, (float(places[0].sum()), float(places[1].sum())), (places[0].size, places[1].size))

    def __add__(self, other: MaskEncoding) -> MaskEncoding:
        first, last = (a + b for a, b in zip(self.brightness, other.brightness, strict=True))
        return MaskEncoding(
            self.labels | other.labels,
            (first, last),
            (self.pixels[0] + other.pixels[0], self.pixels[1] + other.pixels[1]),
        )

    def problem(self, num_classes: int) -> str | None:
        """Say which other encoding the masks look like; None when they look as they should."""
        labels = set(np.flatnonzero(self.labels).tolist())
        advice = f"write class i as i and background as {num_classes}, or pass --trust-masks if this is right"
        if IGNORE in labels and labels <= {0, IGNORE}:
            return f"only 0 and 255 occur, and 255 would be ignored: a black-and-white mask? {advice}"
        if 0 not in labels and num_classes in labels and num_classes > 1:
            return f"no label is 0 and {num_classes} would be ignored: counted from 1? {advice}"
        if all(self.pixels) and num_classes > 1:
            first, last = (s / n for s, n in zip(self.brightness, self.pixels, strict=True))
            if first > _GLASS > last + _CONTRAST:
                return f"0 lies on white glass and {num_classes} on tissue: 0 for background? {advice}"
        return None
