"""ResNet38d with a 1×1 classifier: the reference's stage 1.

Names, shapes and order are those of the published checkpoints (229 state-dict keys). Architecture: model A1
of Wu, Shen and van den Hengel, arXiv 1611.10080, dilated to stride 8 as in weakly supervised segmentation
(Ahn and Kwak, CVPR 2018).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_wsss.models.patch_classifier import PatchClassifier

__all__ = ["ResNet38"]

_BLOCKS = (
    *("conv1a", "b2", "b2_1", "b2_2", "b3", "b3_1", "b3_2"),
    *("b4", "b4_1", "b4_2", "b4_3", "b4_4", "b4_5", "b5", "b5_1", "b5_2", "b6", "b7"),
)
_FROZEN = ("conv1a", "b2", "b2_1", "b2_2")


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)


class ResBlock(nn.Module):
    """Pre-activation block of two 3×3 convolutions.

    Where the shape changes, ``conv_branch1`` acts on the activated input; otherwise the raw input is added.
    """

    def __init__(
        self,
        inputs: int,
        middle: int,
        outputs: int,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
    ) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = _conv(inputs, middle, 3, stride, first_dilation or dilation)
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.conv_branch2b1 = _conv(middle, outputs, 3, 1, dilation)
        self.conv_branch1 = None if inputs == outputs and stride == 1 else _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Transform, (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        activated = functional.relu(self.bn_branch2a(x), inplace=True)
        shortcut = x if self.conv_branch1 is None else self.conv_branch1(activated)
        y = functional.relu(self.bn_branch2b1(self.conv_branch2a(activated)), inplace=True)
        found: Tensor = self.conv_branch2b1(y) + shortcut
        return found


class BottleneckBlock(nn.Module):
    """Pre-activation block of 1×1, 3×3 and 1×1 convolutions with dropout of whole channels."""

    def __init__(self, inputs: int, outputs: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = _conv(inputs, outputs // 4, 1)
        self.bn_branch2b1 = nn.BatchNorm2d(outputs // 4)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = _conv(outputs // 4, outputs // 2, 3, 1, dilation)
        self.bn_branch2b2 = nn.BatchNorm2d(outputs // 2)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = _conv(outputs // 2, outputs, 1)
        self.conv_branch1 = _conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Transform, (N, inputs, H, W) -> (N, outputs, H, W)."""
        activated = functional.relu(self.bn_branch2a(x), inplace=True)
        y = functional.relu(self.bn_branch2b1(self.conv_branch2a(activated)), inplace=True)
        y = functional.relu(self.bn_branch2b2(self.conv_branch2b1(self.dropout_2b1(y))), inplace=True)
        found: Tensor = self.conv_branch2b2(self.dropout_2b2(y)) + self.conv_branch1(activated)
        return found


class ResNet38(PatchClassifier):
    """Stage 1: which tissue classes a patch holds.

    Parameters
    ----------
    num_classes : int
        Number of tissue classes C.
    width : float, optional
        Channel multiplier; 1 is the published network (K = 4096 features), less is for tests and small
        machines.

    Notes
    -----
    As in the reference, every batch norm stays in evaluation mode with fixed parameters, also in training,
    and ``conv1a``, ``b2``, ``b2_1`` and ``b2_2`` are frozen. Input is RGB / 255 without further
    normalisation.
    """

    architecture = "resnet38"
    cam_layers: tuple[str, ...] = ("b4_5", "b5_2", "bn7")

    def __init__(self, num_classes: int, width: float = 1.0) -> None:
        super().__init__()

        def c(channels: int) -> int:
            return max(4, round(channels * width / 4) * 4)

        self.num_classes = num_classes
        self.arguments: dict[str, Any] = {"width": width}
        self.conv1a = _conv(3, c(64))
        self.b2 = ResBlock(c(64), c(128), c(128), stride=2)
        self.b2_1 = ResBlock(c(128), c(128), c(128))
        self.b2_2 = ResBlock(c(128), c(128), c(128))
        self.b3 = ResBlock(c(128), c(256), c(256), stride=2)
        self.b3_1 = ResBlock(c(256), c(256), c(256))
        self.b3_2 = ResBlock(c(256), c(256), c(256))
        self.b4 = ResBlock(c(256), c(512), c(512), stride=2)
        self.b4_1 = ResBlock(c(512), c(512), c(512))
        self.b4_2 = ResBlock(c(512), c(512), c(512))
        self.b4_3 = ResBlock(c(512), c(512), c(512))
        self.b4_4 = ResBlock(c(512), c(512), c(512))
        self.b4_5 = ResBlock(c(512), c(512), c(512))
        self.b5 = ResBlock(c(512), c(512), c(1024), dilation=2, first_dilation=1)
        self.b5_1 = ResBlock(c(1024), c(512), c(1024), dilation=2)
        self.b5_2 = ResBlock(c(1024), c(512), c(1024), dilation=2)
        self.b6 = BottleneckBlock(c(1024), c(2048), dilation=4, dropout=0.3)
        self.b7 = BottleneckBlock(c(2048), c(4096), dilation=4, dropout=0.5)
        self.bn7 = nn.BatchNorm2d(c(4096))
        self.dropout7 = nn.Dropout2d(0.5)
        self.fc8 = nn.Conv2d(c(4096), num_classes, 1, bias=False)
        nn.init.xavier_uniform_(self.fc8.weight)
        for name in _FROZEN:
            self.get_submodule(name).requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set training mode for everything but batch norm, which never trains in this method."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    @property
    def last_layer(self) -> nn.Conv2d:
        """``fc8``."""
        return self.fc8

    @property
    def last_dropout(self) -> nn.Module:
        """``dropout7``."""
        return self.dropout7

    def features(self, x: Tensor) -> Tensor:
        """Return ReLU(bn7), (N, 3, H, W) RGB / 255 -> (N, 4096, H / 8, W / 8)."""
        return self.activations(x, ())["bn7"]

    def activations(
        self, x: Tensor, layers: Sequence[str] = cam_layers, leaf: bool = False
    ) -> dict[str, Tensor]:
        """As :meth:`PatchClassifier.activations`: blocks ``b2`` … ``b7`` give raw residual sums, ``bn7`` ReLU(bn7)."""
        found: dict[str, Tensor] = {}
        start = next((i for i, name in enumerate(_BLOCKS) if name in layers), len(_BLOCKS)) + 1 if leaf else 0
        with torch.no_grad() if leaf else contextlib.nullcontext():
            for name in _BLOCKS[:start]:
                x = self.get_submodule(name)(x)
        if 0 < start <= len(_BLOCKS):
            found[_BLOCKS[start - 1]] = x = x.detach().requires_grad_()
        for name in _BLOCKS[start:]:
            x = self.get_submodule(name)(x)
            if name in layers:
                found[name] = x
        found["bn7"] = functional.relu(self.bn7(x))
        return found
