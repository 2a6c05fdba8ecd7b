"""Regions as GeoJSON that QuPath reads: one annotation per region, in the slide's own pixels."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.checks import number, one_of
from tiling.export.writing import export_file
from tiling.polygons import label_regions
from tiling.store import Store

__all__ = ["Frame", "features", "write_geojson"]

Frame = Literal["qupath", "openslide"]
"""Where (0, 0) is: the corner of the scanned area (OpenSlide's bounds), as QuPath counts, or of the whole slide."""

_DECIMALS = 2


def write_geojson(
    store: Store,
    path: Path,
    *,
    frame: Frame = "qupath",
    min_area_um2: float = 0.0,
    simplify_um: float = 0.0,
) -> int:
    """Write the regions of a store as a GeoJSON FeatureCollection.

    Parameters
    ----------
    store : Store
    path : Path
        The file to write; compressed when it ends in ``.gz``. Written as a stream and complete or not there.
    frame : {"qupath", "openslide"}
        Origin of the coordinates, which are level-0 pixels.
    min_area_um2 : float
        Smaller regions are left out and smaller holes are filled, in µm².
    simplify_um : float
        Corners of boundaries that stick out less than about this many µm are cut; neighbours keep common edges.

    Returns
    -------
    int
        Number of regions written.

    Raises
    ------
    ExportError
        When the file cannot be written.
    """
    head = {
        "slide": store.name,
        "frame": frame,
        "level0_origin": list(_origin(store, frame)),
        "mpp": store.slide_mpp,
        "notice": "Research use only, not for diagnosis.",
    }
    count = 0
    with export_file(path) as raw, ExitStack() as stack:
        file: IO[bytes] = raw
        if path.suffix == ".gz":
            zipped = gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0)
            file = cast("IO[bytes]", stack.enter_context(zipped))
        file.write(b'{"type": "FeatureCollection", "napari_wsss": %s, "features": [' % _json(head))
        for feature in features(store, frame=frame, min_area_um2=min_area_um2, simplify_um=simplify_um):
            file.write((b",\n" if count else b"\n") + _json(feature))
            count += 1
        file.write(b"\n]}\n")
    return count


def features(
    store: Store, *, frame: Frame = "qupath", min_area_um2: float = 0.0, simplify_um: float = 0.0
) -> Iterator[dict[str, Any]]:
    """Yield one GeoJSON feature per region; arguments as for :func:`write_geojson`."""
    least_um2, within_um = number("min_area_um2", min_area_um2, 0), number("simplify_um", simplify_um, 0)
    pixel_um2 = store.mpp**2
    origin = _origin(store, frame)
    names = uuid.uuid5(uuid.NAMESPACE_URL, f"napari-wsss/{_identity(store)}")
    labels = cast("Any", store.labels()[0])
    for region in label_regions(labels, tolerance=within_um / store.mpp):
        polygon = _without_small_holes(region.polygon, least_um2 / pixel_um2)
        if polygon.area * pixel_um2 < least_um2:
            continue
        tissue = store.schema.classes[region.label - 1]
        yield {
            "type": "Feature",
            "id": str(uuid.uuid5(names, "/".join(map(str, (region.label, *region.first))))),
            "geometry": _geometry(polygon, store.scale, origin),
            "properties": {
                "objectType": "annotation",
                "classification": {"name": tissue.name, "color": list(tissue.rgb)},
                "isLocked": True,
                "measurements": {
                    "Area µm^2": round(polygon.area * pixel_um2, 3),
                    "Perimeter µm": round(polygon.length * store.mpp, 3),
                },
            },
        }


def _origin(store: Store, frame: Frame) -> tuple[int, int]:
    """Return what label pixel (0, 0) has as level-0 coordinates in a frame: the canvas begins at the bounds."""
    one_of("frame", frame, get_args(Frame))
    return (0, 0) if frame == "qupath" else store.origin


def _identity(store: Store) -> str:
    """Return what tells results apart: the same labels get the same ids, two models on one slide never do."""
    receipt = store.receipt
    return store.name if receipt is None else str(receipt["content_digest"])


def _without_small_holes(polygon: shapely.Polygon, min_area: float) -> shapely.Polygon:
    if min_area <= 0 or not polygon.interiors:
        return polygon
    holes = [ring for ring in polygon.interiors if shapely.Polygon(ring).area >= min_area]
    return shapely.Polygon(polygon.exterior, holes)


def _geometry(polygon: shapely.Polygon, scale: float, origin: tuple[int, int]) -> dict[str, Any]:
    """Return a GeoJSON polygon: closed rings, the outline one way round and the holes the other."""
    turned: Any = shapely.orient_polygons(polygon)
    rings = (turned.exterior, *turned.interiors)
    return {"type": "Polygon", "coordinates": [_ring(ring, scale, origin) for ring in rings]}


def _ring(ring: shapely.LinearRing, scale: float, origin: tuple[int, int]) -> list[list[float]]:
    points: NDArray[np.float64] = shapely.get_coordinates(ring)
    return cast("list[list[float]]", np.round(points * scale + origin, _DECIMALS).tolist())


def _json(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode()
