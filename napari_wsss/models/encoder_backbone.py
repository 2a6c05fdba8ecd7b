"""An encoder as the backbone of stage 2: its maps together, and a simple feature pyramid up to stride 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_wsss.models.encoder import Encoder

__all__ = ["EncoderBackbone"]

_WIDTH = 256
_LOW = 64


class EncoderBackbone(nn.Module):
    """Two maps for the decoder from the maps of any encoder.

    Parameters
    ----------
    encoder : Encoder
        Networks with a map of stride 4 give that map. For the others, vision transformers above all, two transposed
        convolutions make one from the joined tokens.

    Notes
    -----
    Li et al., Exploring Plain Vision Transformer Backbones, ECCV 2022: a pyramid from the last map is enough.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels, self.low_channels = _WIDTH, _LOW
        self._low = encoder.strides.index(4) if 4 in encoder.strides else None
        # Maps of the deepest stride carry classes; finer ones of a convolutional network enter by the decoder.
        self._joined = [i for i, stride in enumerate(encoder.strides) if stride == encoder.strides[-1]]
        inputs = sum(encoder.channels[i] for i in self._joined)
        self.join = nn.Sequential(nn.Conv2d(inputs, _WIDTH, 1, bias=False), nn.BatchNorm2d(_WIDTH), nn.ReLU())
        if self._low is not None:
            self.low_channels = encoder.channels[self._low]
        else:
            self.pyramid = nn.Sequential(
                nn.ConvTranspose2d(_WIDTH, 2 * _LOW, 2, 2),
                nn.BatchNorm2d(2 * _LOW),
                nn.GELU(),
                nn.ConvTranspose2d(2 * _LOW, _LOW, 2, 2),
            )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fine map (N, low_channels, about H / 4, W / 4) and the deep one of (N, 3, H, W) RGB / 255."""
        maps = self.encoder(x)
        size = maps[-1].shape[2:]
        same = [
            maps[i] if maps[i].shape[2:] == size else functional.adaptive_avg_pool2d(maps[i], size)
            for i in self._joined
        ]
        deep = self.join(torch.cat(same, 1))
        return (self.pyramid(deep) if self._low is None else maps[self._low]), deep
