"""Colour at a lower resolution than brightness: what two compressions of the same glass agree on.

JPEG and its relatives store colour at half the resolution or less. Two files of one slide are nearly equal in
brightness and differ in colour detail, and a network that uses such detail answers differently. Little is lost on H&E:
nuclei and fibres are drawn in brightness.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["smooth_colour"]

# ITU-R 601 luma, as JPEG has it.
_LUMA = (0.299, 0.587, 0.114)


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
    """
    if side == 0:
        return x
    if side < 0 or side % 2 == 0:
        raise ValueError(f"colour_smoothing must be an odd number of pixels or 0, not {side}")
    smooth = x
    pad = side // 2
    for _ in range(2):
        # A box is a row of columns: two passes of one line each cost a fraction of the square.
        smooth = functional.avg_pool2d(smooth, (1, side), 1, (0, pad), count_include_pad=False)
        smooth = functional.avg_pool2d(smooth, (side, 1), 1, (pad, 0), count_include_pad=False)
    detail = x - smooth
    red, green, blue = _LUMA
    return smooth + (red * detail[:, 0:1] + green * detail[:, 1:2] + blue * detail[:, 2:3])
