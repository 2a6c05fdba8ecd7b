"""What the samples of a TIFF mean: which are accepted, and how decoded ones become RGB on white."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.errors import SlideError
from tiling.slides.channels import UNNAMED_RGB, Channel, colours_of
from tiling.slides.readers.brightfield import (
    GREY_WARNING,
    grey_to_rgb,
    on_white,
    refuse_bits,
    refuse_channels,
    refuse_planes,
)

__all__ = ["JPEG", "Samples", "samples_of"]

JPEG = frozenset({6, 7, 33007, 34892})
"""TIFF compressions that need the page's JPEG tables."""

_GREY, _GREY_INVERTED, _RGB, _PALETTE, _YCBCR = 1, 0, 2, 3, 6
_PREMULTIPLIED, _STRAIGHT = 1, 2


@dataclass(frozen=True)
class Samples:
    """How the samples of a picture become RGB.

    Attributes
    ----------
    planes : int
        Number of pages over which the channels are spread.
    colours : int
        1 (grey) or 3 (RGB) samples of colour; any others are alpha or ignored.
    inverted : bool
        Whether 0 is white.
    palette : (256, 3) uint8 or None
        Colours that the only sample is an index of.
    alpha : str
        ``premultiplied``, ``straight`` or empty: what the sample after the colours means.
    warnings : tuple of str
    """

    planes: int
    colours: int
    inverted: bool = False
    palette: NDArray[np.uint8] | None = None
    alpha: str = ""
    warnings: tuple[str, ...] = ()

    def to_rgb(self, samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Convert decoded samples (h, w, n) uint8 to (h, w, 3) RGB on white."""
        if self.palette is not None:
            return np.ascontiguousarray(self.palette[samples[..., 0]])
        colour = samples[..., : self.colours]
        if self.inverted:
            colour = 255 - colour
        if self.colours == 1:
            colour = grey_to_rgb(colour)
        if self.alpha and samples.shape[2] > self.colours:
            premultiplied = self.alpha == "premultiplied"
            colour = on_white(colour, samples[..., self.colours], premultiplied=premultiplied)
        return np.ascontiguousarray(colour)


def samples_of(path: Path, series: Any, channels: Sequence[Channel]) -> Samples:
    """Decide what the samples of a picture are.

    Parameters
    ----------
    path : Path
        For messages.
    series : tifffile.TiffPageSeries
    channels : sequence of Channel
        What the file says about planes, where it says anything.

    Raises
    ------
    SlideError
        When the models do not understand them: more than 8 bits, stacks, stains, other colour spaces.
    """
    page = series.keyframe
    _check_bits(path, page)
    planes = math.prod(n for n, axis in zip(series.shape, series.axes, strict=True) if axis not in "YXS")
    spread = math.prod(n for n, axis in zip(series.shape, series.axes, strict=True) if axis == "C")
    if planes > 1:
        return _of_planes(path, page, planes, spread, channels)
    samples = page.samplesperpixel
    extra = int(page.extrasamples[0]) if page.extrasamples else 0
    alpha = {_PREMULTIPLIED: "premultiplied", _STRAIGHT: "straight"}.get(extra, "")
    if page.photometric in (_GREY, _GREY_INVERTED):
        inverted = page.photometric == _GREY_INVERTED
        if samples in (3, 4) and not inverted:
            # Some programs leave the colour space at its default: nothing says stains, and nothing RGB.
            return Samples(1, 3, alpha=alpha if samples == 4 else "", warnings=(UNNAMED_RGB,))
        if samples > 2 or (samples == 2 and not page.extrasamples):
            raise refuse_channels(path, samples)
        return Samples(1, 1, inverted, alpha=alpha, warnings=(GREY_WARNING,))
    if page.photometric == _PALETTE:
        if samples != 1:
            raise refuse_channels(path, samples)
        return Samples(1, 3, palette=_palette(path, page))
    if page.photometric == _RGB or (page.photometric == _YCBCR and page.compression in JPEG):
        if not 3 <= samples <= 4:
            raise refuse_channels(path, samples)
        return Samples(1, 3, alpha=alpha)
    raise SlideError(
        f"{path} stores colours as {getattr(page.photometric, 'name', page.photometric)}, which is not "
        "understood here; convert it to RGB, for example with: vips colourspace IN OUT.tif srgb."
    )


def _of_planes(path: Path, page: Any, planes: int, spread: int, channels: Sequence[Channel]) -> Samples:
    """Decide what the pages of a picture are whose channels stand in pages of their own."""
    if planes != spread or page.samplesperpixel != 1:
        raise refuse_planes(path, planes)
    if not channels:  # pages that no OME-XML describes are as likely focal planes
        raise refuse_channels(path, planes)
    colours, warning = colours_of(channels, planes)
    if colours not in ("rgb", "rgba") or page.photometric not in (_GREY, _RGB):
        raise refuse_channels(path, planes)
    return Samples(
        planes, 3, alpha="straight" if colours == "rgba" else "", warnings=(warning,) if warning else ()
    )


def _check_bits(path: Path, page: Any) -> None:
    bits = page.bitspersample
    if not isinstance(bits, int):
        raise refuse_bits(path, "unevenly deep")
    if bits < 8:
        raise refuse_bits(path, f"{bits}-bit")
    if page.dtype != np.uint8 or bits != 8:
        raise refuse_bits(path, page.dtype if bits in (8, 16, 32, 64, 128) and page.dtype else f"{bits}-bit")


def _palette(path: Path, page: Any) -> NDArray[np.uint8]:
    table = np.asarray(page.colormap)
    if table.shape != (3, 256):
        raise SlideError(f"{path} is a damaged TIFF (its palette lacks colours); copy or export it again.")
    if table.max(initial=0) > 255:  # 16 bits, as the specification says
        table = table >> 8
    return np.ascontiguousarray(table.T.astype(np.uint8))
