"""Which part of a slide is meant: the whole, what the canvas shows, or what was drawn. Results are level-0 pixels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_wsss.plugin.view import layer_size, unit_factors, viewer_units, world_to_data
from tiling.errors import RegionError
from tiling.geometry import Box
from tiling.plan import Polygon, Roi

__all__ = ["bounding_box", "drawn_roi", "outlines_on", "view_box", "visible_corners"]

Point = tuple[float, float]


def bounding_box(points: Iterable[ArrayLike], width: int, height: int) -> Box:
    """Return the smallest box of whole level-0 pixels around points, cut to the slide.

    Parameters
    ----------
    points : iterable of (y, x)
        Data coordinates of the slide layer, where pixel *i* covers ``[i - 0.5, i + 0.5)``.
    width, height : int
        Size of the slide in level-0 pixels.

    Returns
    -------
    Box
        Empty when the points lie beside the slide.
    """
    # Half a pixel turns napari's centres into corners.
    corners = np.array([np.asarray(p, float)[-2:] for p in points]) + 0.5
    low = np.clip(np.floor(corners.min(0) + 1e-6), 0, (height, width)).astype(int)
    high = np.clip(np.ceil(corners.max(0) - 1e-6), 0, (height, width)).astype(int)
    return Box(int(low[1]), int(low[0]), int(high[1] - low[1]), int(high[0] - low[0]))


def visible_corners(center: Point, zoom: float, canvas: Point) -> list[Point]:
    """Return the world (y, x) of the four corners of the canvas.

    Parameters
    ----------
    center : (y, x)
        World position in the middle of the canvas.
    zoom : float
        Screen pixels per world unit.
    canvas : (height, width)
        Screen pixels.
    """
    half_y, half_x = canvas[0] / 2 / zoom, canvas[1] / 2 / zoom
    return [
        (center[0] + sy * half_y, center[1] + sx * half_x) for sy, sx in itertools.product((-1, 1), (-1, 1))
    ]


def view_box(viewer: Any, layer: Any) -> Box:
    """Return what the canvas shows of a slide layer, whatever the units of the other layers.

    Parameters
    ----------
    viewer : napari.Viewer
    layer : napari.layers.Image
        A slide; it may be rotated or moved.

    Raises
    ------
    RegionError
        When the view shows nothing of the slide.
    """
    camera = viewer.scene.camera
    corners = visible_corners(tuple(camera.center[-2:]), float(camera.zoom), tuple(viewer.canvas.size))
    to_data = world_to_data(viewer, layer)
    height, width = layer_size(layer)
    box = bounding_box([to_data(corner) for corner in corners], width, height)
    if box.is_empty:
        raise RegionError(f"The view shows nothing of {layer.name}; move the slide into view.")
    return box


def drawn_roi(viewer: Any, slide: Any, shapes: Any) -> Roi:
    """Return everything drawn in a shapes layer as polygons in level-0 pixels of a slide layer.

    Rectangles and ellipses, also turned ones, polygons and closed paths count; lines have no area.

    Raises
    ------
    RegionError
        When nothing with an area is drawn, or nothing of it lies on the slide.
    """
    outlines = outlines_on(viewer, slide, shapes)
    height, width = layer_size(slide)
    if bounding_box([vertex for outline in outlines for vertex in outline], width, height).is_empty:
        raise RegionError(f"The shapes of {shapes.name} lie beside {slide.name}; draw them on the slide.")
    # Half a pixel turns napari's centres into corners.
    return Roi(tuple(Polygon(tuple((float(x) + 0.5, float(y) + 0.5) for y, x in o)) for o in outlines))


def outlines_on(viewer: Any, slide: Any, shapes: Any) -> list[list[NDArray[np.float64]]]:
    """Return the outline of each drawn shape as (y, x) in the data of a slide layer; lines have no area.

    Raises
    ------
    RegionError
        When nothing with an area is drawn.
    """
    factor = unit_factors(shapes.units, viewer_units(viewer, shapes))
    to_data = world_to_data(viewer, slide)
    outlines = []
    for kind, shape in zip(shapes.shape_type, shapes.data, strict=True):
        vertices = _ellipse(np.asarray(shape)) if kind == "ellipse" else shape
        if kind != "line" and len(vertices) >= 3:
            outlines.append([to_data(np.asarray(shapes.data_to_world(v))[-2:] * factor) for v in vertices])
    if not outlines:
        raise RegionError(f"Nothing is drawn in {shapes.name}; draw a rectangle or a polygon on the slide.")
    return outlines


def _ellipse(corners: NDArray[np.float64], points: int = 64) -> NDArray[np.float64]:
    """Return the outline of the ellipse in a (perhaps turned) rectangle, which is how napari keeps ellipses."""
    center = corners.mean(0)
    one, other = (corners[1] - corners[0]) / 2, (corners[2] - corners[1]) / 2
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)[:, None]
    return np.asarray(center + np.cos(angles) * one + np.sin(angles) * other)
