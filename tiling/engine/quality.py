"""What is wrong with a tile that was read all the same: out of focus, pen, a fold, a bubble. A doubt, never a verdict.

Flags are computed from the tile alone, in the thread that read it, on means of 2 × 2 pixels: about a millisecond a
tile. Nothing is dropped because of them; *Review* shows such tiles and the receipt counts them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tiling.store import FLAG_BLUR, FLAG_BUBBLE, FLAG_FOLD, FLAG_PEN

__all__ = ["tile_quality"]

_DENSITY = np.log(246.0 / (np.arange(256) + 1.0)).astype(np.float32)  # of each gray level, against white
_STAINED = 0.15  # density of what is no glass
_LEAST_TISSUE = 0.15  # share of a tile below which its focus is not judged
_LEAST_STRUCTURE = 0.03  # deviation of the density below which there is nothing to be sharp or not
_SHARP = 0.155  # part of the structure that lies in the finest details of a tile in focus
_FINEST_UM = 1.0  # focus is judged at this size of pixels: models look at no finer ones
_COARSEST_UM = 1.5  # coarser tiles do not show whether the scan was in focus
_FOLDED = 1.45  # mean density over 12 µm: two layers of tissue, where one of dense nuclei has about 1
_PEN_SHARE, _FOLD_SHARE, _BUBBLE_SHARE = 0.1, 0.08, 0.4

Plane = NDArray[np.float32]


def tile_quality(pixels: NDArray[np.uint8], mpp: float) -> int:
    """Return the doubts about a tile.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
    mpp : float
        µm per pixel.

    Returns
    -------
    int
        Sum of ``FLAG_BLUR``, ``FLAG_PEN``, ``FLAG_FOLD`` and ``FLAG_BUBBLE``; 0 for a tile without doubts.
    """
    factor = max(1, round(_FINEST_UM / mpp))
    red, green, blue = _densities(pixels, factor)
    mpp *= factor
    mean: Plane = (red + green + blue) / 3
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    stained = mean > _STAINED
    flags = 0
    if not stained.any():
        return flags
    if mpp <= _COARSEST_UM and stained.mean() >= _LEAST_TISSUE and _is_blurred(mean, stained, mpp):
        flags |= FLAG_BLUR
    if _pen(red, green, blue, mean, chroma).mean() > _PEN_SHARE:
        flags |= FLAG_PEN
    elif (ndimage.uniform_filter(mean, max(3, round(12 / mpp))) > _FOLDED).mean() > _FOLD_SHARE:
        flags |= FLAG_FOLD
    # Gray without stain and without cells: a bubble, the edge of a cover slip, a shadow.
    gray = ndimage.uniform_filter(np.where(stained & (chroma < 0.25 * mean), 1, 0).astype(np.float32), 5)
    if not flags & FLAG_PEN and (gray > 0.9).mean() > _BUBBLE_SHARE:
        flags |= FLAG_BUBBLE
    return flags


def _densities(pixels: NDArray[np.uint8], factor: int) -> Plane:
    """Return the densities of the means of squares of pixels, (3, h, w)."""
    if factor > 1 and min(pixels.shape[:2]) >= factor:
        pixels = np.asarray(Image.fromarray(pixels).reduce(factor))
    return np.take(_DENSITY, np.moveaxis(pixels, 2, 0))


def _is_blurred(mean: Plane, stained: NDArray[np.bool_], mpp: float) -> bool:
    """Whether little of the structure of the stained part is fine."""
    coarse = ndimage.uniform_filter(mean, max(3, round(16 / mpp)))
    structure = (mean - coarse)[stained]
    deviation = float(structure.std())
    if deviation < _LEAST_STRUCTURE:
        return False
    fine = (mean - ndimage.uniform_filter(mean, 3))[stained]
    return float(fine.std()) < _SHARP * deviation


def _pen(red: Plane, green: Plane, blue: Plane, mean: Plane, chroma: Plane) -> NDArray[np.bool_]:
    """Return what has the colour of ink; the rules of :mod:`tiling.plan.ink` for single pixels."""
    blue_or_green = ((red > 0.5) & (green < 0.68 * red)) | ((red > 1.5) & (green < 0.88 * red))
    black = (mean > 1.4) & (chroma < 0.35 * mean)
    red_ink = (green > 1.8) & (blue > 0.62 * green) & (red < 0.25 * green)
    return np.asarray(blue_or_green | black | red_ink)
