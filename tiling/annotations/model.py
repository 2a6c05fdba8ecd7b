"""What every annotation file becomes: named polygons in level-0 pixels, and one sentence for what is left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["Annotation", "AnnotationFile", "Collector", "Place", "Ring", "polygons_of"]

Ring = Sequence[tuple[float, float]]

FARTHEST = 1e8
"""Level-0 pixels; a corner farther out is a mistake, and no slide is a tenth as large."""


@dataclass(frozen=True)
class Annotation:
    """One annotated area.

    Attributes
    ----------
    key : str
        Its identifier in the file, or its number (from 1) where it has none; unique within a file.
    name, class_name : str
        As the file says; empty where it does not.
    polygon : shapely.Polygon or shapely.MultiPolygon
        Valid, not empty, in level-0 pixels of the whole slide; (0, 0) is the outer corner of the first pixel.
    """

    key: str
    name: str
    class_name: str
    polygon: shapely.Polygon | shapely.MultiPolygon


@dataclass(frozen=True)
class AnnotationFile:
    """What an annotation file holds.

    Attributes
    ----------
    path : Path
    format : str
    annotations : tuple of Annotation
        In the file's order.
    left_out : tuple of str
        One sentence for each kind of thing that was not taken.
    """

    path: Path
    format: str
    annotations: tuple[Annotation, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a slide's pixels lie: turns the units of a file into level-0 pixels.

    Attributes
    ----------
    dimensions : (int, int) or None
        Width and height of level 0.
    mpp : float or None
        µm per level-0 pixel.
    origin : (int, int)
        Level-0 x, y from which GeoJSON counts: the corner of the scanned area as QuPath does, or (0, 0).
    centre_offset_nm : (float, float) or None
        Where the middle of the picture lies from the middle of the glass slide, as Hamamatsu's files say.
    """

    dimensions: tuple[int, int] | None = None
    mpp: float | None = None
    origin: tuple[int, int] = (0, 0)
    centre_offset_nm: tuple[float, float] | None = None

    @classmethod
    def of_identity(cls, identity: Mapping[str, Any], mpp: float, origin: tuple[int, int]) -> Place:
        """Return the place of a slide that is not open, from its identity (:attr:`tiling.slides.Slide.identity`)."""
        dimensions, offset = identity.get("dimensions"), identity.get("centre_offset_nm")
        return cls(
            dimensions=(int(dimensions[0]), int(dimensions[1])) if dimensions else None,
            mpp=mpp,
            origin=origin,
            centre_offset_nm=(float(offset[0]), float(offset[1])) if offset else None,
        )


