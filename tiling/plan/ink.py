"""Pen on slides: blue, green, black and red ink, told from every stain of histology by its densities.

Haematoxylin, eosin and DAB all absorb green most, or blue; only blue and green pens absorb red far more than green,
only red pens absorb green *and* blue and leave red alone, and only black ink absorbs all three alike and strongly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiling.plan.glass import Density, Plane, stain

__all__ = ["ink_mask", "without_small"]

_SMALLEST_UM2 = 10_000.0  # a pen is at least 100 µm wide; smaller dark spots are nuclei or dust
_RIM_UM = 60.0
_MARGIN_UM = 16.0
_STAINED = 0.15
_DENSE_RED = 1.8  # density in green that a red pen has where it was put down
_MOST_OF_THE_STAIN = 0.3  # "ink" on more of what is stained than this is a blue stain


def ink_mask(found: Density, mpp: float) -> NDArray[np.bool_]:
    """Return where a picture shows pen ink, with its blurred rim.

    Parameters
    ----------
    found : Density
        Densities against the glass, (h, w) each.
    mpp : float
        µm per pixel.

    Returns
    -------
    (h, w) bool
    """
    red, green, blue = found.red, found.green, found.blue
    palest, darkest = found.palest, found.darkest
    mean = (red + green + blue) / 3
    blue_or_green = (
        ((red > 0.35) & (green < 0.68 * red)) | ((red > 1.5) & (green < 0.88 * red)) | (mean > 1.9)
    )
    stained = stain(found) > _STAINED
    if np.count_nonzero(blue_or_green & stained) > _MOST_OF_THE_STAIN * np.count_nonzero(stained):
        blue_or_green[:] = False
    black = (palest > 1) & (darkest - palest < 0.35 * mean)
    red_ink = _red_ink(red, green, blue)
    core = without_small(blue_or_green | black | red_ink, _SMALLEST_UM2 / mpp**2)
    if not core.any():
        return core
    # The rim of a stroke is ink mixed with glass: grow into what still leans to the ink's side.
    gray = (darkest - palest < 0.35 * palest) & (palest > 0.3)
    reddish = (green > 0.5) & (blue > 0.5 * green) & (red < 0.35 * green)
    leaning = ((red > green) | gray | reddish) & (stain(found) > 0.05)
    grown = ndimage.binary_dilation(core, iterations=max(1, round(_RIM_UM / mpp)), mask=core | leaning)
    ink: NDArray[np.bool_] = ndimage.binary_dilation(grown, iterations=max(1, round(_MARGIN_UM / mpp)))
    return ink


def _red_ink(red: Plane, green: Plane, blue: Plane) -> NDArray[np.bool_]:
    """Return red that is ink: blood and strong eosin have its hue, but never its density over a whole piece."""
    reddish = (green > 1.1) & (blue > 0.62 * green) & (red < 0.25 * green)
    labels, count = ndimage.label(reddish)
    if count == 0:
        return reddish
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    dense = np.bincount(labels[reddish & (green > _DENSE_RED)], minlength=count + 1)
    ink = dense >= 0.2 * sizes
    ink[0] = False
    return np.asarray(ink[labels])


def without_small(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """Return the mask without connected pieces of fewer pixels."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= pixels
    keep[0] = False
    kept: NDArray[np.bool_] = keep[labels]
    return kept
