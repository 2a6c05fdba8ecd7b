"""Any network of the package timm as an encoder (``timm:convnext_tiny`` and the like)."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from napari_wsss.models.encoder import Encoder
from napari_wsss.models.encoders import TIMM
from tiling.errors import BundleError

__all__ = ["TimmEncoder"]

_MOST = 4


class TimmEncoder(Encoder):
    """A network of timm, never with timm's own weights.

    Parameters
    ----------
    name : str
        timm's name of the network.

    Raises
    ------
    BundleError
        When timm is not installed, does not know the name, or the network gives no maps of inner layers or holds
        constants that a bundle would lose.
    """

    def __init__(self, name: str) -> None:
        try:
            timm: Any = importlib.import_module("timm")
        except ImportError as error:
            raise BundleError(
                f"Encoder {TIMM}{name} needs the package timm: run `pip install 'napari-wsss[timm]'`."
            ) from error
        try:
            network: Any = timm.create_model(name, pretrained=False, num_classes=0)
        except (OSError, RuntimeError, TypeError, ValueError, NotImplementedError, AssertionError) as error:
            raise BundleError(f"timm cannot build {name} ({error}).") from error
        info = list(getattr(network, "feature_info", None) or ())
        if not hasattr(network, "forward_intermediates") or not info:
            raise BundleError(f"{name} of timm gives no maps of inner layers; choose another network.")
        if len([*network.named_buffers(), *network.named_parameters()]) != len(network.state_dict()):
            raise BundleError(f"{name} of timm has constants that its files do not hold; choose another.")
        steps = sorted({(len(info) * k + _MOST - 1) // _MOST - 1 for k in range(1, _MOST + 1)} - {-1})
        facts: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}
        super().__init__(
            [int(info[i]["num_chs"]) for i in steps],
            [int(info[i]["reduction"]) for i in steps],
            facts.get("mean", (0.0, 0.0, 0.0)),
            facts.get("std", (1.0, 1.0, 1.0)),
        )
        self.network: nn.Module = network
        self._steps = steps
        self._fixed = facts.get("input_size", (3, 0, 0))[1:] if facts.get("fixed_input_size") else None

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return maps of four layers, evenly spread; networks that know one input size get that size."""
        if self._fixed is not None and tuple(x.shape[2:]) != tuple(self._fixed):
            x = functional.interpolate(x, tuple(self._fixed), mode="bilinear", align_corners=False)
        network: Any = self.network
        found: list[Tensor] = network.forward_intermediates(
            x, indices=self._steps, intermediates_only=True, output_fmt="NCHW"
        )
        return found
