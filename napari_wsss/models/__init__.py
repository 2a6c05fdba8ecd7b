"""Networks, CAM, gate, checkpoints and bundles: shared by the plugin, the command line and training.

Names are loaded on first use, so that ``import napari_wsss.models`` (and reading a bundle's model.json) needs
no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_wsss.models.attention import progressive_dropout_attention
    from napari_wsss.models.bundle import Bundle, Gate, NetworkSpec, default_bundle, list_bundles, load_bundle
    from napari_wsss.models.bundle_writer import save_bundle
    from napari_wsss.models.cam import class_activation, multilayer_gradcam, plain_cam, resize_maps
    from napari_wsss.models.deeplab import DeepLabV3Plus
    from napari_wsss.models.efficientnet_lite import EfficientNetLite0, load_imagenet_weights
    from napari_wsss.models.gate import apply_gate, open_classes
    from napari_wsss.models.legacy import import_checkpoints
    from napari_wsss.models.lite_classifier import LiteClassifier
    from napari_wsss.models.pseudo_masks import pseudo_mask, white_background
    from napari_wsss.models.registry import build_stage1, build_stage2
    from napari_wsss.models.resnet38 import ResNet38
    from napari_wsss.models.schemas import resolve_schema

__all__ = [
    "Bundle",
    "DeepLabV3Plus",
    "EfficientNetLite0",
    "Gate",
    "LiteClassifier",
    "NetworkSpec",
    "ResNet38",
    "apply_gate",
    "build_stage1",
    "build_stage2",
    "class_activation",
    "default_bundle",
    "import_checkpoints",
    "list_bundles",
    "load_bundle",
    "load_imagenet_weights",
    "multilayer_gradcam",
    "open_classes",
    "plain_cam",
    "progressive_dropout_attention",
    "pseudo_mask",
    "resize_maps",
    "resolve_schema",
    "save_bundle",
    "white_background",
]

_HOMES = {
    "attention": ("progressive_dropout_attention",),
    "bundle": (
        "Bundle",
        "Gate",
        "NetworkSpec",
        "default_bundle",
        "list_bundles",
        "load_bundle",
        "save_bundle",
    ),
    "cam": ("class_activation", "multilayer_gradcam", "plain_cam", "resize_maps"),
    "deeplab": ("DeepLabV3Plus",),
    "efficientnet_lite": ("EfficientNetLite0", "load_imagenet_weights"),
    "lite_classifier": ("LiteClassifier",),
    "gate": ("apply_gate", "open_classes"),
    "legacy": ("import_checkpoints",),
    "pseudo_masks": ("pseudo_mask", "white_background"),
    "registry": ("build_stage1", "build_stage2"),
    "resnet38": ("ResNet38",),
    "schemas": ("resolve_schema",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
