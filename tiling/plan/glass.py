"""What the glass of a slide looks like, and how dense everything else is against it.

Glass is where a picture is smooth and bright, whatever its colour: scanners and mounting media leave it white, gray,
yellow or lilac, padding beside the scan may be whiter than the scan's own glass, and it darkens towards the corners.
Everything else is measured as optical density *against that glass*, so a tint is no stain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

__all__ = ["Density", "Glass", "density", "find_glass", "flattened", "local_deviation"]

Plane = NDArray[np.float32]

_SMOOTH = 1.5  # gray levels of local deviation at which a pixel counts a quarter as glass
_LOWEST_LEVEL = 60  # glass is never darker than this
_BELOW = 4  # gray levels to either side of a peak that belong to it
_WIDEST_TINT = 0.3  # density between the channels of a tint; more is a stain
_UNKNOWN_LEVEL = 245.0  # the glass of a picture that shows none
_DARK_FIELD = 100  # a picture whose brightest per cent is below: fluorescence, dark field


@dataclass(frozen=True)
class Glass:
    """One colour of glass in a picture.

    Attributes
    ----------
    colour : (float, float, float)
        RGB, 0–255.
    roughness : float
        Local standard deviation in gray levels: the noise of scanner and compression.
    share : float
        Of the smooth area of the picture; 0 when the colour was assumed, because the picture shows no glass.
    """

    colour: tuple[float, float, float]
    roughness: float
    share: float

    @property
    def level(self) -> float:
        """Mean of the three channels."""
        return sum(self.colour) / 3


@dataclass(frozen=True)
class Density:
    """Optical densities against the glass, each (h, w) float32.

    Attributes
    ----------
    red, green, blue : ndarray
        Per channel, natural logarithm, cut to −0.1 … 3.
    """

    red: Plane
    green: Plane
    blue: Plane

    @property
    def darkest(self) -> Plane:
        """The largest of the three."""
        most: Plane = np.maximum(np.maximum(self.red, self.green), self.blue)
        return most

    @property
    def palest(self) -> Plane:
        """The least of the three: what is gray in it."""
        least: Plane = np.minimum(np.minimum(self.red, self.green), self.blue)
        return least


def local_deviation(plane: Plane) -> Plane:
    """Return the standard deviation in 3 × 3 pixels, same shape."""
    mean = ndimage.uniform_filter(plane, 3)
    square = ndimage.uniform_filter(plane * plane, 3)
    deviation: Plane = np.sqrt(np.maximum(square - mean * mean, 0))
    return deviation


def find_glass(planes: tuple[Plane, Plane, Plane]) -> tuple[Glass, ...]:
    """Find the colours of glass in a picture, the brightest first.

    Parameters
    ----------
    planes : three (h, w) float32
        Red, green, blue, 0–255.

    Returns
    -------
    tuple of Glass
        Empty for a picture on black (fluorescence, dark field). A picture that shows no glass gets one assumed.
    """
    red, green, blue = planes
    level = 0.299 * red + 0.587 * green + 0.114 * blue
    roughness = local_deviation(level)
    weight = 1 / (1 + (roughness / _SMOOTH) ** 2) ** 2
    bins = np.rint(level).astype(np.uint8)
    histogram = np.bincount(bins.ravel(), weights=weight.ravel(), minlength=256)
    smooth = ndimage.gaussian_filter1d(histogram, 1.5)
    peaks = np.flatnonzero(smooth == ndimage.maximum_filter1d(smooth, 7))[::-1]
    candidates = [
        (peak, float(histogram[max(0, peak - _BELOW) : peak + _BELOW + 1].sum() / histogram.sum()))
        for peak in peaks.tolist()
        if peak > _LOWEST_LEVEL
    ]

    def look(least_share: float, roughest: float, part: float) -> list[Glass]:
        """Return the peaks of which a part is smooth enough."""
        found = []
        for peak, share in candidates:
            if share < least_share:
                continue
            at = np.flatnonzero((bins >= peak - _BELOW) & (bins <= peak + _BELOW))
            rough = roughness.ravel()[at]
            limit = float(np.quantile(rough, part))
            calm = at[rough <= limit]
            colour = [float(np.median(plane.ravel()[calm])) for plane in planes]
            tint = np.log((max(colour) + 1) / (min(colour) + 1))
            if limit <= roughest and tint <= _WIDEST_TINT:
                found.append(Glass((colour[0], colour[1], colour[2]), limit, share))
        return found

    # Where tissue is everywhere (lung, fat) little glass is smooth: then less is asked of the brightest.
    found = look(0.004, 1.6, 0.5) or look(0.002, 3.0, 0.5)[:1] or look(0.002, 3.0, 0.25)[:1]
    if found:
        most, brightest = max(glass.share for glass in found), found[0].level
        kept = (g for g in found[1:] if g.share >= 0.25 * most and g.level >= 0.8 * brightest)
        return (found[0], *kept)
    bright = float(np.percentile(level, 99))
    if bright < _DARK_FIELD:
        return ()
    assumed = min(bright, _UNKNOWN_LEVEL) if bright >= 200 else _UNKNOWN_LEVEL
    return (Glass((assumed, assumed, assumed), 1.0, 0.0),)


def density(planes: tuple[Plane, Plane, Plane], glasses: tuple[Glass, ...]) -> Density:
    """Return the density of every pixel against that glass against which it is the least.

    Parameters
    ----------
    planes : three (h, w) float32
    glasses : tuple of Glass
        At least one.
    """
    logs = [np.log(plane + 1) for plane in planes]
    best: list[Plane] | None = None
    least: Plane | None = None
    for glass in glasses:
        against = [
            np.clip(np.float32(np.log(colour + 1)) - log, -0.1, 3)
            for colour, log in zip(glass.colour, logs, strict=True)
        ]
        if len(glasses) == 1:
            return Density(*against)
        total = stain(Density(*against))
        if best is None or least is None:
            best, least = against, total
            continue
        nearer = total < least
        least = np.where(nearer, total, least)
        best = [np.where(nearer, new, old) for new, old in zip(against, best, strict=True)]
    assert best is not None, "at least one colour of glass is given"
    return Density(*best)


def stain(found: Density) -> Plane:
    """Return how stained every pixel is: colour counts in full, gray by a third."""
    palest, darkest = found.palest, found.darkest
    return np.asarray(darkest - palest + 0.35 * np.maximum(palest, 0), np.float32)


def flattened(found: Density, calm: NDArray[np.bool_], sigma: float) -> Density:
    """Take out what the glass itself varies over the slide: vignettes, haze, a tint on one side.

    Parameters
    ----------
    found : Density
    calm : (h, w) bool
        Pixels that are glass without doubt.
    sigma : float
        How wide the variation is at least, in pixels.
    """
    factor = max(1, int(sigma / 4))
    height, width = calm.shape
    weight = _reduced(calm.astype(np.float32), factor)
    known = ndimage.gaussian_filter(weight, sigma / factor) + np.float32(0.02)

    def surface(plane: Plane) -> Plane:
        total = ndimage.gaussian_filter(_reduced(np.where(calm, plane, 0), factor), sigma / factor)
        return enlarged(total / known, factor, (height, width))

    return Density(*(plane - surface(plane) for plane in (found.red, found.green, found.blue)))


def _reduced(plane: Plane, factor: int) -> Plane:
    """Return the means of squares of pixels; what is missing at the edge counts as 0."""
    height, width = plane.shape
    whole = np.pad(plane, ((0, -height % factor), (0, -width % factor)))
    squares = whole.reshape(whole.shape[0] // factor, factor, whole.shape[1] // factor, factor)
    return np.asarray(np.einsum("iajb->ij", squares) / (factor * factor), np.float32)


def enlarged(plane: Plane, factor: int, shape: tuple[int, int]) -> Plane:
    """Return a plane of squares of pixels as pixels, without steps."""
    size = (plane.shape[1] * factor, plane.shape[0] * factor)
    picture = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    wide = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    return wide[: shape[0], : shape[1]]
