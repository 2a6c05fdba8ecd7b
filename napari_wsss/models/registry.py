"""Networks by architecture name. Knowing the names costs nothing; torch is loaded when a network is built."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_wsss.models.patch_classifier import PatchClassifier
    from napari_wsss.models.segmentation_network import SegmentationNetwork

__all__ = ["STAGE1_ARCHITECTURES", "STAGE2_ARCHITECTURES", "build_stage1", "build_stage2"]

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


def _build(table: dict[str, str], stage: int, architecture: str, num_classes: int, arguments: Any) -> Any:
    try:
        module, name = table[architecture].split(":")
    except KeyError:
        known = ", ".join(sorted(table))
        raise ValueError(f"unknown stage-{stage} architecture {architecture!r}; known are {known}") from None
    return getattr(importlib.import_module(module), name)(num_classes, **arguments)


def build_stage1(architecture: str, num_classes: int, **arguments: Any) -> PatchClassifier:
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
    PatchClassifier

    Raises
    ------
    ValueError
        For an unknown name or an impossible argument; TypeError for an unknown argument.
    """
    network: PatchClassifier = _build(STAGE1_ARCHITECTURES, 1, architecture, num_classes, arguments)
    return network


def build_stage2(architecture: str, num_classes: int, **arguments: Any) -> SegmentationNetwork:
    """Build a stage-2 segmentation network with fresh weights; see :func:`build_stage1`."""
    network: SegmentationNetwork = _build(STAGE2_ARCHITECTURES, 2, architecture, num_classes, arguments)
    return network
