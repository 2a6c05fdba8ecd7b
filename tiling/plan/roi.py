"""Regions of interest: polygons from GeoJSON that confine a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tiling.errors import RegionError
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


@dataclass(frozen=True)
class Roi:
    """Polygons to which a run is confined; where they overlap they count once.

    Attributes
    ----------
    polygons : tuple of Polygon
    """

    polygons: tuple[Polygon, ...]

    def __post_init__(self) -> None:
        if not self.polygons:
            raise RegionError("The region of interest holds no polygon; draw at least one.")

    def identity(self) -> dict[str, Any]:
        """Return a short JSON-ready fingerprint for the receipt."""
        text = json.dumps([[p.exterior, p.holes] for p in self.polygons])
        return {"polygons": len(self.polygons), "sha256": hashlib.sha256(text.encode()).hexdigest()}

    def shifted(self, dx: float, dy: float) -> Roi:
        """Return the same polygons moved by level-0 pixels."""

        def move(ring: Ring) -> Ring:
            return tuple((x + dx, y + dy) for x, y in ring)

        return Roi(tuple(Polygon(move(p.exterior), tuple(map(move, p.holes))) for p in self.polygons))

    def lines(self, grid: TileGrid, first: int, last: int) -> NDArray[np.bool_]:
        """Rasterise canvas lines first … last.

        Returns
        -------
        (last - first, grid.width) bool
            Pixels whose centre lies inside.
        """
        return self._raster(grid, (grid.width, last - first), 1.0, 1.0, first)

    def coarse(self, grid: TileGrid, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Rasterise the whole canvas at a coarse (h, w), a little too large rather than too small."""
        height, width = shape
        inside = self._raster(
            grid, (width, height), grid.width / width, grid.height / height, 0, outline=True
        )
        grown = inside.copy()
        grown[1:] |= inside[:-1]
        grown[:-1] |= inside[1:]
        inside = grown.copy()
        grown[:, 1:] |= inside[:, :-1]
        grown[:, :-1] |= inside[:, 1:]
        return grown

    def _raster(
        self,
        grid: TileGrid,
        size: tuple[int, int],
        step_x: float,
        step_y: float,
        first: int,
        outline: bool = False,
    ) -> NDArray[np.bool_]:
        """Draw with Pillow, whose pixel centres are whole numbers: hence the half pixel."""

        def place(ring: Ring) -> list[tuple[float, float]]:
            return [
                (
                    (x - grid.origin[0]) / grid.scale / step_x - 0.5,
                    ((y - grid.origin[1]) / grid.scale - first) / step_y - 0.5,
                )
                for x, y in ring
            ]

        total = np.zeros((size[1], size[0]), np.bool_)
        for polygon in self.polygons:
            image = Image.new("1", size)
            draw = ImageDraw.Draw(image)
            draw.polygon(place(polygon.exterior), fill=1)
            for hole in polygon.holes:
                draw.polygon(place(hole), fill=0)
            if outline:
                corners = place(polygon.exterior)
                draw.line([*corners, corners[0]], fill=1, width=2)
            total |= np.asarray(image)
        return total


def read_roi(path: Path, bounds_origin: tuple[int, int], frame: Literal["qupath", "openslide"]) -> Roi:
    """Read polygons from a GeoJSON file.

    Parameters
    ----------
    path : Path
        A FeatureCollection, Feature or geometry with Polygon or MultiPolygon; other geometries are refused.
    bounds_origin : (int, int)
        Level-0 x, y of the slide's bounds.
    frame : {"qupath", "openslide"}
        Whether coordinates count from the bounds (as QuPath does) or from level-0 (0, 0).

    Raises
    ------
    RegionError
        When the file cannot be read or holds no polygon.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RegionError(f"{path} cannot be read: {error.strerror or error}; check the path.") from error
    except ValueError as error:
        raise RegionError(f"{path} is not GeoJSON ({error}); export the region from QuPath again.") from error
    try:
        polygons = tuple(_polygons(data))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RegionError(f"{path} is not valid GeoJSON ({error!r}); export the region again.") from error
    if not polygons:
        raise RegionError(f"{path} holds no polygon; draw a closed region and export it again.")
    roi = Roi(polygons)
    return roi.shifted(*bounds_origin) if frame == "qupath" else roi


def _polygons(data: Any) -> Iterator[Polygon]:
    """Yield the polygons of any GeoJSON object."""
    kind = data["type"]
    if kind == "FeatureCollection":
        for feature in data["features"]:
            yield from _polygons(feature)
    elif kind == "Feature":
        yield from _polygons(data["geometry"])
    elif kind == "GeometryCollection":
        for geometry in data["geometries"]:
            yield from _polygons(geometry)
    elif kind == "Polygon":
        yield _polygon(data["coordinates"])
    elif kind == "MultiPolygon":
        for rings in data["coordinates"]:
            yield _polygon(rings)
    else:
        raise ValueError(f"a {kind} has no area")


def _polygon(rings: Any) -> Polygon:
    loops = [tuple((float(x), float(y)) for x, y, *_ in ring) for ring in rings]
    # GeoJSON repeats the first corner at the end.
    loops = [loop[:-1] if len(loop) > 1 and loop[0] == loop[-1] else loop for loop in loops]
    return Polygon(loops[0], tuple(loops[1:]))
