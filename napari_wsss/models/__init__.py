"""Networks, CAM, gate, checkpoints and bundles: shared by the plugin, the command line and training.

Names are loaded on first use, so that ``import napari_wsss.models`` (and reading a bundle's model.json) needs
no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_wsss.models.attention import progressive_dropout_attention
    from napari_wsss.models.bundle import Bundle, Gate, NetworkSpec, list_bundles, load_bundle, save_bundle
    from napari_wsss.models.deeplab import DeepLabV3Plus
    from napari_wsss.models.efficientnet_lite import EfficientNetLite0, LiteClassifier, load_imagenet_weights
    from napari_wsss.models.gate import apply_gate, open_classes
    from napari_wsss.models.registry import build_stage1, build_stage2
    from napari_wsss.models.schemas import resolve_schema

__all__ = [
    "Bundle",
    "DeepLabV3Plus",
    "EfficientNetLite0",
    "Gate",
    "LiteClassifier",
    "NetworkSpec",
    "apply_gate",
    "build_stage1",
    "build_stage2",
    "list_bundles",
    "load_bundle",
    "load_imagenet_weights",
    "open_classes",
    "progressive_dropout_attention",
    "resolve_schema",
    "save_bundle",
]

_HOMES = {
    "attention": ("progressive_dropout_attention",),
    "bundle": ("Bundle", "Gate", "NetworkSpec", "list_bundles", "load_bundle", "save_bundle"),
    "deeplab": ("DeepLabV3Plus",),
    "efficientnet_lite": ("EfficientNetLite0", "LiteClassifier", "load_imagenet_weights"),
    "gate": ("apply_gate", "open_classes"),
    "registry": ("build_stage1", "build_stage2"),
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
