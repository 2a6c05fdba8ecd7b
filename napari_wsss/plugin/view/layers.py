"""What slides and result stores look like as napari layers: data, placement, colours, names on hover.

Everything here returns plain ``(data, arguments, type)`` tuples, so it works without a viewer.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.common import in_plain_words
from napari_wsss.plugin.view.colors import cam_colormap, class_features, label_colormap
from napari_wsss.plugin.view.frame import raster_frame, slide_frame
from napari_wsss.plugin.view.pyramid import COARSEST_MAX, resident, slide_pyramid
from napari_wsss.plugin.view.slide_key import METADATA_KEY, SlideKey
from tiling.classes import ClassSchema
from tiling.slides import Slide

if TYPE_CHECKING:
    from tiling.store import Store

__all__ = [
    "METADATA_KEY",
    "LayerData",
    "doubt_layer",
    "doubt_place",
    "label_pyramid",
    "labels_layer",
    "overview_layer",
    "slide_layer",
    "store_layers",
]

LayerData = tuple[Any, dict[str, Any], str]

LABEL_OPACITY = 0.45


def slide_layer(slide: Slide) -> LayerData:
    """Return a slide as one multiscale RGB layer in µm (in pixels when its µm per pixel are unknown).

    Parameters
    ----------
    slide : Slide
        Open slide; kept open as long as the layer's data live.

    Returns
    -------
    LayerData
        Data coordinates are level-0 pixels (y, x). Label and macro images are never shown: they hold names.

    Warns
    -----
    UserWarning
        When the slide does not say its µm per pixel, or says something about how its pixels were understood.
    """
    if slide.mpp is None:
        warnings.warn(f"{in_plain_words(slide.resolution_problem)} It is shown in pixels.", stacklevel=2)
    for message in slide.warnings:
        warnings.warn(message, stacklevel=2)
    arguments = {
        "name": slide.path.name,
        "multiscale": True,
        "rgb": True,
        "contrast_limits": (0, 255),
        "metadata": {
            METADATA_KEY: {
                "kind": "slide",
                "slide": SlideKey.from_identity(slide.identity),
                "path": str(slide.path),
                "mpp": slide.mpp,
                "mpp_source": None if slide.resolution is None else slide.resolution.source,
                "bounds": slide.bounds,
            }
        },
        **slide_frame(slide.mpp).layer_arguments(),
    }
    levels = slide_pyramid(slide)
    if len(levels) == 1:  # napari's multiscale layers want two
        return levels[0], {**arguments, "multiscale": False}, "image"
    return levels, arguments, "image"


def store_layers(
    store: Store, *, backdrop: bool = True, schema: ClassSchema | None = None
) -> list[LayerData]:
    """Return a result store as layers: its overview as a backdrop, and the tissue classes on it.

    Parameters
    ----------
    store : Store
        Complete or still growing.
    backdrop : bool
        Whether the overview is visible (it is not needed when the slide itself is open).
    schema : ClassSchema, optional
        Other names and colours than the store's own.

    Returns
    -------
    list of LayerData
        The overview image and the labels.
    """
    return [
        overview_layer(store, visible=backdrop),
        labels_layer(store, label_pyramid(store.labels()), "tissue", schema),
    ]


def store_slide(store: Store) -> SlideKey:
    """Return the slide from which a store was made."""
    return SlideKey.from_identity(store.run.get("slide") or {})


def overview_layer(store: Store, *, visible: bool = True) -> LayerData:
    """Return the store's picture of the slide as an RGB layer of at most 2048 px a side."""
    overview = overview_image(store)
    height, width = overview.shape[:2]
    step = store.grid.width * store.scale / width, store.grid.height * store.scale / height
    arguments = {
        "name": f"{store.name} overview",
        "rgb": True,
        "visible": visible,
        "metadata": {
            METADATA_KEY: {"kind": "overview", "path": str(store.path), "slide": store_slide(store)}
        },
        **raster_frame(store.slide_mpp, store.origin, step).layer_arguments(),
    }
    return overview, arguments, "image"


def labels_layer(
    store: Store, levels: list[Any], name: str = "tissue", schema: ClassSchema | None = None
) -> LayerData:
    """Return label levels of a store (those on disk, or those of a running job) as a labels layer."""
    schema = schema or store.schema
    arguments = {
        "name": f"{store.name} {name}",
        "multiscale": True,
        "opacity": LABEL_OPACITY,
        "colormap": label_colormap(schema),
        "features": class_features(schema),
        "metadata": {
            METADATA_KEY: {
                "kind": "store",
                "path": str(store.path),
                "labels": name,
                "schema": schema,
                "slide": store_slide(store),
            }
        },
        **raster_frame(store.slide_mpp, store.origin, store.scale).layer_arguments(),
    }
    return levels, arguments, "labels"


