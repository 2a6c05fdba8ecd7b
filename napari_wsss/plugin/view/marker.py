"""Going to a tile: the view is centred on it and an outline drawn, in one layer that moves from tile to tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_wsss.plugin.view.frame import placement_of, unit_factors, viewer_units
from napari_wsss.plugin.view.outlines import keep_outlines_visible
from napari_wsss.plugin.view.slide_key import METADATA_KEY, layers_of_kind, slide_of

__all__ = ["MARKER", "go_to_box", "mark_box"]

MARKER = "Tile"
VIEW_SHARE = 0.35
"""Part of the canvas's smaller side that a tile fills after going there."""


def mark_box(viewer: Any, layer: Any, y: float, x: float, side: float) -> Any:
    """Outline a square.

    Parameters
    ----------
    viewer : napari.Viewer
    layer : napari.layers.Layer
        In whose pixels the square is given; the outline lies where that layer lies.
    y, x, side : float
        Corner and side, with pixel *i* covering ``[i, i + 1)``.
    """
    top, left = y - 0.5, x - 0.5
    corners = np.array([[top, left], [top, left + side], [top + side, left + side], [top + side, left]])
    placed = placement_of(layer)
    marker = next(iter(layers_of_kind(viewer, "marker")), None)
    if marker is None:
        active = viewer.layers.selection.active
        marker = viewer.add_shapes(
            ndim=2,
            name=MARKER,
            edge_color="yellow",
            face_color="transparent",
            metadata={METADATA_KEY: {"kind": "marker", "slide": slide_of(layer)}},
            **placed,
        )
        # A new layer takes the selection, and with it the status bar: give it back.
        viewer.layers.selection.active = active
    else:
        for name, value in placed.items():
            setattr(marker, name, value)
        marker.metadata[METADATA_KEY]["slide"] = slide_of(layer)
    marker.data = [corners]
    keep_outlines_visible(viewer)
    return marker


def go_to_box(viewer: Any, layer: Any, y: float, x: float, side: float) -> None:
    """Centre the view on a square (arguments as for :func:`mark_box`) and zoom until it fills a good part of it."""
    middle = (y + side / 2 - 0.5, x + side / 2 - 0.5)
    edge = (middle[0], middle[1] + side)
    factor = unit_factors(layer.units, viewer_units(viewer, layer))
    center, far = (np.asarray(layer.data_to_world(point), float)[-2:] * factor for point in (middle, edge))
    viewer.scene.camera.center = tuple(center)
    extent = float(np.linalg.norm(far - center))
    viewer.scene.camera.zoom = VIEW_SHARE * min(viewer.canvas.size) / extent
