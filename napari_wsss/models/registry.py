"""Networks by architecture name. Knowing the names costs nothing; torch is loaded when a network is built."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

__all__ = ["STAGE1_ARCHITECTURES", "STAGE2_ARCHITECTURES", "Classifier", "build_stage1", "build_stage2"]

STAGE1_ARCHITECTURES: dict[str, str] = {
    "resnet38": "napari_wsss.models.resnet38:ResNet38",
    "efficientnet-lite0": "napari_wsss.models.lite_classifier:LiteClassifier",
    "encoder": "napari_wsss.models.encoder_classifier:EncoderClassifier",
    "efficientnet-lite0-places": "napari_wsss.models.place_classifier:PlaceClassifier",
}
"""Stage-1 networks: architecture name -> ``module:class``; a new one is one line here."""

STAGE2_ARCHITECTURES: dict[str, str] = {
    "deeplabv3plus": "napari_wsss.models.deeplab:DeepLabV3Plus",
}
"""Stage-2 networks: architecture name -> ``module:class``."""


@runtime_checkable
class Classifier(Protocol):
    """What every stage-1 network offers beside being an ``nn.Module``."""

    architecture: str
    arguments: dict[str, Any]
    num_classes: int
    cam_layers: tuple[str, ...]

    @property
    def classifier_weights(self) -> Tensor:
        """Weights of the last layer, (C, K)."""
        ...

    def features(self, x: Tensor) -> Tensor:
        """Last features, (N, 3, H, W) RGB / 255 -> (N, K, h, w)."""
        ...

    def activations(self, x: Tensor, layers: Sequence[str] = ..., leaf: bool = False) -> dict[str, Tensor]:
        """Activations of some CAM layers, the last one always among them, in one forward pass."""
        ...

    def classify(
        self, features: Tensor, pda_gamma: float | None = None, pda_normalise: bool = False
    ) -> Tensor:
        """Last features -> logits (N, C)."""
        ...


def _build(
    table: dict[str, str], stage: int, architecture: str, num_classes: int, arguments: Any
) -> nn.Module:
    try:
        module, name = table[architecture].split(":")
    except KeyError:
        known = ", ".join(sorted(table))
        raise ValueError(f"unknown stage-{stage} architecture {architecture!r}; known are {known}") from None
    network: nn.Module = getattr(importlib.import_module(module), name)(num_classes, **arguments)
    return network


def build_stage1(architecture: str, num_classes: int, **arguments: Any) -> nn.Module:
    """Build a stage-1 classifier with fresh weights.

    Parameters
    ----------
    architecture : str
        A name of :data:`STAGE1_ARCHITECTURES`.
    num_classes : int
        Number of tissue classes C.
    **arguments
        Passed to the network (``width``, ``output_stride``, …).

    Returns
    -------
    nn.Module
        It also satisfies :class:`Classifier`.

    Raises
    ------
    ValueError
        For an unknown name or an impossible argument; TypeError for an unknown argument.
    """
    return _build(STAGE1_ARCHITECTURES, 1, architecture, num_classes, arguments)


def build_stage2(architecture: str, num_classes: int, **arguments: Any) -> nn.Module:
    """Build a stage-2 segmentation network with fresh weights; see :func:`build_stage1`."""
    return _build(STAGE2_ARCHITECTURES, 2, architecture, num_classes, arguments)
