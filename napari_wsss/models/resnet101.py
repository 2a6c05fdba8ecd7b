"""ResNet-101 with dilated last stages and a multi-grid: the backbone of the reference's stage 2.

Names and shapes are those of the published checkpoints (``backbone.layer3.22.bn3.weight`` …). Architecture:
He et al., CVPR 2016; dilation and the multi-grid [1, 2, 4]: Chen et al., arXiv 1706.05587.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ResNet101"]

_MULTI_GRID = (1, 2, 4)
# output stride -> (strides, dilations) of layer1 … layer4
_PLANS = {16: ((1, 2, 2, 1), (1, 1, 1, 2)), 8: ((1, 2, 1, 1), (1, 1, 2, 4))}


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 with a shortcut; the output has four times ``planes`` channels."""

    def __init__(self, inputs: int, planes: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = planes * 4
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(
            planes, planes, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Transform, (N, inputs, H, W) -> (N, 4 × planes, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        return functional.relu(self.bn3(self.conv3(y)) + shortcut, inplace=True)


class ResNet101(nn.Module):
    """Dilated ResNet-101 without its classifier.

    Parameters
    ----------
    output_stride : {16, 8}, optional
        Input pixels per pixel of the last map.
    blocks : four int, optional
        Bottlenecks per layer; (3, 4, 23, 3) is ResNet-101. Fewer make a small network of the same shape.
    width : float, optional
        Multiplies the channel counts; 1 is the published network.
    """

    def __init__(
        self, output_stride: int = 16, blocks: Sequence[int] = (3, 4, 23, 3), width: float = 1.0
    ) -> None:
        super().__init__()
        if output_stride not in _PLANS:
            raise ValueError(f"output_stride must be 16 or 8, not {output_stride}")
        strides, dilations = _PLANS[output_stride]
        self._channels = max(8, round(64 * width))
        base = self._channels
        self.conv1 = nn.Conv2d(3, base, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        dense = [[1] * count for count in blocks[:3]]
        self.layer1 = self._layer(base, dense[0], strides[0], dilations[0])
        self.layer2 = self._layer(base * 2, dense[1], strides[1], dilations[1])
        self.layer3 = self._layer(base * 4, dense[2], strides[2], dilations[2])
        # The last layer's blocks follow the multi-grid, as many of them as there are.
        grid = [_MULTI_GRID[min(i, len(_MULTI_GRID) - 1)] for i in range(blocks[3])]
        self.layer4 = self._layer(base * 8, grid, strides[3], dilations[3])
        self.low_channels = base * 4
        self.channels = base * 32
        self._initialise()

    def _layer(self, planes: int, grid: Sequence[int], stride: int, dilation: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for index, unit in enumerate(grid):
            layers.append(Bottleneck(self._channels, planes, stride if index == 0 else 1, unit * dilation))
            self._channels = planes * 4
        return nn.Sequential(*layers)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
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
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        low = self.layer1(x)
        return low, self.layer4(self.layer3(self.layer2(low)))