def cam_layers(store: Store) -> list[LayerData]:
    """Return the stage-1 CAMs of a store: one hidden layer per class, clear where stage 1 saw nothing of it."""
    layers: list[LayerData] = []
    frame = raster_frame(store.slide_mpp, store.origin, store.scale * store.cam_factor)
    images = store.class_images("cams")
    for tissue in store.schema.classes if images else ():
        arguments = {
            "name": f"{store.name} CAM {tissue.abbreviation}",
            "multiscale": True,
            "rgb": False,
            "visible": False,
            "colormap": cam_colormap(tissue),
            "contrast_limits": (0, 255),
            "blending": "translucent",
            "metadata": {
                METADATA_KEY: {
                    "kind": "cam",
                    "path": str(store.path),
                    "class": tissue.name,
                    "slide": store_slide(store),
                }
            },
            **frame.layer_arguments(),
        }
        layers.append((label_pyramid(images[tissue.name]), arguments, "image"))
    return layers


def doubt_place(store: Store) -> tuple[tuple[float, float], float]:
    """Return where the raster of :func:`doubt_layer` lies: its corner in level-0 (x, y), and level-0 pixels a pixel."""
    grid = store.grid
    # A pixel is as wide as the distance between tiles and stands for the middle of its tile.
    inset = (grid.tile - grid.stride) / 2 * store.scale
    return (store.origin[0] + inset, store.origin[1] + inset), grid.stride * store.scale


def doubt_layer(store: Store) -> LayerData:
    """Return how unsure stage 2 is in each tile (1 less its mean confidence) as a translucent layer, clear on glass."""
    from napari.utils.colormaps import Colormap

    from tiling.store import FLAG_PREDICTED

    tiles, grid = store.tiles(), store.grid
    shape = grid.rows, grid.columns
    doubt = (
        np.where(tiles["flags"] & FLAG_PREDICTED, 1 - tiles["confidence"], 0)
        .reshape(shape)
        .astype(np.float32)
    )
    ramp = [[0.9, 0.1, 0.6, 0.0], [0.9, 0.1, 0.6, 0.85]]
    arguments = {
        "name": f"{store.name} uncertainty",
        "colormap": Colormap(ramp, name="uncertainty"),
        "contrast_limits": (0.0, max(0.05, float(doubt.max()))),
        "blending": "translucent",
        "interpolation2d": "nearest",
        "metadata": {METADATA_KEY: {"kind": "doubt", "path": str(store.path), "slide": store_slide(store)}},
        **raster_frame(store.slide_mpp, *doubt_place(store)).layer_arguments(),
    }
    return doubt, arguments, "image"


def label_pyramid(levels: Sequence[Any], coarsest_max: int = COARSEST_MAX) -> list[Any]:
    """Return label levels for napari: arrays of the store, and one small array in memory at the end.

    napari shows changes of the coarsest level only when that is an array in memory that was changed in place; the
    result of a run therefore grows there as well (see :mod:`napari_wsss.plugin.segment.live`).

    Parameters
    ----------
    levels : sequence of (h, w) integer arrays
        Finest first.
    coarsest_max : int
        Longest side of the last level in pixels.

    Returns
    -------
    list of arrays
        Finest first; the last is an ``ndarray`` of at most ``coarsest_max`` pixels a side whose values all come from
        the levels given (every k-th pixel, never a mixture).
    """
    return [*levels_on_disk(levels, coarsest_max), coarsest_level(levels, coarsest_max)[0]]


def levels_on_disk(levels: Sequence[Any], coarsest_max: int = COARSEST_MAX) -> list[Any]:
    """Return the levels that napari reads from disk, in its own thread: the finest, and all too large for memory.

    The finest is always among them, so that a result layer is multiscale whatever its size: a layer cannot change
    its kind when the same slide is run again with another model.
    """
    from tiling.store import read_here  # with zarr, which a slide alone does not need

    large = [level for level in levels[1:] if max(level.shape) > coarsest_max]
    return [read_here(level) for level in (levels[0], *large)]


def coarsest_level(levels: Sequence[Any], coarsest_max: int = COARSEST_MAX) -> tuple[NDArray[Any], int]:
    """Return the level to hold in memory and how many finest pixels one of its pixels stands for.

    Parameters
    ----------
    levels : sequence of (h, w) integer arrays
        Finest first, each half of the one before.
    coarsest_max : int
        Longest side in pixels.
    """
    from tiling.store import read_here

    for index, level in enumerate(levels[1:], start=1):
        if max(level.shape) <= coarsest_max:
            return resident(np.array(read_here(level))), 2**index
    step = max(2, -(-max(levels[-1].shape) // coarsest_max))
    return resident(every_kth(read_here(levels[-1]), step)), step * 2 ** (len(levels) - 1)


def every_kth(level: Any, step: int) -> NDArray[Any]:
    """Return every ``step``-th pixel of an array on disk, reading it in strips that fit into memory."""
    height, width = level.shape
    out = np.empty((-(-height // step), -(-width // step)), level.dtype)
    strip = step * max(1, 4096 // step)
    for top in range(0, height, strip):
        rows = np.asarray(level[top : top + strip])
        out[top // step : top // step + -(-rows.shape[0] // step)] = rows[::step, ::step]
    return out


def overview_image(store: Store) -> NDArray[np.uint8]:
    """Return the store's overview as (h, w, 3) uint8 in memory."""
    levels = store.overview
    level = next((level for level in levels if max(level.shape[1:]) <= COARSEST_MAX), levels[-1])
    return np.ascontiguousarray(np.moveaxis(np.asarray(level), 0, -1))
