"""The interface of stage-2 networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

__all__ = ["SegmentationNetwork"]


class SegmentationNetwork(nn.Module):
    """A class for every pixel: (N, 3, H, W) RGB / 255 -> logits (N, C, H, W).

    Attributes
    ----------
    architecture : str
        Name in :mod:`napari_wsss.models.registry`.
    arguments : dict
        Constructor arguments beside the number of classes, JSON-ready.
    num_classes : int
    """

    architecture: str
    arguments: dict[str, Any]
    num_classes: int

    def coarse(self, x: Tensor) -> Tensor:
        """Segment without the last resize, (N, 3, H, W) -> (N, C, h, w)."""
        raise NotImplementedError

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Trainable parameters of the backbone (learning rate × 1 in the reference)."""
        raise NotImplementedError

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Trainable parameters of the rest (learning rate × 10 in the reference)."""
        raise NotImplementedError
