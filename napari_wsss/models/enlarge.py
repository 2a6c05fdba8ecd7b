"""Small patches shown larger: ImageNet encoders know textures of a certain size, and a larger map has finer CAMs."""

from __future__ import annotations

from torch import Tensor, fx
from torch.nn import functional

from napari_wsss.models.colour import require_side, smooth_colour

fx.wrap("enlarged")  # its sizes are numbers, not part of a traced graph

__all__ = ["enlarged", "prepared", "require_preparation"]

_MOST = 8


def enlarged(x: Tensor, factor: float) -> Tensor:
    """Resize images bilinearly.

    Parameters
    ----------
    x : (N, 3, H, W) float
    factor : float
        1 to 8; 1 returns ``x``.

    Returns
    -------
    (N, 3, H · factor, W · factor) float
        Sides rounded to whole pixels.
    """
    _require_factor(factor)
    if factor == 1:
        return x
    # int: under the tracer, which backends use, a side is a tensor.
    size = [round(int(side) * factor) for side in x.shape[2:]]
    return functional.interpolate(x, size, mode="bilinear", align_corners=False)


def require_preparation(colour_smoothing: object, factor: object) -> None:
    """Raise ValueError for arguments of :func:`prepared` that make no sense."""
    require_side(colour_smoothing)
    _require_factor(factor)


def _require_factor(factor: object) -> None:
    if not isinstance(factor, int | float) or not 1 <= factor <= _MOST:
        raise ValueError(f"enlarge must lie between 1 and {_MOST}, not {factor!r}")


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
