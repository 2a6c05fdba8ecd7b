"""The annotated areas of one slide, with a class each: what training patches are cut from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.annotations.match import match_classes
from tiling.annotations.model import Place
from tiling.annotations.raster import PolygonRaster
from tiling.annotations.read import read_annotation_file
from tiling.classes import ClassSchema
from tiling.errors import AnnotationError

__all__ = ["ClassAreas", "read_class_areas"]


class ClassAreas:
    """Areas with store labels; where they overlap the smaller one counts, as if it had been painted on the larger.

    Parameters
    ----------
    areas : sequence of (int, shapely geometry)
        Store label (class index + 1) and valid polygon or multipolygon in level-0 pixels.
    notes : sequence of str
        What people should know of how they were read.
    """

    def __init__(self, areas: Sequence[tuple[int, shapely.Geometry]], notes: Sequence[str] = ()) -> None:
        parts = [(label, part) for label, area in areas for part in shapely.get_parts(area).tolist()]
        ordered = sorted(parts, key=lambda part: -part[1].area)
        self._labels = [label for label, _ in ordered]
        self._polygons = [polygon for _, polygon in ordered]
        self._tree = shapely.STRtree(self._polygons)
        self._rasters: dict[int, PolygonRaster] = {}
        self.notes = tuple(notes)

    def __len__(self) -> int:
        return len(self._polygons)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of all areas in level-0 pixels."""
        left, top, right, bottom = shapely.total_bounds(np.array(self._polygons)).tolist()
        return left, top, right, bottom

    def touches(self, x: float, y: float, side: float) -> bool:
        """Whether any area may reach into a square at level-0 (x, y)."""
        return bool(len(self._tree.query(shapely.box(x, y, x + side, y + side))))

    def labels(self, x: float, y: float, scale: float, size: int) -> NDArray[np.uint8]:
        """Draw a square.

        Parameters
        ----------
        x, y : float
            Its corner in level-0 pixels.
        scale : float
            Level-0 pixels per pixel drawn.
        size : int
            Side in pixels drawn.

        Returns
        -------
        (size, size) uint8
            Store labels of the pixels whose centre lies inside; 0 where nothing is annotated.
        """
        side = size * scale
        square = shapely.box(x, y, x + side, y + side)
        result = np.zeros((size, size), np.uint8)
        for index in sorted(self._tree.query(square).tolist()):
            raster = self._rasters[index] = self._rasters.get(index) or PolygonRaster([self._polygons[index]])
            result[raster.draw(x, y, scale, scale, size, size)] = self._labels[index]
        return result


def read_class_areas(
    path: Path,
    schema: ClassSchema,
    place: Place,
    match: Mapping[str, str] | None = None,
    skip_unknown: bool = False,
) -> ClassAreas:
    """Read the areas that mean a class of a schema from any annotation file.

    Parameters
    ----------
    path : Path
    schema : ClassSchema
    place : Place
        Where the slide's pixels lie.
    match : mapping of str to str, optional
        What names mean; see :func:`tiling.annotations.match.match_classes`.
    skip_unknown : bool
        Leave out annotations that mean no class instead of refusing them.

    Raises
    ------
    AnnotationError
        When the file cannot be read, names unknown classes or holds no annotation of the schema.
    """
    file = read_annotation_file(path, place)
    matched = match_classes(file, schema, match)
    unknown = matched.unmatched_sentence()
    if unknown and not skip_unknown:
        raise AnnotationError(
            f"{path} has annotations of {unknown}, which schema {schema.name!r} does not know "
            f"({', '.join(schema.names)}); say what they mean (--match 'NAME=CLASS,…') or pass --skip-unknown."
        )
    if not matched.areas:
        left_out = f" {file.left_out[0]}" if file.left_out else ""
        raise AnnotationError(f"{path} holds no annotation of {', '.join(schema.names)}.{left_out}")
    notes = [*file.left_out, *([f"Not taken, because they mean no class: {unknown}."] if unknown else [])]
    return ClassAreas([(label, annotation.polygon) for label, annotation in matched.areas], notes)
