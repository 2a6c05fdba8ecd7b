"""Several layers of a frozen encoder, normalised and reduced to a few numbers per place of a tile, and a linear head.

This one network is what a project computes features with, and the quick model that it makes: the map that a person sees
while labelling and the labels of the bundle cannot differ in kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from napari_wsss.models.efficientnet_lite import EfficientNetLite0
from napari_wsss.models.enlarge import prepared, require_preparation
from napari_wsss.models.patch_classifier import PatchClassifier

fx.wrap("pooled")  # its sizes are numbers, not part of a traced graph

__all__ = ["STAGES", "PlaceClassifier", "PlaceFeatures", "places_of"]

STAGES = (5, 6, 7)
"""Encoder stages whose ends are used beside the head: each says something that the others do not."""

_EPSILON = 1e-5
_STRIDE = 16
_POOL = 2


def places_of(tile: int, enlarge: float = 1.0) -> int:
    """Return the number of places along the side of a tile: one for about 32 pixels of what the encoder sees."""
    cells = -(-round(tile * enlarge) // _STRIDE)
    return max(1, cells // _POOL)


def pooled(x: Tensor) -> Tensor:
    """Average neighbouring cells, (N, K, h, w) -> (N, K, h // 2, w // 2); an odd side is shared out evenly."""
    height, width = int(x.shape[2]), int(x.shape[3])
    if height % _POOL == 0 and width % _POOL == 0:
        return functional.avg_pool2d(x, _POOL)
    return functional.adaptive_avg_pool2d(x, (max(1, height // _POOL), max(1, width // _POOL)))


class PlaceClassifier(PatchClassifier):
    """Stage 1 with a frozen encoder and a linear head on reduced features of several layers.

    Parameters
    ----------
    num_classes : int
        Number of tissue classes C.
    values : int, optional
        Reduced values V per place.
    width : float, optional
        Channel multiplier of the encoder; 1 = ImageNet-compatible.
    enlarge : float, optional
        The input is resized by this factor first (:mod:`napari_wsss.models.enlarge`).
    colour_smoothing : int, optional
        As in :class:`~napari_wsss.models.lite_classifier.LiteClassifier`.

    Notes
    -----
    Stages 5, 6, 7 and the head of EfficientNet-Lite0 at stride 16; every place of every layer is normalised over its
    channels, all are mapped to V values by one fixed matrix, and 2 × 2 cells are averaged. A last feature is always 1,
    so that the head's offsets are part of ``classifier_weights`` and the CAM stays known in closed form.
    """

    architecture = "efficientnet-lite0-places"
    cam_layers: tuple[str, ...] = ("places",)

    def __init__(
        self,
        num_classes: int,
        values: int = 64,
        width: float = 1.0,
        enlarge: float = 1.0,
        colour_smoothing: int = 0,
    ) -> None:
        super().__init__()
        require_preparation(colour_smoothing, enlarge)
        self.num_classes = num_classes
        self.arguments: dict[str, Any] = {
            "values": values,
            "width": width,
            "enlarge": enlarge,
            "colour_smoothing": colour_smoothing,
        }
        self.values = values
        self.enlarge = enlarge
        self.colour_smoothing = colour_smoothing
        self.encoder = EfficientNetLite0(width, _STRIDE)
        self.reduce = nn.ModuleList(nn.Conv2d(k, values, 1, bias=False) for k in self.layer_channels)
        self.offset = nn.Parameter(torch.zeros(values))
        self.dropout = nn.Identity()
        self.classifier = nn.Conv2d(values + 1, num_classes, 1, bias=False)

    @property
    def layer_channels(self) -> tuple[int, ...]:
        """Channels of the layers that are used, shallowest first."""
        return (*(self.encoder.stage_channels[s - 2] for s in STAGES), self.encoder.channels)

    @property
    def last_layer(self) -> nn.Conv2d:
        """``classifier``."""
        return self.classifier

    @property
    def last_dropout(self) -> nn.Module:
        """None to speak of: nothing before the classifier trains."""
        return self.dropout

    def _layers(self, x: Tensor) -> list[Tensor]:
        stages, last = self.encoder.forward_stages(prepared(x, self.colour_smoothing, self.enlarge), STAGES)
        return [*(stages[s] for s in STAGES), last]

    def set_reduction(self, matrix: Tensor, offset: Tensor) -> None:
        """Set how layers are reduced.

        Parameters
        ----------
        matrix : (V, sum of ``layer_channels``) float
            What the normalised layers side by side are multiplied with.
        offset : (V,) float
            What is added then.
        """
        with torch.no_grad():
            for part, own in zip(torch.split(matrix, list(self.layer_channels), 1), self.reduce, strict=True):
                centred = (part - part.mean(1, keepdim=True)) * part.shape[1] ** -0.5
                own.get_parameter("weight").copy_(centred[:, :, None, None])
            self.offset.copy_(offset)

    def raw(self, x: Tensor) -> Tensor:
        """Return what is reduced: the normalised layers side by side, each with the same say.

        Parameters
        ----------
        x : (N, 3, H, W) float
            RGB / 255.

        Returns
        -------
        (N, sum of ``layer_channels``, p, p) float
        """
        parts = []
        for layer in self._layers(x):
            mean, scale = _moments(layer)
            # Not its number of channels decides how much a layer counts: the head has ten times as many as stage 6.
            parts.append(pooled((layer - mean) * scale) * layer.shape[1] ** -0.5)
        return torch.cat(parts, 1)

    def reduced(self, x: Tensor) -> Tensor:
        """Return the reduced values, (N, 3, H, W) RGB / 255 -> (N, V, p, p)."""
        total = self.offset.view(1, -1, 1, 1)
        for layer, matrix in zip(self._layers(x), self.reduce, strict=True):
            # matrix · ((layer − mean) · scale) without writing the wide layer anew: rows that sum to 0 ignore the mean.
            total = total + matrix(layer) * _moments(layer)[1]
        return pooled(total)

    def features(self, x: Tensor) -> Tensor:
        """Return the reduced values and a last feature that is 1, (N, V + 1, p, p)."""
        reduced = self.reduced(x)
        return torch.cat([reduced, torch.ones_like(reduced[:, :1])], 1)

    def activations(
        self, x: Tensor, layers: Sequence[str] = cam_layers, leaf: bool = False
    ) -> dict[str, Tensor]:
        """Return the features as the only layer; what comes before is frozen and needs no graph."""
        with torch.no_grad():
            return {"places": self.features(x)}


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and one over the standard deviation over the channels, each (N, 1, h, w)."""
    mean = x.mean(1, keepdim=True)
    variance = (x * x).mean(1, keepdim=True) - mean * mean
    return mean, (variance.clamp(min=0) + _EPSILON).rsqrt()


class PlaceFeatures(nn.Module):
    """Bytes in, reduced values out: what a backend runs or converts to compute features.

    Parameters
    ----------
    network : PlaceClassifier
    """

    def __init__(self, network: PlaceClassifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        """Return the reduced values (N, V, p, p) of tiles (N, T, T, 3) uint8."""
        return (self.network.reduced(pixels.permute(0, 3, 1, 2).float() / 255),)
