"""Where pixels lie in napari's world: the one statement of the pixel-centre convention.

napari puts the *centre* of the pixel with index 0 at the layer's ``translate``; a pixel of size *s* covers
``[translate - s / 2, translate + s / 2)``. Slides and stores are described by *corners*: level-0 pixel *x* covers
``[x, x + 1)`` and label pixel *i* covers ``[origin + i * scale, origin + (i + 1) * scale)`` in level-0 pixels.
The world's origin is the centre of level-0 pixel (0, 0) of the slide, for every layer that this plugin makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Frame",
    "layer_size",
    "placement_of",
    "raster_frame",
    "slide_frame",
    "unit_factors",
    "viewer_units",
    "world_to_data",
]

_PIXEL = "pixel"
_MICROMETRE = "micrometer"


@dataclass(frozen=True)
class Frame:
    """Position of a 2-D layer in the world.

    Attributes
    ----------
    scale : (float, float)
        World units per pixel, (y, x).
    translate : (float, float)
        World position of the centre of pixel (0, 0), (y, x).
    unit : str
        ``micrometer``, or ``pixel`` for a slide whose µm per pixel is unknown.
    """

    scale: tuple[float, float]
    translate: tuple[float, float]
    unit: str

    def layer_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``viewer.add_image`` and ``add_labels`` that place a layer here."""
        return {
            "scale": self.scale,
            "translate": self.translate,
            "units": (self.unit, self.unit),
            "axis_labels": ("y", "x"),
        }


def slide_frame(mpp: float | None) -> Frame:
    """Return the frame of a slide's level 0.

    Parameters
    ----------
    mpp : float or None
        µm per level-0 pixel; None puts the slide into pixel units.
    """
    if mpp is None:
        return Frame((1.0, 1.0), (0.0, 0.0), _PIXEL)
    return Frame((mpp, mpp), (0.0, 0.0), _MICROMETRE)


def raster_frame(mpp: float | None, origin: tuple[float, float], step: float | tuple[float, float]) -> Frame:
    """Return the frame of a raster that lies on a slide: labels, overview, CAMs.

    Parameters
    ----------
    mpp : float or None
        µm per level-0 pixel of the slide, None for pixel units.
    origin : (float, float)
        Level-0 (x, y) of the raster's top-left *corner*.
    step : float or (float, float)
        Level-0 pixels per raster pixel; one number, or (x, y).

    Returns
    -------
    Frame
        With corners on corners: the centre of raster pixel 0 lies half a raster pixel inside the corner, which is
        ``(step - 1) / 2`` level-0 pixels away from the centre of the level-0 pixel there.
    """
    base = slide_frame(mpp)
    step_x, step_y = step if isinstance(step, tuple) else (step, step)
    size = base.scale[0]
    return Frame(
        (step_y * size, step_x * size),
        ((origin[1] + (step_y - 1) / 2) * size, (origin[0] + (step_x - 1) / 2) * size),
        base.unit,
    )


def matrix(frame: Frame) -> NDArray[np.float64]:
    """Return the (3, 3) matrix from pixel indices (y, x, 1) to the world."""
    return np.array(
        [
            [frame.scale[0], 0.0, frame.translate[0]],
            [0.0, frame.scale[1], frame.translate[1]],
            [0.0, 0.0, 1.0],
        ]
    )


def world_to_data(viewer: Any, layer: Any) -> Callable[[ArrayLike], NDArray[np.float64]]:
    """Return the function from world (y, x), in the viewer's units, to a layer's data (y, x).

    ``layer.world_to_data`` takes the numbers for the layer's own units; with a layer in nanometres in the same
    viewer it would be wrong by 1000.
    """
    factor = unit_factors(viewer_units(viewer, layer), layer.units)

    def convert(point: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(layer.world_to_data(tuple(np.asarray(point, float) * factor)), float)[-2:]

    return convert


def viewer_units(viewer: Any, layer: Any) -> Any:
    """Return the units of the viewer's world; the layer's own when the layers disagree in kind."""
    units = viewer.layers.extent.units
    return units if units else layer.units


def unit_factors(source: Sequence[Any], target: Sequence[Any]) -> NDArray[np.float64]:
    """Return what to multiply (y, x) in ``source`` units by to get ``target`` units."""
    pairs = zip(source[-2:], target[-2:], strict=True)
    return np.array([float((1 * a).to(b).magnitude) for a, b in pairs])


def layer_size(layer: Any) -> tuple[int, int]:
    """Return height and width of a layer's finest level."""
    data = layer.data[0] if layer.multiscale else layer.data
    return int(data.shape[0]), int(data.shape[1])


def placement_of(layer: Any) -> dict[str, Any]:
    """Return the arguments that give another layer a layer's own data coordinates."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units")
    return {name: getattr(layer, name) for name in names}
