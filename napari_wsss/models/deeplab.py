"""DeepLabV3+ (stage 2): one segmentation head on interchangeable backbones.

The ``resnet101`` variant has the 680 state-dict keys of the published checkpoints (jfzhang95-style
DeepLabV3+). Architecture: Chen et al., ECCV 2018 (arXiv 1802.02611), with plain 3×3 convolutions in the
decoder as in that code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_wsss.models.efficientnet_lite import EfficientNetLite0
from napari_wsss.models.encoder_backbone import EncoderBackbone
from napari_wsss.models.encoders import TIMM, encoder_names, find_encoder
from napari_wsss.models.enlarge import prepared, require_preparation
from napari_wsss.models.mobilenet import MobileNetV2
from napari_wsss.models.resnet101 import ResNet101
from napari_wsss.models.segmentation_network import SegmentationNetwork

__all__ = ["BACKBONES", "Backbone", "DeepLabV3Plus"]


@dataclass(frozen=True)
class Backbone:
    """How to make a backbone, and the head that goes well with it.

    Attributes
    ----------
    build : callable
        ``(output_stride, width) -> module`` whose forward returns (stride-4 map, last map) and which has the
        attributes ``low_channels`` and ``channels``.
    head_channels, low_channels : int
        Default widths of the head and of the projected stride-4 map.
    """

    build: Callable[[int, float], nn.Module]
    head_channels: int = 256
    low_channels: int = 48


BACKBONES: dict[str, Backbone] = {
    "resnet101": Backbone(lambda stride, width: ResNet101(stride, width=width)),
    "resnet50": Backbone(lambda stride, width: ResNet101(stride, (3, 4, 6, 3), width)),
    "mobilenet-v2": Backbone(lambda stride, width: MobileNetV2(stride, width)),
    # On a light encoder the full head would cost several times what the encoder does.
    "efficientnet-lite0": Backbone(
        lambda stride, width: EfficientNetLite0(width, stride, head=False), 128, 24
    ),
}
"""Networks of our own by name; a new one is one line here. Any other name is an encoder's."""

_SEEN = (4, 5, 6, 7)
"""Stages of the light encoder whose means ``presence="stages"`` sees."""

_RATES = {32: (1, 3, 6, 9), 16: (1, 6, 12, 18), 8: (1, 12, 24, 36)}


class PooledBatchNorm2d(nn.BatchNorm2d):
    """Batch norm for a globally pooled map: a batch of one has no variance and uses the running statistics.

    Without this the last, short batch of an epoch crashes training (method notes §4.7).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, K, 1, 1)."""
        if self.training and x.numel() == x.shape[1]:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


class _AtrousBranch(nn.Module):
    def __init__(self, inputs: int, outputs: int, rate: int) -> None:
        super().__init__()
        kernel, padding = (1, 0) if rate == 1 else (3, rate)
        self.atrous_conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=rate, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.atrous_conv(x)), inplace=True)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: four dilation rates and the image mean, fused by a 1×1 convolution."""

    def __init__(self, inputs: int, outputs: int, output_stride: int) -> None:
        super().__init__()
        rates = _RATES[output_stride]
        self.aspp1 = _AtrousBranch(inputs, outputs, rates[0])
        self.aspp2 = _AtrousBranch(inputs, outputs, rates[1])
        self.aspp3 = _AtrousBranch(inputs, outputs, rates[2])
        self.aspp4 = _AtrousBranch(inputs, outputs, rates[3])
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            PooledBatchNorm2d(outputs),
            nn.ReLU(),
        )
        self.conv1 = nn.Conv2d(5 * outputs, outputs, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Transform, (N, inputs, h, w) -> (N, outputs, h, w)."""
        branches = [self.aspp1(x), self.aspp2(x), self.aspp3(x), self.aspp4(x)]
        branches.append(self.global_avg_pool(x).expand_as(branches[0]))
        y = self.conv1(torch.cat(branches, 1))
        found: Tensor = self.dropout(functional.relu(self.bn1(y), inplace=True))
        return found


