"""Resampling by exact, real-valued steps: which pixels a region needs, and what it makes of them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Axis", "resample"]

ALIGNED = 1e-3
"""Offsets and drifts below a thousandth of a pixel count as none: the pixels are copied, not resampled."""

# Neither has negative weights: no ringing at edges, and rounding between the two axes cannot grow beyond one
# grey level. HAMMING is the sharper one but made for reduction.
_REDUCE, _ENLARGE = Image.Resampling.HAMMING, Image.Resampling.BILINEAR
_FILTER_SUPPORT = 1.0


@dataclass(frozen=True)
class Axis:
    """One axis of a resampled region: result pixel *i* begins at level pixel ``start + i * step``.

    Attributes
    ----------
    start : float
        Where the region begins, in pixels of the level.
    step : float
        Level pixels per pixel of the result.
    count : int
        Pixels of the result.
    extent : int
        Pixels of the level.
    """

    start: float
    step: float
    count: int
    extent: int

    @property
    def aligned(self) -> bool:
        """Whether result pixels are level pixels."""
        drift = abs(self.step - 1) * max(1, self.count)
        return abs(self.start - round(self.start)) < ALIGNED and drift < ALIGNED

    @property
    def filter(self) -> Image.Resampling:
        """The filter for this step."""
        return _REDUCE if self.step >= 1 else _ENLARGE

    def edge(self, i: int) -> float:
        """Return where result pixel *i* begins."""
        return self.start + i * self.step

    def inside(self) -> range:
        """Return the result pixels whose centre lies on the level."""
        first = min(max(0, math.ceil(-self.start / self.step - 0.5)), self.count)
        stop = min(math.ceil((self.extent - self.start) / self.step - 0.5), self.count)
        return range(first, max(first, stop))

    def source(self, part: range) -> tuple[int, int]:
        """Return first and last + 1 level pixel that a part of the result needs, with the filter's reach."""
        reach = _FILTER_SUPPORT * max(1.0, self.step) + 1
        return math.floor(self.edge(part.start) - reach), math.ceil(self.edge(part.stop) + reach)


def resample(
    pixels: NDArray[np.uint8], across: Axis, down: Axis, columns: range, rows: range
) -> NDArray[np.uint8]:
    """Resample the part ``columns`` × ``rows`` of a region.

    Parameters
    ----------
    pixels : (h, w, 3) uint8
        The level pixels ``across.source(columns)`` × ``down.source(rows)``.
    across, down : Axis
    columns, rows : range
        Pixels of the result.

    Returns
    -------
    (len(rows), len(columns), 3) uint8
        Within one grey level independent of how a region is cut into parts.
    """
    left, top = across.source(columns)[0], down.source(rows)[0]
    # Two calls, because Pillow chooses the order of the axes by the size of the region, and with rounding
    # in between the order shows.
    width, height = len(columns), len(rows)
    x0, x1 = across.edge(columns.start) - left, across.edge(columns.stop) - left
    y0, y1 = down.edge(rows.start) - top, down.edge(rows.stop) - top
    image = Image.fromarray(pixels)
    image = image.resize((width, image.height), across.filter, box=(x0, 0, x1, image.height))
    image = image.resize((width, height), down.filter, box=(0, y0, width, y1))
    return np.asarray(image)
