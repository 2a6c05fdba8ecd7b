"""The one place that decides the µm per pixel of a slide: pure, and never a guess.

The order is: the user's ``--mpp``, then the manifest, then the slide's own metadata. A value outside
0.05–5 µm, or axes that differ by more than one per cent, is refused. "40x" is never turned into a resolution:
an objective power says nothing about the camera's pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tiling.errors import ResolutionError

__all__ = [
    "ANISOTROPY_TOLERANCE",
    "MAX_MPP",
    "MIN_MPP",
    "Resolution",
    "ResolutionMetadata",
    "exact_downsample",
    "resolve_mpp",
]

MIN_MPP = 0.05
"""Smallest plausible µm per pixel (finer than any light microscope scans)."""

MAX_MPP = 5.0
"""Largest plausible µm per pixel of level 0 (print resolutions such as 72 dpi = 353 µm lie far above)."""

ANISOTROPY_TOLERANCE = 0.01
"""Largest relative difference of the two axes: 1 % of a tile is two pixels; scanners stay below 0.3 %."""


@dataclass(frozen=True)
class ResolutionMetadata:
    """What a file says about its own resolution, unjudged.

    Attributes
    ----------
    mpp_x, mpp_y : float or None
        µm per level-0 pixel of each axis.
    origin : str
        Where the numbers stand, in words a user can look up (``openslide.mpp-x``, ``TIFF XResolution`` …).
    """

    mpp_x: float | None = None
    mpp_y: float | None = None
    origin: str = "slide metadata"


@dataclass(frozen=True)
class Resolution:
    """A resolution that may be computed with.

    Attributes
    ----------
    mpp : float
        µm per level-0 pixel, the same on both axes.
    source : str
        Where it came from (``--mpp``, ``manifest``, ``openslide.mpp-x`` …).
    """

    mpp: float
    source: str


def resolve_mpp(
    name: str,
    *,
    override: float | None = None,
    manifest: float | None = None,
    metadata: ResolutionMetadata | None = None,
    override_source: str = "--mpp",
) -> Resolution:
    """Decide the µm per pixel of a slide: override, then manifest, then metadata.

    Parameters
    ----------
    name : str
        File name for messages.
    override, manifest : float, optional
        What the user said for this run, and for this slide.
    metadata : ResolutionMetadata, optional
        What the file says.
    override_source : str
        How the user gave ``override``.

    Returns
    -------
    Resolution

    Raises
    ------
    ResolutionError
        When the first source that has a value has an implausible one, or when none has a value. A worse
        source never stands in for a bad one: that would hide the mistake.
    """
    for given, source in ((override, override_source), (manifest, "manifest")):
        if given is not None:
            _check_range(name, given, source)
            return Resolution(float(given), source)
    metadata = metadata or ResolutionMetadata()
    x, y, origin = metadata.mpp_x, metadata.mpp_y, metadata.origin
    if x is None and y is None:
        raise ResolutionError(f"{name} does not say how many µm a pixel is; {_ADVICE}.")
    if x is None or y is None:
        raise ResolutionError(f"{name} gives µm per pixel for one axis only ({origin}); {_ADVICE}.")
    _check_range(name, x, origin)
    _check_range(name, y, origin)
    if abs(x - y) > ANISOTROPY_TOLERANCE * max(x, y):
        raise ResolutionError(
            f"{name} has pixels that are not square ({x:.6g} × {y:.6g} µm, {origin}); {_ADVICE}."
        )
    return Resolution(x if x == y else (x + y) / 2, origin)


_ADVICE = "pass the µm per pixel with --mpp, or fill the mpp column of the manifest"


def _check_range(name: str, mpp: float, source: str) -> None:
    """Refuse a value that no slide scanner makes."""
    if not (math.isfinite(mpp) and MIN_MPP <= mpp <= MAX_MPP):
        raise ResolutionError(
            f"{name} would have {mpp:.6g} µm per pixel ({source}), outside {MIN_MPP}–{MAX_MPP:g}; {_ADVICE}."
        )


def exact_downsample(base: tuple[int, int], level: tuple[int, int]) -> float | None:
    """Recover the downsample of a pyramid level from its rounded size.

    A level of 11500 × 8228 px under one of 46000 × 32914 px was made with a factor of 4: the ratio of the
    heights, 4.00024, only shows that 8228.5 was cut. Taking the ratio at its word would move the far corner
    of such a slide by several level-0 pixels.

    Parameters
    ----------
    base, level : (width, height)
        Sizes in pixels of level 0 and of the level.

    Returns
    -------
    float or None
        The integer that explains both sizes up to rounding (a power of two if one does), else the ratio of the
        longer side, which rounding moved least; None when the axes disagree by more than that, so that the level
        is no scaled copy of level 0.
    """
    ratios = [b / n for b, n in zip(base, level, strict=True)]
    mean = sum(ratios) / 2
    low = max(b / (n + 1) for b, n in zip(base, level, strict=True))
    high = min(b / (n - 1) if n > 1 else math.inf for b, n in zip(base, level, strict=True))
    # Small levels fit several integers; scanners halve.
    for nearest in (2 ** max(0, round(math.log2(mean))), max(1, round(mean))):
        if low < nearest < high:
            return float(nearest)
    if low < high:
        longer = ratios[0] if level[0] >= level[1] else ratios[1]
        return longer if low < longer < high else (low + high) / 2
    # Vendors that stitch overlapping camera fields size their levels a few pixels off.
    slack = max(2 / n for n in level)
    if abs(ratios[0] - ratios[1]) > mean * (ANISOTROPY_TOLERANCE + slack):
        return None
    return mean
