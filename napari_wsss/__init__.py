"""Weakly supervised tissue segmentation of whole slides (research use, not for diagnosis).

The names below are loaded on first use: importing the package loads neither torch nor napari nor Qt.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from napari_wsss._version import __version__

if TYPE_CHECKING:
    from napari_wsss.models import list_bundles, load_bundle
    from napari_wsss.pipeline import Result, Settings, segment, segment_events
    from napari_wsss.project import new_project, open_project
    from tiling.export import measure
    from tiling.slides import open_slide
    from tiling.store import open_store

__all__ = [
    "Result",
    "Settings",
    "__version__",
    "list_bundles",
    "load_bundle",
    "measure",
    "new_project",
    "open_project",
    "open_slide",
    "open_store",
    "segment",
    "segment_events",
]

_HOME_OF = {
    "Result": "napari_wsss.pipeline",
    "Settings": "napari_wsss.pipeline",
    "list_bundles": "napari_wsss.models",
    "load_bundle": "napari_wsss.models",
    "measure": "tiling.export",
    "new_project": "napari_wsss.project",
    "open_project": "napari_wsss.project",
    "open_slide": "tiling.slides",
    "open_store": "tiling.store",
    "segment": "napari_wsss.pipeline",
    "segment_events": "napari_wsss.pipeline",
}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
