"""Where the tissue is: what is denser than the slide's own glass, and has a texture that glass has not.

One look at the overview (:func:`look_for_tissue`) measures everything once: the glass, the density against it, its
texture against the glass's noise, pen ink. A mask is then a matter of thresholds and of the size of pieces, so that a
threshold can be moved by hand without looking again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tiling.checks import flag, number
from tiling.errors import SlideError
from tiling.plan.glass import (
    Density,
    Glass,
    Plane,
    density,
    enlarged,
    find_glass,
    flattened,
    local_deviation,
    stain,
)
from tiling.plan.ink import ink_mask, without_small

__all__ = ["TissueLook", "TissueParameters", "look_for_tissue", "tissue_mask"]

WORKING_MPP = 8.0
"""µm per pixel at which pictures are looked at when they are finer: cells still show as texture."""

WORKING_PIXELS = 1 << 20
"""Largest number of pixels looked at: a quarter of a second, whatever the picture's size."""

SMALLEST_SIDE = 64
"""Pixels of the shorter side that are always looked at."""

_LOWEST, _HIGHEST = 0.015, 0.09  # bounds of the threshold
_ASSUMED = 0.02  # threshold where too little glass shows to measure it
_GLASS_ENOUGH = 0.05  # share of the picture that must be glass to measure it
_HAZE_UM = 1500.0  # what changes over more than this is the glass
_NEXT_UM = 4.0
_BOX = np.ones((3, 3), np.bool_)
_CLEAR = 0.02  # density at most of what is as clear as glass, whatever the threshold
_RIM_UM = 32.0  # smoothing and closing reach no farther beyond the edge
_NEAR_UM = 200.0
_PART_OF_NEAR = 0.2  # tissue is at least this part of the densest nearby


@dataclass(frozen=True)
class TissueParameters:
    """How tissue is told from glass.

    Attributes
    ----------
    threshold : float or None
        Density above which there is tissue; None: found from the picture, between 0.015 and 0.09.
    smoothing_um : float
        Standard deviation of the smoothing before the threshold: bridges the gaps between cells and fibres.
    min_object_um2 : float
        Smaller pieces of tissue are dropped; never more than a quarter of the picture.
    max_gap_um2 : float
        Larger gaps in tissue stay glass. Smaller ones are tissue (fat cells, alveoli, glands, cracks) unless they are
        more than a tenth of the piece that they are in.
    remove_ink : bool
        Whether pen ink is taken out.
    """

    threshold: float | None = None
    smoothing_um: float = 12.0
    min_object_um2: float = 10_000.0
    max_gap_um2: float = 500_000.0
    remove_ink: bool = True

    def __post_init__(self) -> None:
        if self.threshold is not None:
            object.__setattr__(self, "threshold", number("threshold", self.threshold))
        for name in ("smoothing_um", "min_object_um2", "max_gap_um2"):
            object.__setattr__(self, name, number(name, getattr(self, name), 0))
        flag("remove_ink", self.remove_ink)


@dataclass(frozen=True)
class TissueLook:
    """What one look at a picture found; masks are made from it.

    Attributes
    ----------
    shape : (int, int)
        Height and width of the picture.
    mpp : float
        µm per pixel of the maps below.
    glass : tuple of Glass
        Colours of glass, the brightest first; empty for a picture on black.
    threshold : float
        Density that was found to tell tissue from glass; it rises near dense tissue.
    density, sharp, needed : (h, w) float32
        Density smoothed and as it is, and how much is needed for tissue.
    textured, ink, gray : (h, w) bool
        Where there is structure (or a stain beyond doubt), pen ink, dirt without colour.
    """

    shape: tuple[int, int]
    mpp: float
    glass: tuple[Glass, ...]
    threshold: float
    density: Plane = field(repr=False)
    sharp: Plane = field(repr=False)
    needed: Plane = field(repr=False)
    textured: NDArray[np.bool_] = field(repr=False)
    ink: NDArray[np.bool_] = field(repr=False)
    gray: NDArray[np.bool_] = field(repr=False)
    parameters: TissueParameters = TissueParameters()

    @property
    def problem(self) -> str:
        """Why no tissue can be found in such a picture; empty when it can."""
        if self.glass:
            return ""
        return (
            "the picture is dark all over (fluorescence or dark field?), and tissue is looked for on bright glass; "
            "pass --no-tissue-mask or draw the tissue (--tissue FILE)"
        )

    def mask(self, threshold: float | None = None) -> NDArray[np.bool_]:
        """Return where the tissue is, (height, width) bool of the picture.

        Parameters
        ----------
        threshold : float, optional
            Density in place of the one found; a few milliseconds, nothing is measured again.
        """
        if not self.glass:
            return np.zeros(self.shape, np.bool_)
        asked = self.parameters.threshold if threshold is None else threshold
        needed = self.needed if asked is None else asked
        found = (self.density > needed) & self.textured & ~self.ink
        # Smoothing bridges gaps, but reaches beyond the edge: there must be something close by.
        found &= ndimage.binary_dilation(
            self.sharp > needed, _BOX, iterations=round(_NEXT_UM / self.mpp) or 1
        )
        mask = _tidied(found, self)
        if any(glass.share for glass in self.glass):
            limit = min(self.threshold if asked is None else asked, _CLEAR)
            mask &= ~_rim(mask, self.sharp < limit, round(_RIM_UM / self.mpp) or 1)
        if mask.shape == self.shape:
            return mask
        size = (self.shape[1], self.shape[0])
        picture = Image.fromarray(mask.view(np.uint8) * np.uint8(255))
        return np.asarray(picture.resize(size, Image.Resampling.BILINEAR)) > 127

    def receipt(self, threshold: float | None = None) -> dict[str, Any]:
        """Return how the tissue was found, JSON-ready."""
        asked = self.parameters.threshold if threshold is None else threshold
        return {
            "how": "density and texture against the glass" if self.glass else self.problem,
            "glass": [
                {"rgb": [round(c) for c in g.colour], "assumed": g.share == 0, "noise": round(g.roughness, 2)}
                for g in self.glass
            ],
            "threshold": round(float(self.threshold if asked is None else asked), 4),
            "threshold_from": "picture" if asked is None else "user",
        }