class Collector:
    """Takes shapes from a reader of a format, mends them, and counts what cannot be taken.

    Parameters
    ----------
    place : Place
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._found: list[Annotation] = []
        self._keys: set[str] = set()
        self._left_out: Counter[str] = Counter()
        self._first: dict[str, int] = {}
        self._seen = 0
        self.notes: list[str] = []

    @property
    def number(self) -> int:
        """Number (from 1) of the annotation that is being read."""
        return self._seen

    def begin(self) -> None:
        """Say that the next annotation of the file begins."""
        self._seen += 1

    def leave_out(self, why: str) -> None:
        """Count the present annotation, or a part of it, as not taken."""
        self._left_out[why] += 1
        self._first.setdefault(why, self._seen)

    def add(
        self,
        shells: Iterable[Sequence[Ring]],
        name: str = "",
        class_name: str = "",
        key: str = "",
        without: shapely.Geometry | None = None,
        origin: tuple[float, float] = (0, 0),
    ) -> None:
        """Take an annotation.

        Parameters
        ----------
        shells : iterable of sequences of rings
            Outline and holes of each part, in level-0 pixels from ``origin``; open or closed.
        name, class_name, key : str
        without : shapely.Geometry, optional
            What is taken away from it.
        origin : (float, float)
        """
        parts = [part for rings in shells if (part := self._mended(rings, origin)) is not None]
        if not parts:
            return
        area = parts[0] if len(parts) == 1 else shapely.union_all(parts)
        if without is not None:
            area = shapely.difference(area, without)
        if (polygon := polygons_of(area)) is None:
            self.leave_out("has no area")
            return
        if not key or key in self._keys:
            key = str(self._seen)
        self._keys.add(key)
        self._found.append(Annotation(key, name.strip(), class_name.strip(), polygon))

    def union(self, rings: Iterable[tuple[int, Ring]]) -> shapely.Geometry | None:
        """Return the mended area of outlines, each with its place among those to come; None when there is none.

        The annotations themselves are yet to begin: what is taken away must be known before.
        """
        begun, areas = self._seen, []
        for place, ring in rings:
            self._seen = begun + place
            areas.append(self._mended([ring]))
        self._seen = begun
        found = [area for area in areas if area is not None]
        return shapely.union_all(found) if found else None

    def result(self, path: Path, name: str) -> AnnotationFile:
        """Return what was collected."""
        sentences = []
        for why, count in self._left_out.items():
            who = f"Annotation {self._first[why]}" if count == 1 else f"{count} annotations"
            sentences.append(f"{who} of {path.name} {_verb(why, count)} and {_are(count)} left out.")
        return AnnotationFile(path, name, tuple(self._found), (*self.notes, *sentences))

    def _mended(self, rings: Sequence[Ring], origin: tuple[float, float] = (0, 0)) -> shapely.Geometry | None:
        """Return a valid area of an outline and its holes, or None after counting why not."""
        loops: list[NDArray[np.float64]] = []
        for ring in rings:
            try:
                corners = np.array([_pair(corner) for corner in ring], np.float64).reshape(-1, 2) + origin
            except (TypeError, ValueError, IndexError, KeyError, OverflowError):
                self.leave_out("has a corner that is no pair of numbers")
                return None
            if not (np.abs(corners) < FARTHEST).all():  # NaN is not smaller either
                self.leave_out("has a corner that lies on no slide")
                return None
            if len(corners) and (corners[0] == corners[-1]).all():
                corners = corners[:-1]
            loops.append(corners)
        if not loops or len(loops[0]) < 3:
            self.leave_out("has fewer than three corners")
            return None
        area = shapely.Polygon(loops[0], [loop for loop in loops[1:] if len(loop) >= 3])
        mended = polygons_of(area)
        if mended is None:
            self.leave_out("has no area")
        return mended


def polygons_of(geometry: Any) -> shapely.Polygon | shapely.MultiPolygon | None:
    """Return the areas of any geometry, mended by structure: holes stay holes wherever their rings touch.

    Returns
    -------
    shapely.Polygon, shapely.MultiPolygon or None
        None when nothing has an area.
    """
    if not geometry.is_valid and geometry.geom_type == "Polygon" and geometry.interiors:
        # Outline and holes are mended apart: make_valid makes an area of a hole that lies outside.
        shell = polygons_of(shapely.Polygon(geometry.exterior))
        holes = [
            hole for ring in geometry.interiors if (hole := polygons_of(shapely.Polygon(ring))) is not None
        ]
        geometry = shapely.difference(shell or shapely.Polygon(), shapely.union_all(holes))
    elif not geometry.is_valid:
        geometry = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    areas = [part for part in _parts(geometry) if part.geom_type == "Polygon" and part.area > 0]
    if not areas:
        return None
    return areas[0] if len(areas) == 1 else shapely.MultiPolygon(areas)


def _parts(geometry: Any) -> Iterator[Any]:
    """Yield the simple parts of a collection, however deep they lie."""
    for part in shapely.get_parts(geometry):
        if hasattr(part, "geoms"):
            yield from _parts(part)
        else:
            yield part


def ellipse(left: float, top: float, right: float, bottom: float, points: int = 256) -> Ring:
    """Return the outline of the ellipse in a box; its area is right to 0.01 %."""
    x, y = (left + right) / 2, (top + bottom) / 2
    # Corners a little outside the curve give the polygon the area of the ellipse.
    angle = 2 * math.pi / points
    grow = math.sqrt(angle / math.sin(angle))
    a, b = abs(right - left) / 2 * grow, abs(bottom - top) / 2 * grow
    return [(x + a * math.cos(i * angle), y + b * math.sin(i * angle)) for i in range(points)]


def _pair(corner: Any) -> tuple[float, float]:
    x, y = corner[0], corner[1]
    if x is True or x is False or y is True or y is False:
        raise TypeError
    return float(x), float(y)


def _verb(why: str, count: int) -> str:
    return why if count == 1 else why.replace("has ", "have ", 1).replace("is ", "are ", 1)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
