"""A ruler: lines drawn on a slide, each with its length in µm or mm beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_wsss.plugin.view.frame import placement_of
from napari_wsss.plugin.view.slide_key import METADATA_KEY, layers_of_kind, slide_of

__all__ = ["RULER", "draw_ruler", "length_text", "lengths_um"]

RULER = "Ruler"
COLOR = "#0066ff"


def length_text(um: float) -> str:
    """Return a length for people: µm below one mm, mm above."""
    return f"{um / 1000:.2f} mm" if um >= 1000 else f"{um:.0f} µm" if um >= 10 else f"{um:.1f} µm"


def draw_ruler(viewer: Any, slide: Any) -> Any:
    """Let the user draw lines on a slide; their lengths follow while they are drawn and when the scale changes.

    Parameters
    ----------
    viewer : napari.Viewer
    slide : napari.layers.Image
        A slide whose µm per pixel is known.

    Returns
    -------
    napari.layers.Shapes
        One layer for each slide, selected, in the mode that draws lines.
    """
    rulers = layers_of_kind(viewer, "ruler")
    layer = next((known for known in rulers if slide_of(known) == slide_of(slide)), None)
    if layer is None:
        layer = viewer.add_shapes(
            ndim=2,
            name=RULER,
            edge_color=COLOR,
            face_color="transparent",
            opacity=1.0,
            features={"length": np.empty(0, object)},
            text={"string": "{length}", "color": COLOR, "size": 12, "anchor": "upper_left"},
            metadata={METADATA_KEY: {"kind": "ruler", "slide": slide_of(slide)}},
            **placement_of(slide),
        )
        # napari holds callbacks weakly: the layer keeps its own.
        labels = layer.metadata[METADATA_KEY]["labels"] = _Labels(layer)
        # Of the layer's events only this one comes while a line is being drawn.
        layer.events.set_data.connect(labels.write)
        layer.events.scale.connect(labels.write)
    layer.visible = True
    viewer.layers.selection.active = layer
    layer.mode = "add_line"
    return layer


class _Labels:
    """Writes the length of every line beside it."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def write(self, _event: Any = None) -> None:
        """Take the lengths anew."""
        layer = self._layer
        lengths = [length_text(um) for um in lengths_um(layer)]
        if list(layer.features.get("length", ())) != lengths:
            layer.features = {"length": np.array(lengths, object)}
            layer.refresh_text()


def lengths_um(layer: Any) -> list[float]:
    """Return the length of every line or path of a shapes layer whose scale is µm per pixel."""
    scale = np.asarray(layer.scale, float)[-2:]
    return [
        float(np.linalg.norm(np.diff(np.asarray(shape)[:, -2:] * scale, axis=0), axis=1).sum())
        for shape in layer.data
    ]
