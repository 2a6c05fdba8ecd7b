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
    presence : nn.Module or None
        The layer that tells what an image holds, where there is one.
    """

    architecture: str
    arguments: dict[str, Any]
    num_classes: int
    presence: nn.Module | None

    def coarse(self, x: Tensor) -> Tensor:
        """Segment without the last resize, (N, 3, H, W) -> (N, C, h, w)."""
        raise NotImplementedError

    def pooled(self, x: Tensor) -> Tensor:
        """Return features of whole images, (N, K), from which a presence layer tells what they hold."""
        raise NotImplementedError

    def segment_and_see(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what :meth:`coarse` does, and the logit (N, C) that a class is somewhere in the image."""
        raise NotImplementedError

    def sees(self, x: Tensor) -> Tensor:
        """Return the probability that a class is somewhere in the image, (N, C)."""
        return self.segment_and_see(x)[1].sigmoid()

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Trainable parameters of the backbone (learning rate × 1 in the reference)."""
        raise NotImplementedError

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Trainable parameters of the rest (learning rate × 10 in the reference)."""
        raise NotImplementedError
