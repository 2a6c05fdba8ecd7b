"""Annotations of ASAP (XML): one polygon each, its class the group that it is part of."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from tiling.annotations.model import Collector, Ring
from tiling.annotations.xml import number, parse_xml

__all__ = ["is_asap", "read_asap"]

_AREAS = {"polygon", "rectangle", "spline"}
_EXCLUDING = {"exclusion", "exclude", "excluded", "hole", "holes"}


def is_asap(head: bytes) -> bool:
    """Whether a file begins as ASAP's do."""
    return b"<ASAP_Annotations" in head


def read_asap(content: bytes, into: Collector) -> None:
    """Collect the polygons of an ASAP file.

    ASAP has no holes: by custom (CAMELYON) what is in a group ``Exclusion`` (or ``_2`` beside ``_0`` or ``_1``) is
    taken away from everything else.

    Raises
    ------
    AnnotationError
        When the file is not ASAP's.
    """
    root = parse_xml(content, "ASAP_Annotations", "ASAP")
    annotations = list(root.iter("Annotation"))
    groups = {group.get("PartOfGroup", "") for group in annotations}
    excluding = set(_EXCLUDING) | ({"_2"} if groups & {"_0", "_1"} else set())
    holes = {
        i: each
        for i, each in enumerate(annotations, 1)
        if each.get("PartOfGroup", "").casefold() in excluding and _kind(each) in _AREAS
    }
    without = into.union((i, _ring(each)) for i, each in holes.items())
    if holes:
        what = "1 area that excludes is" if len(holes) == 1 else f"{len(holes)} areas that exclude are"
        into.notes.append(f"{what} taken away from all others.")
    splines = 0
    for i, annotation in enumerate(annotations, 1):
        into.begin()
        if _kind(annotation) not in _AREAS:
            into.leave_out("is a point or a line, without area")
        elif i not in holes:
            splines += _kind(annotation) == "spline"
            group = annotation.get("PartOfGroup", "")
            class_name = "" if group == "None" else group
            into.add([[_ring(annotation)]], annotation.get("Name", ""), class_name, without=without)
    if splines:
        into.notes.append(f"{splines} splines are taken as the polygons of their points.")


def _kind(annotation: Element) -> str:
    return annotation.get("Type", "Polygon").casefold()


def _ring(annotation: Element) -> Ring:
    points = sorted(_points(annotation), key=lambda point: point[0])
    return [(x, y) for _, x, y in points]


def _points(annotation: Element) -> Iterator[tuple[float, float, float]]:
    for place, point in enumerate(annotation.iter("Coordinate")):
        yield number(point.get("Order", str(place))), number(point.get("X")), number(point.get("Y"))
