"""MobileNetV2 with dilated last stages: the reference's ``mobilenet`` backbone of stage 2.

Names and shapes of the tensors are torchvision's (``features.3.conv.0.0.weight`` …), so that its ImageNet file fits.
Architecture: Sandler et al., CVPR 2018.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

__all__ = ["MobileNetV2"]

# expansion, channels, repeats, stride
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_LOW_END = 3
"""Index of the last module of the stride-4 map."""


def _scaled(channels: int, width: float) -> int:
    """Return a channel count near ``channels · width`` that is a multiple of 8 and not below nine tenths of it."""
    wanted = channels * width
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return convolution, batch norm and ReLU6."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """1×1 expansion, 3×3 depthwise, 1×1 projection, with a shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, dilation: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_convolution(inputs, hidden, 1)]
        layers += [
            _convolution(hidden, hidden, 3, stride, dilation, hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self._residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Transform, (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self._residual else y


class MobileNetV2(nn.Module):
    """Dilated MobileNetV2 without its last 1×1 convolution and classifier.

    Parameters
    ----------
    output_stride : {16, 8}, optional
        Input pixels per pixel of the last map.
    width : float, optional
        Channel multiplier; 1 is the published network.
    """

    def __init__(self, output_stride: int = 16, width: float = 1.0) -> None:
        super().__init__()
        if output_stride not in (8, 16):
            raise ValueError(f"output_stride must be 16 or 8, not {output_stride}")
        channels = _scaled(32, width)
        features: list[nn.Module] = [_convolution(3, channels, 3, 2)]
        reached, dilation = 2, 1
        for expansion, wanted, repeats, first in _STAGES:
            outputs = _scaled(wanted, width)
            for repeat in range(repeats):
                stride = first if repeat == 0 else 1
                # The block that loses its stride keeps its own kernel dense; those after it dilate.
                current = dilation
                if stride == 2 and reached >= output_stride:
                    stride, dilation = 1, dilation * 2
                reached *= stride
                features.append(InvertedResidual(channels, outputs, expansion, stride, current))
                channels = outputs
        self.features = nn.ModuleList(features)
        self.low_channels = _scaled(_STAGES[1][1], width)
        self.channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stride-4 map and the last map.

        Parameters
        ----------
        x : (N, 3, H, W) float

        Returns
        -------
        (N, low_channels, H / 4, W / 4), (N, channels, H / output_stride, W / output_stride)
        """
        low = x
        for index, module in enumerate(self.features):
            x = module(x)
            if index == _LOW_END:
                low = x
        return low, x