class Decoder(nn.Module):
    """Joins the ASPP output with the projected stride-4 map and classifies at stride 4."""

    def __init__(self, num_classes: int, low_inputs: int, low_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(low_inputs, low_channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(low_channels)
        self.last_conv = nn.Sequential(
            nn.Conv2d(channels + low_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Conv2d(channels, num_classes, 1),
        )

    def forward(self, x: Tensor, low: Tensor) -> Tensor:
        """Combine (N, channels, h, w) with (N, low_inputs, H, W) -> (N, num_classes, H, W)."""
        low = functional.relu(self.bn1(self.conv1(low)), inplace=True)
        x = functional.interpolate(x, low.shape[2:], mode="bilinear", align_corners=True)
        found: Tensor = self.last_conv(torch.cat((x, low), 1))
        return found


def _pooled(high: Tensor, deep: Tensor, seen: Sequence[Tensor]) -> Tensor:
    means = [stage.mean((2, 3)) for stage in seen]
    return torch.cat((high.mean((2, 3)), deep.mean((2, 3)), deep.amax((2, 3)), *means), 1)


def _recipe(name: str) -> Backbone:
    """Find a backbone.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    encoder = find_encoder(name)
    if encoder is None:
        known = ", ".join([*sorted(BACKBONES), *encoder_names()])
        raise ValueError(f"unknown backbone {name!r}: use one of {known}, {TIMM}NAME")
    return Backbone(lambda stride, width: EncoderBackbone(encoder.make()))


class DeepLabV3Plus(SegmentationNetwork):
    """Stage 2: a class for every pixel.

    Parameters
    ----------
    num_classes : int
        Number of tissue classes C.
    backbone : str, optional
        A name of :data:`BACKBONES`: ``resnet101`` (published checkpoints), ``efficientnet-lite0`` (CPU) …, or of an
        encoder (:mod:`napari_wsss.models.encoders`).
    output_stride : {16, 8, 32}, optional
        Input pixels per pixel of the backbone's last map; 32 for the light encoders only.
    width : float, optional
        Channel multiplier of the backbone; 1 = published weights fit.
    head_channels, low_channels : int, optional
        Width of ASPP and decoder, and of the projected stride-4 map; default: what suits the backbone
        (256 and 48, as published, for ``resnet101``).
    colour_smoothing : int, optional
        Side in pixels of the box that smooths the colour of the input (:mod:`napari_wsss.models.colour`), so that
        two compressions of the same glass get one answer; 0 is off.
    enlarge : float, optional
        The input is resized by this factor first (:mod:`napari_wsss.models.enlarge`): patches of fewer than about 160
        pixels hold too few places for a CAM.
    presence : bool or "stages", optional
        Give the network a linear layer on pooled features that says which classes are in the image, so that one encoder
        does what takes stage 1 and stage 2 otherwise; see :meth:`segment_and_see`. With ``stages`` it also sees the
        means of the light encoder's stages 4 to 7.

    Notes
    -----
    Any tile size works. Batch norm of the pooled branch falls back to running statistics for a training batch
    of one.
    """

    architecture = "deeplabv3plus"

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet101",
        output_stride: int = 16,
        width: float = 1.0,
        head_channels: int | None = None,
        low_channels: int | None = None,
        colour_smoothing: int = 0,
        enlarge: float = 1.0,
        presence: bool | str = False,
    ) -> None:
        super().__init__()
        recipe = _recipe(backbone)
        if output_stride not in _RATES:
            raise ValueError(f"output_stride must be 8, 16 or 32, not {output_stride}")
        require_preparation(colour_smoothing, enlarge)
        channels = head_channels or recipe.head_channels
        low = low_channels or recipe.low_channels
        self.num_classes = num_classes
        self.arguments: dict[str, Any] = {
            "backbone": backbone,
            "output_stride": output_stride,
            "width": width,
            "head_channels": channels,
            "low_channels": low,
            "colour_smoothing": colour_smoothing,
            "enlarge": enlarge,
        }
        if presence:  # Left out when off: a bundle without it reads as before.
            self.arguments["presence"] = presence
        self.colour_smoothing = colour_smoothing
        self.enlarge = enlarge
        made: Any = recipe.build(output_stride, width)
        self.backbone: nn.Module = made
        self.aspp = ASPP(made.channels, channels, output_stride)
        self.decoder = Decoder(num_classes, made.low_channels, low, channels)
        for part in (self.aspp, self.decoder):
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)
        if presence not in (False, True, "stages"):
            raise ValueError(f"presence must be true, false or 'stages', not {presence!r}")
        self._seen = _SEEN if presence == "stages" else ()
        pooled = made.channels + 2 * channels
        if self._seen:
            if not isinstance(made, EfficientNetLite0):
                raise ValueError("only the encoder efficientnet-lite0 has stages for presence to see")
            pooled += sum(made.stage_channels[stage - 2] for stage in self._seen)
        self.presence = nn.Linear(pooled, num_classes) if presence else None

    def forward(self, x: Tensor) -> Tensor:
        """Segment.

        Parameters
        ----------
        x : (N, 3, H, W) float
            RGB / 255.

        Returns
        -------
        (N, C, H, W) logits
        """
        return functional.interpolate(self.coarse(x), x.shape[2:], mode="bilinear", align_corners=True)

    def coarse(self, x: Tensor) -> Tensor:
        """Segment without the last resize: (N, 3, H, W) RGB / 255 -> logits (N, C, H / 4, W / 4), × ``enlarge``."""
        low, _, deep, _ = self._maps(x)
        found: Tensor = self.decoder(deep, low)
        return found

    def pooled(self, x: Tensor) -> Tensor:
        """Return what ``presence`` sees, (N, K): means of the backbone's and maxima of ASPP's last map."""
        _, high, deep, seen = self._maps(x)
        return _pooled(high, deep, seen)

    def segment_and_see(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of :meth:`coarse`, and the logit (N, C) that a class is somewhere in the image.

        Raises
        ------
        ValueError
            When the network was built without ``presence``.
        """
        if self.presence is None:
            raise ValueError("this network has no presence layer")
        low, high, deep, seen = self._maps(x)
        return self.decoder(deep, low), self.presence(_pooled(high, deep, seen))

    def _maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Return the map at stride 4, the last one, what ASPP makes of it, and the stages that ``presence`` sees."""
        x = prepared(x, self.colour_smoothing, self.enlarge)
        if not self._seen:
            low, high = self.backbone(x)
            return low, high, self.aspp(high), []
        encoder: Any = self.backbone
        stages, high = encoder.forward_stages(x, (3, *self._seen))
        return stages[3], high, self.aspp(high), [stages[stage] for stage in self._seen]

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Trainable parameters of the backbone (learning rate × 1 in the reference)."""
        return (p for p in self.backbone.parameters() if p.requires_grad)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Trainable parameters of ASPP and decoder (learning rate × 10 in the reference)."""
        return (p for part in (self.aspp, self.decoder) for p in part.parameters() if p.requires_grad)