def look_for_tissue(
    picture: NDArray[np.uint8], mpp: float, parameters: TissueParameters | None = None
) -> TissueLook:
    """Measure what a mask of the tissue needs.

    Parameters
    ----------
    picture : (h, w, 3) uint8
        RGB overview of a slide.
    mpp : float
        µm per pixel of the picture; 4 to 16 show the most.
    parameters : TissueParameters, optional

    Raises
    ------
    SlideError
        When the picture is no RGB picture.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise SlideError(
            f"A thumbnail must be (height, width, 3) uint8; got {picture.shape} {picture.dtype}."
        )
    parameters = parameters or TissueParameters()
    shape = picture.shape[0], picture.shape[1]
    planes, mpp = _working(picture, mpp)
    glass = find_glass(planes)
    if not glass:
        nothing = np.zeros(planes[0].shape, np.float32)
        nowhere = nothing > 0
        return TissueLook(
            shape, mpp, (), _ASSUMED, nothing, nothing, nothing, nowhere, nowhere, nowhere, parameters
        )
    found = density(planes, glass)
    main = max(glass, key=lambda each: each.share)
    noise = max(0.0015, main.roughness / main.level)
    texture = ndimage.gaussian_filter(local_deviation(_mean_log(planes)), 25 / mpp)
    calm = (texture < 3 * noise) & (np.maximum(found.darkest, -found.palest) < 0.12)
    if calm.mean() > 0.02:
        found = flattened(found, calm, _HAZE_UM / mpp)
    ink = ink_mask(found, mpp) if parameters.remove_ink else np.zeros(calm.shape, np.bool_)
    # Ink counts as glass, lest its blur make tissue of what lies beside it.
    stained = np.where(ink, 0, stain(found))
    smooth = ndimage.gaussian_filter(stained, parameters.smoothing_um / mpp)
    of_glass = float(np.quantile(smooth[calm], 0.95)) if calm.mean() > _GLASS_ENOUGH else None
    threshold = _ASSUMED if of_glass is None else min(max(1.5 * of_glass, _LOWEST), 0.06)
    # A stain far beyond what glass varies needs no texture: a blurred scan is tissue, too.
    beyond_doubt = 0.25 if of_glass is None else min(max(8 * of_glass, 0.08), 0.25)
    return TissueLook(
        shape=shape,
        mpp=mpp,
        glass=glass,
        threshold=threshold,
        density=smooth,
        needed=_needed(smooth, threshold, mpp),
        textured=(texture > 1.5 * noise + 0.006) | (smooth > beyond_doubt),
        sharp=stained,
        ink=ink,
        gray=_gray(found, mpp),
        parameters=parameters,
    )


def tissue_mask(
    picture: NDArray[np.uint8], mpp: float, parameters: TissueParameters | None = None
) -> NDArray[np.bool_]:
    """Return where a picture shows tissue, (h, w) bool; see :func:`look_for_tissue`."""
    return look_for_tissue(picture, mpp, parameters).mask()


def _working(picture: NDArray[np.uint8], mpp: float) -> tuple[tuple[Plane, Plane, Plane], float]:
    """Return red, green, blue at the working size, and its µm per pixel."""
    height, width = picture.shape[:2]
    # A picture of a few cells is not made smaller than its texture.
    shrink = min(WORKING_MPP / mpp, min(height, width) / SMALLEST_SIDE)
    shrink = max(1.0, shrink, (height * width / WORKING_PIXELS) ** 0.5)
    if shrink > 1:
        size = max(1, round(width / shrink)), max(1, round(height / shrink))
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
    red, green, blue = (picture[..., i].astype(np.float32) for i in range(3))
    return (red, green, blue), mpp * width / picture.shape[1]


def _mean_log(planes: tuple[Plane, Plane, Plane]) -> Plane:
    red, green, blue = planes
    mean: Plane = np.log((red + 1) * (green + 1) * (blue + 1)) / np.float32(3)
    return mean


def _needed(smooth: Plane, threshold: float, mpp: float) -> Plane:
    """Return the density needed for tissue: a part of the densest nearby, so that edges of dark tissue do not bleed.

    Pale tissue on its own is judged against its own paleness, dark tissue beside it against its darkness.
    """
    factor = max(1, int(_NEAR_UM / mpp / 3))
    height, width = smooth.shape
    whole = np.pad(smooth, ((0, -height % factor), (0, -width % factor)))
    squares = whole.reshape(whole.shape[0] // factor, factor, whole.shape[1] // factor, factor)
    densest = ndimage.gaussian_filter(ndimage.maximum_filter(squares.max((1, 3)), 3), 1)
    near = enlarged(densest, factor, (height, width))
    needed: Plane = np.clip(np.float32(_PART_OF_NEAR) * near, threshold, max(threshold, _HIGHEST))
    return needed


def _gray(found: Density, mpp: float) -> NDArray[np.bool_]:
    """Return dark without colour: dust, edges of cover slips, shadows."""
    palest = np.maximum(found.palest, 0)
    colour = ndimage.gaussian_filter(found.darkest - found.palest, 25 / mpp)
    dark = ndimage.gaussian_filter(palest, 25 / mpp)
    return np.asarray((dark > 0.03) & (colour < 0.2 * dark))


def _tidied(found: NDArray[np.bool_], look: TissueLook) -> NDArray[np.bool_]:
    """Drop dirt and crumbs, close cracks, fill small gaps."""
    area = look.mpp**2
    parameters = look.parameters
    # Brown and blue make gray as well: inside tissue only large gray places are dirt.
    labels, count = ndimage.label(found)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    dirty = np.bincount(labels[look.gray], minlength=count + 1) > 0.5 * sizes
    dirty[0] = False
    mask = found & ~dirty[labels] & ~without_small(look.gray, 100_000 / area)
    largest = mask.size / 4
    mask = without_small(mask, min(1_000 / area, largest))
    steps = max(1, round(25 / look.mpp))
    closed = ndimage.binary_closing(np.pad(mask, steps), iterations=steps)
    mask = closed[steps:-steps, steps:-steps]
    mask = _without_crumbs(mask, min(parameters.min_object_um2 / area, largest), 200_000 / area, look)
    # A hole where ink was stays a hole.
    return _filled(mask, min(parameters.max_gap_um2 / area, largest)) & ~look.ink


def _rim(mask: NDArray[np.bool_], clear: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Return what lies along the edges of a mask and is as clear as the glass that it touches.

    Only along the edges: what is clear further in are fat cells and lumens.
    """
    outside = ~mask
    return mask & ndimage.binary_dilation(outside, iterations=steps, mask=outside | clear)


