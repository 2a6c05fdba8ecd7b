"""A result as an object of other Python libraries: a GeoDataFrame of its regions, an element of SpatialData."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from shapely.geometry import shape

from tiling.errors import ExportError
from tiling.export.geojson import Frame, features
from tiling.store import Store

__all__ = ["as_spatialdata", "region_frame"]


def region_frame(
    store: Store, *, frame: Frame = "openslide", min_area_um2: float = 0.0, simplify_um: float = 0.0
) -> Any:
    """Return the regions of a store as a ``geopandas.GeoDataFrame``.

    Parameters
    ----------
    store : Store
    frame : {"openslide", "qupath"}
        Origin of the coordinates, which are level-0 pixels: the corner of the whole slide, as ``Slide.read`` counts,
        or that of the scanned area.
    min_area_um2, simplify_um : float
        As for :func:`tiling.export.write_geojson`.

    Returns
    -------
    geopandas.GeoDataFrame
        A line per region: ``class_name`` (str), ``color`` (``#rrggbb``), ``area_um2``, ``perimeter_um`` (float) and
        ``geometry``. It has no coordinate reference system, since pixels of a slide are nowhere on earth.

    Raises
    ------
    ExportError
        When geopandas is not installed.
    """
    geopandas = _needed("geopandas", "the regions of a result as a table", "geopandas")
    colours = {tissue.name: tissue.color for tissue in store.schema.classes}
    found = list(features(store, frame=frame, min_area_um2=min_area_um2, simplify_um=simplify_um))
    about = [feature["properties"] for feature in found]
    names = [properties["classification"]["name"] for properties in about]
    table = {
        "class_name": names,
        "color": [colours[name] for name in names],
        "area_um2": [properties["measurements"]["Area µm^2"] for properties in about],
        "perimeter_um": [properties["measurements"]["Perimeter µm"] for properties in about],
    }
    return geopandas.GeoDataFrame(table, geometry=[shape(feature["geometry"]) for feature in found])


def as_spatialdata(store: Store) -> Any:
    """Return a store as ``spatialdata.SpatialData`` in µm; arrays stay on disk until they are used.

    Returns
    -------
    spatialdata.SpatialData
        ``labels["tissue"]``, (y, x) uint8 store labels; ``images["overview"]``, (c, y, x) uint8;
        ``tables["classes"]``, a line per class with its name, colour and area in mm², whose ``label`` is its value in
        the labels. The coordinate system ``global`` is in µm from the corner of the slide.

    Raises
    ------
    ExportError
        When spatialdata is not installed, or the store is not complete.
    """
    spatialdata = _needed("spatialdata", "a result as SpatialData", "spatialdata")
    import anndata
    import pandas as pd
    from dask import array as da
    from spatialdata.models import Image2DModel, Labels2DModel, TableModel
    from spatialdata.transformations import Affine

    from tiling.export.amounts import amounts

    def micrometres(steps: tuple[float, float], centre: tuple[float, float]) -> dict[str, Any]:
        # In the store the centre of a pixel lies at its place, in SpatialData its corner: hence the half pixel. Level-0
        # pixels differ in the same way, so that the corner of the slide comes to (0, 0).
        down, across = (
            place - step / 2 + store.slide_mpp / 2 for place, step in zip(centre, steps, strict=True)
        )
        matrix = [[steps[1], 0, across], [0, steps[0], down], [0, 0, 1]]
        return {"global": Affine(matrix, ("x", "y"), ("x", "y"))}

    found = amounts(store)
    classes = pd.DataFrame(
        {
            "class_name": [amount.tissue.name for amount in found],
            "color": [amount.tissue.color for amount in found],
            "area_mm2": [amount.area_mm2 for amount in found],
            "region": pd.Categorical(["tissue"] * len(found)),
            "label": np.arange(1, len(found) + 1),
        },
        index=[amount.tissue.abbreviation for amount in found],
    )
    steps, centre = _overview_place(store)
    return spatialdata.SpatialData(
        images={
            "overview": Image2DModel.parse(
                da.from_zarr(store.overview[0]),
                dims=("c", "y", "x"),
                c_coords=["r", "g", "b"],
                transformations=micrometres(steps, centre),
            )
        },
        labels={
            "tissue": Labels2DModel.parse(
                da.from_zarr(store.labels()[0]),
                dims=("y", "x"),
                transformations=micrometres((store.mpp, store.mpp), store.translation),
            )
        },
        tables={
            "classes": TableModel.parse(
                anndata.AnnData(obs=classes), region="tissue", region_key="region", instance_key="label"
            )
        },
    )


def _overview_place(store: Store) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the µm per pixel (y, x) of the finest overview, and the place of the centre of its first pixel."""
    ome: Any = store.root.attrs["ome"]
    scale, translation = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    return tuple(scale["scale"][1:]), tuple(translation["translation"][1:])


def _needed(module: str, what: str, extra: str) -> Any:
    """Import what an extra brings.

    Raises
    ------
    ExportError
        When it is not there.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExportError(
            f"{what[0].upper()}{what[1:]} needs the package {error.name or module}; install it with: "
            f"pip install 'napari-wsss[{extra}]'."
        ) from error
