"""What every backend returns, and the one way from there to probabilities: presence, gate, softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_wsss.models import Gate, apply_gate, class_activation, open_classes, resize_maps

__all__ = ["Backend", "Maps", "Pair", "presence_of", "probabilities_of"]


@dataclass(frozen=True)
class Maps:
    """What the networks say about a batch of N tiles with C classes.

    Attributes
    ----------
    activation : (N, C, h, w) float32
        Stage-1 class activations; their spatial mean is the stage-1 logit.
    logits : (N, C, H, W) float32, or None
        Stage-2 logits before the last resize; None for a bundle without stage 2.
    """

    activation: Tensor
    logits: Tensor | None


class Backend(Protocol):
    """Anything that runs both networks on a batch of tiles."""

    @property
    def name(self) -> str:
        """``torch``, ``compile`` or ``openvino``; part of the store's identity."""
        ...

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or ``fp16``; part of the store's identity."""
        ...

    def __call__(self, pixels: NDArray[np.uint8]) -> Maps:
        """Run the networks on tiles (N, T, T, 3) uint8 RGB."""
        ...


class Pair(nn.Module):
    """Both networks of a bundle as one: bytes in, maps out. What a backend runs or converts.

    Parameters
    ----------
    stage1 : nn.Module
        A :class:`napari_wsss.models.PatchClassifier`.
    stage2 : nn.Module or None
        A segmentation network, with ``coarse(x)`` when its last step is a resize.
    """

    def __init__(self, stage1: nn.Module, stage2: nn.Module | None) -> None:
        super().__init__()
        self.stage1 = stage1
        self.stage2 = stage2

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return activation, and logits if there is a stage 2, for tiles (N, T, T, 3) uint8."""
        x = pixels.permute(0, 3, 1, 2).float() / 255
        stage1: Any = self.stage1
        activation = class_activation(stage1.features(x), stage1.classifier_weights)
        if self.stage2 is None:
            return (activation,)
        stage2: Any = self.stage2
        # The last resize follows in float32 and outside: a sixteenth of the numbers leaves the network.
        return activation, stage2.coarse(x) if hasattr(stage2, "coarse") else stage2(x)


def presence_of(maps: Maps) -> Tensor:
    """Return the stage-1 probability that a class is somewhere in the tile, (N, C) float32."""
    return maps.activation.mean((2, 3)).sigmoid()


def probabilities_of(
    maps: Maps, tile: int, presence: Tensor, gate: Gate | None, thresholds: Tensor
) -> Tensor:
    """Turn maps into class probabilities of every pixel.

    Parameters
    ----------
    maps : Maps
    tile : int
        Side of the result.
    presence : (N, C) float32
    gate : Gate or None
        None leaves every class open.
    thresholds : (1,) or (C,) float32
        In place of those of ``gate``.

    Returns
    -------
    (N, C, tile, tile) float32

    Notes
    -----
    Without stage 2 the class activations of stage 1 take the place of its logits.
    """
    if maps.logits is None:
        scores = resize_maps(maps.activation, (tile, tile))
    elif maps.logits.shape[2:] != (tile, tile):
        # Corners aligned, as DeepLabV3Plus.forward does.
        scores = functional.interpolate(maps.logits, (tile, tile), mode="bilinear", align_corners=True)
    else:
        scores = maps.logits
    if gate is None:
        return scores.softmax(1)
    mode: Any = gate.mode
    if mode == "mask":
        # The same as apply_gate without its copy: a closed class is 0 after the softmax.
        closed = ~open_classes(presence, thresholds)
        return scores.masked_fill(closed[:, :, None, None], float("-inf")).softmax(1)
    return apply_gate(scores, presence, thresholds, mode).softmax(1)


def labels_of(maps: Maps, tile: int, gate: Gate) -> Tensor:
    """Return the most probable class of every pixel, (N, tile, tile) int64, with the bundle's own gate."""
    thresholds = torch.tensor(gate.thresholds, device=maps.activation.device)
    return probabilities_of(maps, tile, presence_of(maps), gate, thresholds).argmax(1)
