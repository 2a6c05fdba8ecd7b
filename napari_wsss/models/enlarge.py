"""Small patches shown larger: ImageNet encoders know textures of a certain size, and a larger map has finer CAMs."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["enlarged"]


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
