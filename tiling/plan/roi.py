"""Regions of interest: polygons that confine a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.annotations import Place, PolygonRaster, named_by_schema, polygons_of, read_annotation_file
from tiling.classes import ClassSchema
from tiling.errors import AnnotationError, RegionError
from tiling.grid import TileGrid

__all__ = ["Polygon", "Roi", "read_roi"]

Ring = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Polygon:
    """One polygon in level-0 pixels.

    Attributes
    ----------
    exterior : tuple of (x, y)
    holes : tuple of rings
    """

    exterior: Ring
    holes: tuple[Ring, ...] = ()

    def __post_init__(self) -> None:
        for ring in (self.exterior, *self.holes):
            if len(ring) < 3:
                raise RegionError(f"A polygon needs at least three corners; one has {len(ring)}.")
            if not np.isfinite(ring).all():
                raise RegionError("A polygon has a corner that is no number; draw it again.")


@dataclass(frozen=True)
class Roi:
    """Polygons to which a run is confined; where they overlap they count once.

    Attributes
    ----------
    polygons : tuple of Polygon
    notes : tuple of str
        What people should know of how they were read.
    """

    polygons: tuple[Polygon, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.polygons:
            raise RegionError("The region of interest holds no polygon; draw at least one.")

    def identity(self) -> dict[str, Any]:
        """Return a short JSON-ready fingerprint for the receipt."""
        text = json.dumps([[p.exterior, p.holes] for p in self.polygons])
        return {"polygons": len(self.polygons), "sha256": hashlib.sha256(text.encode()).hexdigest()}

    def lines(self, grid: TileGrid, first: int, last: int) -> NDArray[np.bool_]:
        """Rasterise canvas lines first … last.

        Returns
        -------
        (last - first, grid.width) bool
            Pixels whose centre lies inside.
        """
        return self._raster.draw(*grid.origin, grid.scale, grid.scale, grid.width, last - first, first)

    def inside(self, grid: TileGrid, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Rasterise the whole canvas at (h, w): pixels whose centre lies inside."""
        height, width = shape
        step_x, step_y = grid.scale * grid.width / width, grid.scale * grid.height / height
        return self._raster.draw(*grid.origin, step_x, step_y, width, height)

    def coarse(self, grid: TileGrid, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Rasterise the whole canvas at a coarse (h, w), a little too large rather than too small."""
        height, width = shape
        step_x, step_y = grid.scale * grid.width / width, grid.scale * grid.height / height
        return self._raster.touched(*grid.origin, step_x, step_y, width, height)

    @cached_property
    def _raster(self) -> PolygonRaster:
        """The polygons, mended, their edges sorted once for all rows of a run."""
        shapes = [shapely.Polygon(polygon.exterior, polygon.holes) for polygon in self.polygons]
        return PolygonRaster([area for shape in shapes if (area := polygons_of(shape)) is not None])


def read_roi(
    path: Path, place: Place, schema: ClassSchema | None = None, match: Mapping[str, str] | None = None
) -> Roi:
    """Read the polygons of any annotation file, whatever their class; QuPath's ``Ignore*`` is left out.

    Parameters
    ----------
    path : Path
    place : Place
        Where the slide's pixels lie.
    schema, match : ClassSchema, mapping of str to str, optional
        With both, only annotations that mean a class (:func:`tiling.annotations.match_classes`); the notes count the
        others.

    Raises
    ------
    RegionError
        When the file cannot be read or holds no polygon.
    """
    try:
        file = read_annotation_file(path, place)
        if schema is not None and match:
            file = named_by_schema(file, schema, match, keep_others=False)
    except AnnotationError as error:
        raise RegionError(str(error)) from error
    polygons = [
        Polygon(_ring(part.exterior), tuple(_ring(hole) for hole in part.interiors))
        for annotation in file.annotations
        if annotation.class_name.casefold() != "ignore*"
        for part in shapely.get_parts(annotation.polygon).tolist()
    ]
    if not polygons:
        left_out = f" {file.left_out[-1]}" if file.left_out else ""
        raise RegionError(f"{path} holds no polygon; draw a closed region and export it again.{left_out}")
    return Roi(tuple(polygons), file.left_out)


def _ring(ring: Any) -> Ring:
    return tuple(map(tuple, shapely.get_coordinates(ring)[:-1].tolist()))
