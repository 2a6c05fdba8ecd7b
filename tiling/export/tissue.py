"""What counts as tissue, as a picture and as outlines that can be corrected by hand and given back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tiling.export.writing import export_file

__all__ = ["write_outlines", "write_tissue_picture"]

_OUTLINE = (0, 160, 60)


def write_outlines(path: Path, outlines: Iterable[shapely.Polygon], origin: tuple[int, int] = (0, 0)) -> int:
    """Write polygons as GeoJSON annotations; return how many.

    Parameters
    ----------
    path : Path
    outlines : iterable of shapely.Polygon
        In level-0 pixels of the whole slide.
    origin : (int, int)
        Level-0 x, y from which the file counts.

    Raises
    ------
    ExportError
        When the file cannot be written.
    """
    corner = np.array(origin)
    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(_moved(outline, corner))),
            "properties": {"objectType": "annotation", "name": "tissue"},
        }
        for outline in outlines
    ]
    with export_file(path) as file:
        file.write(json.dumps({"type": "FeatureCollection", "features": features}).encode())
    return len(features)


def write_tissue_picture(path: Path, overview: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
    """Write the overview with what is no tissue paled and the border drawn.

    Parameters
    ----------
    path : Path
    overview : (h, w, 3) uint8
    mask : (h, w) bool

    Raises
    ------
    ExportError
        When the file cannot be written.
    """
    picture = overview.copy()
    picture[~mask] = 255 - (255 - picture[~mask]) // 3
    width = max(1, max(mask.shape) // 800)
    picture[ndimage.binary_dilation(mask, iterations=width) & ~mask] = _OUTLINE
    with export_file(path) as file:
        Image.fromarray(picture).save(file, format="PNG")


def _moved(outline: shapely.Polygon, corner: NDArray[np.int64]) -> shapely.Polygon:
    return shapely.transform(outline, lambda points: np.round(points - corner, 2))
