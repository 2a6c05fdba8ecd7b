"""The one interface of encoders that are taken in from elsewhere: an image becomes a list of maps, shallow to deep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

__all__ = ["Encoder"]


class Encoder(nn.Module):
    """Base of encoders by name (:mod:`napari_wsss.models.encoders`).

    Parameters
    ----------
    channels, strides : sequence of int
        Of every map, shallow to deep; strides in input pixels.
    mean, std : three floats
        What RGB / 255 is normalised with.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self._mean, self._std = tuple(mean), tuple(std)
        self.frozen = False

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the maps of a normalised image (N, 3, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps (N, K, h, w), shallow to deep, of (N, 3, H, W) RGB / 255."""
        mean, std = (x.new_tensor(v).view(1, 3, 1, 1) for v in (self._mean, self._std))
        return self.maps((x - mean) / std)

    def freeze(self) -> None:
        """Keep all weights and statistics as they are from now on."""
        self.frozen = True
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a frozen encoder stays in evaluation mode."""
        return super().train(mode and not self.frozen)
