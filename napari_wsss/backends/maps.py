"""What every backend returns, and the one way from there to probabilities: presence, gate, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_wsss.models import Bundle, Gate, apply_gate, class_activation, open_classes, resize_maps

__all__ = ["Backend", "Maps", "Pair", "Seer", "labels_of", "networks_of", "presence_of", "probabilities_of"]


@dataclass(frozen=True)
class Maps:
    """What the networks say about a batch of N tiles with C classes.

    Attributes
    ----------
    activation : (N, C, h, w) float32, or None
        Stage-1 class activations; their spatial mean is the stage-1 logit. None where ``presence`` says what is there.
    logits : (N, C, H, W) float32, or None
        Stage-2 logits before the last resize; None for a bundle without stage 2.
    presence : (N, C) float32, or None
        The logit that a class is somewhere in the tile, where it does not come with class activations.
    """

    activation: Tensor | None
    logits: Tensor | None
    presence: Tensor | None = None

    @classmethod
    def of(cls, outputs: Sequence[Tensor]) -> Maps:
        """Name what a network of this module returned."""
        outputs = [value.float() for value in outputs]
        if outputs[-1].ndim == 2:
            return cls(None, outputs[0], outputs[1])
        return cls(outputs[0], outputs[1] if len(outputs) > 1 else None)


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


class Seer(nn.Module):
    """A stage 2 that also says what is present: bytes in, logits and presence out, through one encoder."""

    def __init__(self, stage2: nn.Module) -> None:
        super().__init__()
        self.stage2 = stage2

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return stage-2 logits and presence logits for tiles (N, T, T, 3) uint8."""
        stage2: Any = self.stage2
        logits, presence = stage2.segment_and_see(_scaled(pixels))
        return logits, presence


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
        x = _scaled(pixels)
        stage1: Any = self.stage1
        activation = class_activation(stage1.features(x), stage1.classifier_weights)
        if self.stage2 is None:
            return (activation,)
        stage2: Any = self.stage2
        # The last resize follows in float32 and outside: a sixteenth of the numbers leaves the network.
        return activation, stage2.coarse(x) if hasattr(stage2, "coarse") else stage2(x)


class Gated(nn.Module):
    """A pair whose stage 1 only says what is present, at a stride of its own: bytes in, logits and presence out."""

    def __init__(self, gatekeeper: nn.Module, stage2: nn.Module) -> None:
        super().__init__()
        self.gatekeeper = gatekeeper
        self.stage2 = stage2

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return stage-2 logits and presence logits for tiles (N, T, T, 3) uint8."""
        x = _scaled(pixels)
        first: Any = self.gatekeeper
        activation = class_activation(first.features(x), first.classifier_weights)
        stage2: Any = self.stage2
        return stage2.coarse(x) if hasattr(stage2, "coarse") else stage2(x), activation.mean((2, 3))


def networks_of(bundle: Bundle) -> nn.Module:
    """Return the network that a backend runs for a bundle."""
    stage2 = bundle.build_stage2()
    if stage2 is not None and bundle.presence == "stage2":
        return Seer(stage2)
    if stage2 is not None and bundle.presence_stride is not None:
        return Gated(bundle.build_gatekeeper(), stage2)
    return Pair(bundle.build_stage1(), stage2)


def presence_of(maps: Maps) -> Tensor:
    """Return the probability that a class is somewhere in the tile, (N, C) float32."""
    if maps.presence is not None:
        return maps.presence.sigmoid()
    assert maps.activation is not None, "one of the two says what is present"
    return maps.activation.mean((2, 3)).sigmoid()


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).float() / 255


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
        assert maps.activation is not None, "without stage 2 there is a stage 1"
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
    presence = presence_of(maps)
    thresholds = torch.tensor(gate.thresholds, device=presence.device)
    return probabilities_of(maps, tile, presence, gate, thresholds).argmax(1)
