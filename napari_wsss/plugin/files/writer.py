"""The writers that napari calls for "Save selected layers": labels as GeoJSON and as OME-Zarr."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_wsss.plugin.files.exporting import export_store
from napari_wsss.plugin.view import METADATA_KEY
from tiling.classes import ClassSchema, TissueClass
from tiling.errors import ExportError
from tiling.geometry import Box
from tiling.grid import TileGrid
from tiling.store import Store, StoreLayout, StoreWriter, create_store, open_store

__all__ = ["labels_to_store", "write_labels"]

_STRIP = 2048
# Tab10 without its grey, for labels that have no names and colours of their own.
_COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf")


def write_labels(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write one labels layer; the ending says the format (``.geojson`` or ``.zarr``).

    Parameters
    ----------
    path : str
    data : (h, w) integer array or levels of it
    meta : mapping
        The layer's attributes. A result of ours is written from its store, everything else from the pixels.

    Returns
    -------
    list of str
        The file written.

    Raises
    ------
    ExportError
        When the labels do not fit the format or the file cannot be written.
    """
    target = Path(path)
    known = meta.get("metadata", {}).get(METADATA_KEY, {})
    if known.get("kind") == "store":
        return [str(export_store(open_store(known["path"]), target))]
    if target.suffix.lower() == ".zarr":
        if target.exists():
            raise ExportError(f"{target} exists; choose another name.")
        labels_to_store(target, data, meta)
        return [path]
    from tiling.export import write_geojson

    with tempfile.TemporaryDirectory(prefix="napari-wsss-") as folder:
        write_geojson(labels_to_store(Path(folder) / f"{target.stem}.zarr", data, meta), target)
    return [path]


def labels_to_store(path: Path, data: Any, meta: Mapping[str, Any]) -> Store:
    """Write any labels layer (drawn, corrected, a truth) in the layout of a result store.

    Parameters
    ----------
    path : Path
        New ``.zarr`` folder.
    data : (h, w) integer array or levels of it, finest first
        Labels 0 to 254.
    meta : mapping
        The layer's attributes: ``scale``, ``units``, and the class schema in ``metadata`` when it has one.

    Returns
    -------
    Store
        Without a receipt, because no run has made it. Its level-0 pixels are the layer's own.
    """
    labels = data[0] if isinstance(data, list | tuple) or meta.get("multiscale") else data
    if labels.ndim != 2:
        raise ExportError(f"{path} cannot be written: the labels have {labels.ndim} axes, not 2.")
    schema = meta.get("metadata", {}).get(METADATA_KEY, {}).get("schema") or _schema_of(path, labels)
    mpp = _mpp_of(meta)
    height, width = labels.shape
    grid = TileGrid.cover(Box(0, 0, width, height), mpp, mpp, tile=224, overlap=0.0)
    name = path.name.removesuffix(".zarr")
    run = {
        "name": name,
        "schema": schema.to_dict(),
        "mpp": mpp,
        "resolution": {"mpp": mpp, "source": "napari layer"},
        "grid": {**grid.__dict__, "origin": list(grid.origin)},
        "notice": "Research use only, not for diagnosis.",
    }
    step = max(1, -(-max(height, width) // 1024))
    overview = schema.palette[np.minimum(np.asarray(labels[::step, ::step]), len(schema))]
    layout = StoreLayout(name, schema, grid, mpp, mpp)
    writer = StoreWriter(path, layout, create_store(path, layout, run, overview.shape[:2]))
    writer.write_overview(overview)
    for top in range(0, height, _STRIP):
        writer.images["labels"].append(_checked(path, np.asarray(labels[top : top + _STRIP]), len(schema)))
    return open_store(path)


def _checked(path: Path, strip: Any, largest: int) -> Any:
    if strip.size and (strip.min() < 0 or strip.max() > largest):
        raise ExportError(
            f"{path} cannot be written: label {strip.max()} is not among the {largest} classes; correct the labels."
        )
    return strip.astype(np.uint8)


def _schema_of(path: Path, labels: Any) -> ClassSchema:
    largest = max(int(np.asarray(labels[y : y + _STRIP]).max()) for y in range(0, labels.shape[0], _STRIP))
    if not 1 <= largest <= 254:
        raise ExportError(f"{path} cannot be written: the largest label is {largest}; 1 to 254 are possible.")
    return ClassSchema(
        "labels",
        tuple(
            TissueClass(f"Label {n}", f"L{n}", _COLORS[(n - 1) % len(_COLORS)]) for n in range(1, largest + 1)
        ),
    )


def _mpp_of(meta: Mapping[str, Any]) -> float:
    """Return µm per pixel, whatever units of length the layer has; 1 for a layer in pixels."""
    scale = tuple(float(s) for s in tuple(meta.get("scale", (1.0, 1.0)))[-2:])
    units = tuple(meta.get("units") or ("pixel", "pixel"))[-2:]
    across, down = (size * _micrometres(unit) for size, unit in zip(scale, units, strict=True))
    if abs(across - down) > 1e-6 * abs(across):
        raise ExportError(f"The labels have pixels of {across} × {down} µm; only square ones can be written.")
    return down


def _micrometres(unit: Any) -> float:
    """Return how many µm one of a layer's units is; a pixel counts as one."""
    import pint

    if str(unit) == "pixel":
        return 1.0
    try:
        return float(pint.Quantity(1.0, str(unit)).to("micrometer").magnitude)
    except (pint.DimensionalityError, pint.UndefinedUnitError) as error:
        raise ExportError(
            f"The labels are in {unit}, which is no unit of length; give the layer µm."
        ) from error
