"""Any convolutional encoder of the package timm as a backbone of stage 2 (``timm:xception65`` and the like)."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor, nn

from tiling.errors import BundleError

__all__ = ["PREFIX", "TimmBackbone"]

PREFIX = "timm:"
"""What a backbone name begins with when the rest is timm's name of the network."""


class TimmBackbone(nn.Module):
    """A feature extractor of timm.

    Parameters
    ----------
    name : str
        timm's name of the network.
    output_stride : int
        Input pixels per pixel of the last map.
    pretrained : bool, optional
        Fetch timm's weights (over the network, or from its cache); for training only. Bundles hold their own.

    Raises
    ------
    BundleError
        When timm is not installed, does not know the name, cannot fetch the weights, or the network has no stride-4
        map or holds constants that a bundle would lose.
    """

    def __init__(self, name: str, output_stride: int, pretrained: bool = False) -> None:
        super().__init__()
        try:
            timm: Any = importlib.import_module("timm")
        except ImportError as error:
            raise BundleError(
                f"Backbone {PREFIX}{name} needs the package timm: run `pip install 'napari-wsss[timm]'`."
            ) from error
        try:
            network = timm.create_model(
                name, features_only=True, output_stride=output_stride, pretrained=pretrained
            )
        except (OSError, RuntimeError, TypeError, ValueError, NotImplementedError, AssertionError) as error:
            raise BundleError(f"timm cannot build {name} at stride {output_stride} ({error}).") from error
        reductions = [int(r) for r in network.feature_info.reduction()]
        channels = [int(c) for c in network.feature_info.channels()]
        if 4 not in reductions or reductions[-1] != output_stride:
            raise BundleError(
                f"{name} of timm has maps of strides {reductions}; a decoder needs 4 and {output_stride}."
            )
        if len(dict(network.named_buffers())) + len(dict(network.named_parameters())) != len(
            network.state_dict()
        ):
            raise BundleError(
                f"{name} of timm has constants that its files do not hold; choose another network."
            )
        self.network: nn.Module = network
        facts: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}
        self._mean = tuple(float(v) for v in facts.get("mean", (0.0,) * 3))
        self._std = tuple(float(v) for v in facts.get("std", (1.0,) * 3))
        self._low = reductions.index(4)
        self.low_channels = channels[self._low]
        self.channels = channels[-1]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stride-4 map and the last map of (N, 3, H, W) RGB / 255, scaled as timm's weights expect it."""
        mean, std = (x.new_tensor(v).view(1, 3, 1, 1) for v in (self._mean, self._std))
        maps: list[Tensor] = self.network((x - mean) / std)
        return maps[self._low], maps[-1]
