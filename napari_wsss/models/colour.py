"""Colour at a lower resolution than brightness: what two compressions of the same glass agree on.

JPEG and its relatives store colour at half the resolution or less. Two files of one slide are nearly equal in
brightness and differ in colour detail, and a network that uses such detail answers differently. Little is lost on H&E:
nuclei and fibres are drawn in brightness.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

__all__ = ["require_side", "smooth_colour"]

# ITU-R 601 luma, as JPEG has it.
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
_LONGEST = 255


def require_side(side: object) -> None:
    """Raise ValueError for what is no side of a box; bundles say it, and bundles may say anything."""
    if type(side) is not int or (side and (side % 2 == 0 or not 0 < side <= _LONGEST)):
        raise ValueError(
            f"colour_smoothing must be 0 or an odd number of pixels up to {_LONGEST}, not {side!r}"
        )


def smooth_colour(x: Tensor, side: int) -> Tensor:
    """Smooth the colour of images and keep their brightness.

    Parameters
    ----------
    x : (N, 3, H, W) float
        RGB.
    side : int
        Side of the box in pixels (odd) that is applied twice; 0 returns ``x``.

    Returns
    -------
    (N, 3, H, W) float
        With the luma of ``x``; values may leave the range of ``x`` a little.

    Notes
    -----
    A box is a row of columns, so two matrices, one per axis, say what two boxes do: a quarter of the time of averaging
    pixel by pixel. Only two colour differences are smoothed, because they tell the third.
    """
    require_side(side)
    if side == 0:
        return x
    luma = _RED * x[:, 0:1] + _GREEN * x[:, 1:2] + _BLUE * x[:, 2:3]
    smooth = _smoothed(x[:, 0::2] - luma, side)
    red, blue = smooth[:, 0:1], smooth[:, 1:2]
    green = (red * _RED + blue * _BLUE) / -_GREEN
    return torch.cat([red, green, blue], 1) + luma


@fx.wrap
def _smoothed(maps: Tensor, side: int) -> Tensor:
    """Apply two boxes along both axes; one step of a traced network, because its constants depend on the size."""
    height, width = (torch.from_numpy(_two_boxes(int(n), side)).to(maps) for n in maps.shape[2:])
    return height @ maps @ width.T


@functools.lru_cache(maxsize=16)
def _two_boxes(length: int, side: int) -> NDArray[np.float32]:
    """Return what a box applied twice along one axis does, (length, length) float32; boxes end with the image."""
    place = np.arange(length)
    box = (np.abs(place[:, None] - place) <= side // 2).astype(np.float64)
    box /= box.sum(1, keepdims=True)
    found: NDArray[np.float32] = (box @ box).astype(np.float32)
    return found
