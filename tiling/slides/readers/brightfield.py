"""Which pixels the models understand: 8-bit RGB of a brightfield scan; the rest is converted openly or refused.

Converted: grey levels of 8 bits (replicated, with a warning), palettes, alpha (composited on white). Refused:
more than 8 bits, more than three colour channels, stacks and fluorescence: squeezing those into RGB takes a
decision about contrast that belongs to the user.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiling.errors import SlideError

__all__ = ["GREY_WARNING", "grey_to_rgb", "on_white", "refuse_bits", "refuse_channels", "refuse_planes"]

GREY_WARNING = "The slide is grey, 8 bits; its grey levels stand for red, green and blue alike."


def refuse_bits(path: Path, kind: object) -> SlideError:
    """Return the error for pixels that are not 8-bit integers."""
    return SlideError(
        f"{path} has {kind} pixels, and the models need 8-bit RGB; convert it, for example with: "
        "vips msb IN OUT.tif[tile,pyramid,compression=jpeg]."
    )


def refuse_channels(path: Path, channels: int) -> SlideError:
    """Return the error for fluorescence and other multichannel pictures."""
    return SlideError(
        f"{path} has {channels} channels, and the models need RGB of a brightfield scan; "
        "export it as 8-bit RGB."
    )


def refuse_planes(path: Path, planes: int) -> SlideError:
    """Return the error for stacks and series of pictures."""
    return SlideError(
        f"{path} holds {planes} planes (focus, time or channels), and a slide must be one; "
        "export the one to segment as 8-bit RGB."
    )


def grey_to_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replicate (h, w) or (h, w, 1) grey levels to (h, w, 3)."""
    return np.ascontiguousarray(np.broadcast_to(grey.reshape(*grey.shape[:2], 1), (*grey.shape[:2], 3)))


def on_white(
    colour: NDArray[np.uint8], alpha: NDArray[np.uint8], *, premultiplied: bool = False
) -> NDArray[np.uint8]:
    """Composite (h, w, 3) colours on white.

    Parameters
    ----------
    colour : (h, w, 3) uint8
    alpha : (h, w) uint8
        0 = nothing there, 255 = opaque.
    premultiplied : bool
        Whether the colours were already multiplied by alpha.

    Returns
    -------
    (h, w, 3) uint8
    """
    if alpha.min(initial=255) == 255:
        return colour
    share = alpha[..., None].astype(np.uint16)
    white = 255 - share
    mixed: NDArray[np.uint16] = (
        np.minimum(colour + white, 255) if premultiplied else (colour * share + 255 * white + 127) // 255
    )
    return mixed.astype(np.uint8)
