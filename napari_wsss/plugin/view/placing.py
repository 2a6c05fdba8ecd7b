"""Layers that belong to one slide, moved, shown and fitted into the view together."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_wsss.plugin.view.frame import (
    layer_size,
    raster_frame,
    slide_frame,
    unit_factors,
    viewer_units,
    world_to_data,
)
from napari_wsss.plugin.view.slide_key import METADATA_KEY, SlideKey, slide_of

__all__ = [
    "fit",
    "follow",
    "follow_steps",
    "hide",
    "layers_of",
    "rescale",
    "share_unit",
    "show_only",
    "show_scale_bar",
]

_MARGIN = 0.95
_HIDDEN_WITH_SLIDE = "hidden_with_slide"


def layers_of(viewer: Any, slide: SlideKey) -> list[Any]:
    """Return all layers that show a slide or lie on it."""
    return [layer for layer in viewer.layers if slide_of(layer) == slide]


def show_only(viewer: Any, slide: SlideKey) -> None:
    """Show one slide with what lies on it, and hide the other slides with theirs.

    What the user had hidden stays hidden; what was hidden here comes back with its slide.
    """
    _agree_on_units(viewer, slide)
    for layer in viewer.layers:
        known = layer.metadata.get(METADATA_KEY, {})
        if slide_of(layer) is None:
            continue
        if slide_of(layer) == slide:
            if known.pop(_HIDDEN_WITH_SLIDE, False):
                layer.visible = True
        elif layer.visible:
            layer.visible, known[_HIDDEN_WITH_SLIDE] = False, True


def hide(layer: Any) -> None:
    """Hide a layer for itself: it does not come back with its slide."""
    layer.visible = False
    layer.metadata.get(METADATA_KEY, {}).pop(_HIDDEN_WITH_SLIDE, None)


def _agree_on_units(viewer: Any, slide: SlideKey) -> None:
    """Let all layers of the plugin be in the unit of the slide that is seen: napari draws no scale bar where units mix.

    What is hidden keeps its numbers, and has its own unit again when it is seen.
    """
    for layer in layers_of(viewer, slide):
        known = layer.metadata[METADATA_KEY]
        if known.get("kind") == "slide":
            typed = known.get("typed_mpp")
            share_unit(viewer, slide_frame(known["mpp"] if typed is None else typed).unit)


def share_unit(viewer: Any, unit: str) -> None:
    """Let all layers of the plugin be in a unit; their numbers stay."""
    for layer in viewer.layers:
        if slide_of(layer) is not None and {str(one) for one in layer.units} != {unit}:
            layer.units = (unit,) * layer.ndim


def fit(viewer: Any, layer: Any) -> None:
    """Let a layer fill the canvas."""
    height, width = layer_size(layer)
    corners = [(-0.5, -0.5), (-0.5, width - 0.5), (height - 0.5, -0.5), (height - 0.5, width - 0.5)]
    factor = unit_factors(layer.units, viewer_units(viewer, layer))
    world = np.array([np.asarray(layer.data_to_world(c), float)[-2:] * factor for c in corners])
    low, high = world.min(0), world.max(0)
    viewer.scene.camera.center = tuple((low + high) / 2)
    viewer.scene.camera.zoom = _MARGIN * float(
        (np.array(viewer.canvas.size) / np.maximum(high - low, 1e-9)).min()
    )


def show_scale_bar(viewer: Any) -> None:
    """Show napari's scale bar, in the units of the slide."""
    viewer.canvas.overlays.scale_bar.visible = True


def rescale(viewer: Any, slide: Any, mpp: float | None) -> None:
    """Show a slide layer at other µm per pixel; what lies on it moves along, and the view stays where it was.

    Parameters
    ----------
    viewer : napari.Viewer
    slide : napari.layers.Image
        Layer whose data coordinates are level-0 pixels.
    mpp : float or None
        µm per level-0 pixel; None shows it in pixels.
    """
    frame = slide_frame(mpp)
    ratio = frame.scale[0] / float(slide.scale[-1])
    camera = viewer.scene.camera
    looked_at = world_to_data(viewer, slide)(camera.center[-2:])
    zoom = float(camera.zoom)
    before, anchor = viewer_units(viewer, slide), np.asarray(slide.translate)[-2:]
    key = slide_of(slide)
    slide.units = (frame.unit,) * slide.ndim
    share_unit(viewer, frame.unit)
    for layer in [slide] if key is None else layers_of(viewer, key):
        offset = np.asarray(layer.translate)[-2:] - anchor
        layer.scale = np.asarray(layer.scale)[-2:] * ratio
        layer.translate = anchor + offset * ratio
    after = viewer_units(viewer, slide)
    factor = unit_factors(slide.units, after)
    camera.center = tuple(np.asarray(slide.data_to_world(tuple(looked_at)), float)[-2:] * factor)
    if [str(unit) for unit in before] == [str(unit) for unit in after]:
        camera.zoom = zoom / ratio
    else:
        fit(viewer, slide)


def follow(slide: Any, origin: tuple[float, float], step: float) -> dict[str, Any]:
    """Return the layer arguments that put a raster on a slide layer, wherever the user has moved or turned that.

    Parameters
    ----------
    slide : napari.layers.Image
        Layer whose data coordinates are level-0 pixels.
    origin : (float, float)
        Level-0 (x, y) of the raster's top-left corner.
    step : float
        Level-0 pixels per raster pixel.
    """
    return follow_steps(slide, origin, (step, step))


def follow_steps(slide: Any, origin: tuple[float, float], step: tuple[float, float]) -> dict[str, Any]:
    """Do the same as :func:`follow` for a raster with its own steps in x and y."""
    # In the slide's data coordinates (units of level-0 pixels) the raster is only scaled and shifted …
    offset = np.array(raster_frame(None, origin, step).translate)
    # … so scaling the slide's own scale and sending the offset through its transform keeps rotation and shear.
    zero = _through(slide, (0.0, 0.0))
    shifted = _through(slide, tuple(offset))
    return {
        "scale": np.asarray(slide.scale)[-2:] * np.array(step[::-1]),
        "translate": np.asarray(slide.translate)[-2:] + shifted - zero,
        "rotate": slide.rotate,
        "shear": slide.shear,
        "affine": slide.affine,
        "units": slide.units[-2:],
    }


def _through(layer: Any, point: tuple[float, float]) -> Any:
    """Send a data point through a layer's scale, rotation and shear (not its extra affine)."""
    affine = np.asarray(layer.affine.affine_matrix)[-3:, -3:]
    world = np.asarray(layer.data_to_world(point), float)[-2:]
    return (np.linalg.inv(affine) @ [*world, 1.0])[:2]