def _without_crumbs(
    mask: NDArray[np.bool_], least: float, large: float, look: TissueLook
) -> NDArray[np.bool_]:
    """Drop pieces that are small, and those that are pale all over unless they are large."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    stained = np.bincount(labels[(look.density > 0.04) & ~look.gray], minlength=count + 1)
    keep = (sizes >= least) & ((stained >= 0.1 * sizes) | (sizes >= large))
    keep[0] = False
    kept: NDArray[np.bool_] = keep[labels]
    return kept


def _filled(mask: NDArray[np.bool_], largest: float) -> NDArray[np.bool_]:
    """Fill gaps that are small, and small against the piece of tissue around them."""
    gaps, count = ndimage.label(~mask)
    if count == 0:
        return mask
    sizes = np.bincount(gaps.ravel(), minlength=count + 1)
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    piece_sizes = np.bincount(pieces.ravel())
    around = np.zeros(count + 1, np.int64)
    sides = (
        (gaps[:, 1:], pieces[:, :-1]),
        (gaps[:, :-1], pieces[:, 1:]),
        (gaps[1:], pieces[:-1]),
        (gaps[:-1], pieces[1:]),
    )
    for gap, piece in sides:
        touching = (gap > 0) & (piece > 0)
        np.maximum.at(around, gap[touching], piece_sizes[piece[touching]])
    for edge in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        sizes[np.unique(edge)] *= 2  # half of it, on average, lies outside the picture
    fill = (sizes <= largest) & (sizes <= 0.1 * around)
    fill[0] = False
    filled: NDArray[np.bool_] = mask | fill[gaps]
    return filled
