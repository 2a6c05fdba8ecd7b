"""Class annotations on slides, as QuPath and others export them: polygons with class names, in level-0 pixels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.classes import ClassSchema
from tiling.errors import DataError

__all__ = ["Annotations", "read_annotations"]


@dataclass(frozen=True)
class _Annotation:
    label: int  # store label
    polygon: shapely.Polygon


class Annotations:
    """The annotated areas of one slide.

    Where annotations overlap the smaller one counts, as if it had been painted on the larger.

    Parameters
    ----------
    areas : sequence of (int, shapely.Polygon)
        Store label (class index + 1) and outline in level-0 pixels.
    """

    def __init__(self, areas: Sequence[tuple[int, shapely.Polygon]]) -> None:
        ordered = sorted(areas, key=lambda area: -area[1].area)
        self._areas = [_Annotation(label, polygon) for label, polygon in ordered]
        self._tree = shapely.STRtree([area.polygon for area in self._areas])

    def __len__(self) -> int:
        return len(self._areas)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of all annotations in level-0 pixels."""
        left, top, right, bottom = shapely.total_bounds(np.array([a.polygon for a in self._areas])).tolist()
        return left, top, right, bottom

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
            Store labels; 0 where nothing is annotated.
        """
        side = size * scale
        result = np.zeros((size, size), np.uint8)
        for index in sorted(self._tree.query(shapely.box(x, y, x + side, y + side)).tolist()):
            area = self._areas[index]
            result[_inside(area.polygon, x, y, scale, size)] = area.label
        return result


def read_annotations(
    path: Path,
    schema: ClassSchema,
    bounds_origin: tuple[int, int],
    frame: Literal["qupath", "openslide"] = "qupath",
    skip_unknown: bool = False,
) -> Annotations:
    """Read polygons with class names from GeoJSON.

    Parameters
    ----------
    path : Path
        A FeatureCollection, a list of features or one feature. The class is ``properties.classification`` (QuPath:
        ``name`` or ``names``) and is matched with names and abbreviations, capitals ignored. Lines and points, and
        QuPath's classes with a star (``Region*``, ``Ignore*``), are left out.
    schema : ClassSchema
    bounds_origin : (int, int)
        Level-0 x, y of the slide's bounds.
    frame : {"qupath", "openslide"}
        Whether coordinates count from the bounds or from level-0 (0, 0).
    skip_unknown : bool
        Leave out annotations of other classes instead of refusing them.

    Raises
    ------
    DataError
        When the file cannot be read, names unknown classes or holds no annotation of the schema.
    """
    try:
        features = list(_features(json.loads(path.read_text(encoding="utf-8"))))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; check the path.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not GeoJSON of annotations ({error!r}); export it again.") from error
    known = {name.casefold(): i for i, c in enumerate(schema.classes, 1) for name in (c.name, c.abbreviation)}
    shift = np.array(bounds_origin if frame == "qupath" else (0, 0), np.float64)
    areas: list[tuple[int, shapely.Polygon]] = []
    unknown: set[str] = set()
    for name, geometry in features:
        label = known.get(name.casefold())
        if label is None:
            unknown.add(name or "no class")
            continue
        moved = shapely.transform(shapely.make_valid(geometry), lambda points: points + shift)
        areas += [(label, part) for part in shapely.get_parts(moved) if part.geom_type == "Polygon"]
    if unknown and not skip_unknown:
        raise DataError(
            f"{path} has annotations of {', '.join(sorted(unknown))}, which schema {schema.name!r} does not know "
            f"({', '.join(schema.names)}); rename them or pass --skip-unknown."
        )
    if not areas:
        raise DataError(f"{path} holds no annotation of {', '.join(schema.names)}.")
    return Annotations(areas)


def _features(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield class name and area of every feature that is an area."""
    if isinstance(data, list) or data["type"] == "FeatureCollection":
        for feature in data if isinstance(data, list) else data["features"]:
            yield from _features(feature)
        return
    name = _class_name(data.get("properties") or {})
    geometry = shapely.from_geojson(json.dumps(data["geometry"]))
    if geometry.geom_type in ("Polygon", "MultiPolygon") and not name.endswith("*"):
        yield name, geometry


def _class_name(properties: dict[str, Any]) -> str:
    found = properties.get("classification") or properties.get("class") or ""
    if isinstance(found, dict):
        found = found.get("name") or ": ".join(found.get("names") or [])
    return str(found)


def _inside(polygon: shapely.Polygon, x: float, y: float, scale: float, size: int) -> NDArray[np.bool_]:
    """Return (size, size): pixels whose centre lies inside."""
    side = size * scale
    square = shapely.box(x, y, x + side, y + side)
    if shapely.contains(polygon, square):
        return np.ones((size, size), np.bool_)
    part = shapely.intersection(polygon, square)  # a small piece of a large outline is looked up faster
    shapely.prepare(part)
    centres = (np.arange(size) + 0.5) * scale
    columns, rows = np.meshgrid(x + centres, y + centres)
    return np.asarray(shapely.contains_xy(part, columns, rows))
