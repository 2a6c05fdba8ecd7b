"""Where the tissue is: a mask on a thumbnail from colour saturation, without pen ink, dust and pinholes.

Stained tissue is coloured, glass is not: Otsu's threshold on the saturation separates them, with guards for slides
that hold only one of the two. Pen ink is coloured as well, but not in the colours of histology: it is recognised by
hue (blue, green) and by darkness without colour (black), and taken out with its blurred rim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiling.errors import SlideError

__all__ = ["TissueParameters", "ink_mask", "tissue_mask"]


@dataclass(frozen=True)
class TissueParameters:
    """How tissue is told from glass.

    Attributes
    ----------
    smoothing_um : float
        Standard deviation of the smoothing before the threshold: bridges the gaps between cells and fibres.
    min_object_um2, min_hole_um2 : float
        Smaller pieces of tissue are dropped, smaller gaps in it are filled; never more than a quarter of the picture,
        so that glass no larger than a gap stays glass.
    min_saturation, max_saturation : float
        Bounds (0–255) of Otsu's threshold. A slide that is nowhere above the first is empty; one whose paler half
        is above it on average has no glass to speak of, and the first is its threshold.
    remove_ink : bool
        Whether pen ink is taken out.
    """

    smoothing_um: float = 12.0
    min_object_um2: float = 10_000.0
    min_hole_um2: float = 20_000.0
    min_saturation: float = 14.0
    max_saturation: float = 40.0
    remove_ink: bool = True


def tissue_mask(
    thumbnail: NDArray[np.uint8], mpp: float, parameters: TissueParameters | None = None
) -> NDArray[np.bool_]:
    """Return where a thumbnail shows tissue.

    Parameters
    ----------
    thumbnail : (h, w, 3) uint8
        RGB.
    mpp : float
        µm per pixel of the thumbnail; 4 to 16 show the most.
    parameters : TissueParameters, optional

    Returns
    -------
    (h, w) bool

    Raises
    ------
    SlideError
        When the thumbnail is no RGB picture.
    """
    if thumbnail.ndim != 3 or thumbnail.shape[2] != 3 or thumbnail.dtype != np.uint8:
        raise SlideError(
            f"A thumbnail must be (height, width, 3) uint8; got {thumbnail.shape} {thumbnail.dtype}."
        )
    parameters = parameters or TissueParameters()
    ink = ink_mask(thumbnail, mpp) if parameters.remove_ink else np.zeros(thumbnail.shape[:2], bool)
    saturation = _smooth_saturation(thumbnail, ink, parameters.smoothing_um / mpp)
    mask = (saturation > _threshold(saturation, parameters)) & ~ink
    largest = mask.size / 4
    mask = _without_small(mask, min(parameters.min_object_um2 / mpp**2, largest))
    # A hole where ink was stays a hole.
    return ~_without_small(~mask, min(parameters.min_hole_um2 / mpp**2, largest)) & ~ink


def ink_mask(thumbnail: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """Return where a thumbnail shows blue, green or black pen ink.

    Haematoxylin is blue-violet and eosin pink: in both, green is the lowest of the three channels. In blue and
    green ink red is, by far. Black ink has no colour and is darker than nuclei appear at this scale.

    Parameters
    ----------
    thumbnail : (h, w, 3) uint8
    mpp : float
        µm per pixel.

    Returns
    -------
    (h, w) bool
    """
    red, green, blue = (thumbnail[..., i].astype(np.int16) for i in range(3))
    brightest, darkest = thumbnail.max(2).astype(np.int16), thumbnail.min(2).astype(np.int16)
    blue_or_green = (np.maximum(blue, green) - red > 30) & (green - red > 8)
    black = (brightest < 90) & (brightest - darkest < 30)
    core = blue_or_green | black
    # Single dark pixels are nuclei or dust, a pen is at least 100 µm wide.
    core = _without_small(core, 10_000 / mpp**2)
    if not core.any():
        return core
    # The rim of a stroke is ink mixed with glass: grow into what still leans to the ink's side.
    bluish = (np.maximum(blue, green) - red > 8) & (green >= red)
    leaning = bluish | ((brightest - darkest < 20) & (brightest < 170))
    reach = max(1, round(60 / mpp))
    grown = ndimage.binary_dilation(core, iterations=reach, mask=core | leaning)
    return ndimage.binary_dilation(grown, iterations=max(1, round(16 / mpp)))


def _smooth_saturation(
    thumbnail: NDArray[np.uint8], ink: NDArray[np.bool_], sigma: float
) -> NDArray[np.float32]:
    """Return colourfulness 0–255, (h, w), smoothed over the gaps between cells; ink counts as glass."""
    # Chroma (max − min), not HSV's quotient: that one is noise in dark and in nearly white pixels.
    chroma = (thumbnail.max(2) - thumbnail.min(2)).astype(np.float32)
    chroma[ink] = 0
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(chroma, sigma)
    return smooth


def _threshold(saturation: NDArray[np.float32], parameters: TissueParameters) -> float:
    """Return the saturation above which there is tissue; see :class:`TissueParameters` for the guards."""
    lowest, highest = parameters.min_saturation, parameters.max_saturation
    otsu = _otsu(saturation)
    paler = saturation[saturation <= otsu]
    if paler.size and paler.mean() > lowest:
        return lowest
    return min(max(otsu, lowest), highest)


def _otsu(values: NDArray[np.float32]) -> float:
    """Return the threshold that best splits values 0–255 in two; 0 when there are none."""
    counts = np.bincount(np.clip(values, 0, 255).astype(np.uint8).ravel(), minlength=256).astype(float)
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    between = np.nan_to_num(between)
    # The middle of the plateau: an empty gap between the two halves has no best place.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(best.mean()) if between.max() > 0 else 0.0


def _without_small(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """Return the mask without connected pieces of fewer pixels."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= pixels
    keep[0] = False
    kept: NDArray[np.bool_] = keep[labels]
    return kept
