"""Outlines that stay some screen pixels wide at every zoom: napari measures them in pixels of the slide."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_wsss.plugin.view.frame import unit_factors, viewer_units
from napari_wsss.plugin.view.slide_key import kind_of

__all__ = ["keep_outlines_visible"]

SCREEN_PIXELS = 3.0
OUTLINES = frozenset({"region", "marker", "ruler"})
"""Kinds of shapes layers whose outlines are looked after."""

_TOLERANCE = 0.25


def keep_outlines_visible(viewer: Any) -> None:
    """Set the outlines of the plugin's shapes layers to some screen pixels; nothing happens while they have them."""
    for layer in viewer.layers:
        if kind_of(layer) not in OUTLINES:
            continue
        factor = float(unit_factors(layer.units, viewer_units(viewer, layer))[0])
        width = SCREEN_PIXELS / (float(viewer.scene.camera.zoom) * float(np.abs(layer.scale[-1])) * factor)
        widths = np.asarray(layer.edge_width, float)
        known = widths if widths.size else np.array([layer.current_edge_width], float)
        if (np.abs(known / width - 1) > _TOLERANCE).any():
            layer.current_edge_width = width
            if widths.size:
                layer.edge_width = [width] * len(layer.data)
