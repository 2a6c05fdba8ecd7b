"""Small patches shown larger: ImageNet encoders know textures of a certain size, and a larger map has finer CAMs."""

from __future__ import annotations

from torch import Tensor, fx
from torch.nn import functional

from napari_wsss.models.colour import smooth_colour

fx.wrap("enlarged")  # its sizes are numbers, not part of a traced graph

__all__ = ["enlarged", "prepared"]


def enlarged(x: Tensor, factor: float) -> Tensor:
    """Resize images bilinearly.

    Parameters
    ----------
    x : (N, 3, H, W) float
    factor : float
        At least 1; 1 returns ``x``.

    Returns
    -------
    (N, 3, H · factor, W · factor) float
        Sides rounded to whole pixels.
    """
    if factor == 1:
        return x
    if not 1 < factor <= 8:
        raise ValueError(f"enlarge must lie between 1 and 8, not {factor}")
    # int: under the tracer, which backends use, a side is a tensor.
    size = [round(int(side) * factor) for side in x.shape[2:]]
    return functional.interpolate(x, size, mode="bilinear", align_corners=False)


def prepared(x: Tensor, colour_smoothing: int, factor: float) -> Tensor:
    """Do with an image what the networks of the light pair do first: smooth its colour, then enlarge it.

    Parameters
    ----------
    x : (N, 3, H, W) float
        RGB / 255.
    colour_smoothing : int
        Side of the box in px of ``x`` (:func:`napari_wsss.models.colour.smooth_colour`); 0 is off.
    factor : float
        As in :func:`enlarged`.

    Returns
    -------
    (N, 3, H · factor, W · factor) float
    """
    return enlarged(smooth_colour(x, colour_smoothing), factor)
