"""Annotations of Aperio ImageScope (XML): layers of regions, some of which are negative."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import shapely

from tiling.annotations.model import Collector, Ring, ellipse
from tiling.annotations.xml import parse_xml
from tiling.errors import AnnotationError

__all__ = ["is_aperio", "read_aperio"]

_POLYGON, _RECTANGLE, _ELLIPSE = "0", "1", "2"


def is_aperio(head: bytes) -> bool:
    """Whether a file begins as ImageScope's do."""
    return b"<Annotations" in head and b"<ASAP_Annotations" not in head


def read_aperio(content: bytes, into: Collector) -> None:
    """Collect the regions of all layers.

    The class of a region is its layer's name, else the layer's description, else the region's own text, else
    ``Layer N``. Regions with ``NegativeROA`` are holes in the others of their layer.

    Raises
    ------
    AnnotationError
        When the file is not ImageScope's.
    """
    root = parse_xml(content)
    if root.tag != "Annotations":
        raise AnnotationError(f"its root is <{root.tag}>, and ImageScope writes <Annotations>")
    for number, layer in enumerate(root.iter("Annotation"), 1):
        regions = list(layer.iter("Region"))
        negative = [region for region in regions if region.get("NegativeROA", "0") == "1"]
        holes = [hole for region in negative if (hole := into.polygon(_ring(region))) is not None]
        without = shapely.union_all(holes) if holes else None
        for region in regions:
            if region in negative:
                continue
            into.begin()
            if region.get("Type", _POLYGON) not in (_POLYGON, _RECTANGLE, _ELLIPSE):
                into.leave_out("is an arrow, a ruler or a point, without area")
                continue
            text = region.get("Text", "")
            class_name = _layer_name(layer) or text or f"Layer {layer.get('Id', number)}"
            into.add([[_ring(region)]], text, class_name, without=without)


def _layer_name(layer: Element) -> str:
    if name := layer.get("Name", "").strip():
        return name
    values = [a.get("Value", "").strip() for a in layer.findall("Attributes/Attribute")]
    return next(filter(None, values), "")


def _ring(region: Element) -> Ring:
    points = [(_number(v.get("X")), _number(v.get("Y"))) for v in region.iter("Vertex")]
    kind = region.get("Type", _POLYGON)
    if kind == _ELLIPSE and len(points) >= 2:
        return ellipse(*_box(points))
    if kind == _RECTANGLE and len(points) == 2:
        left, top, right, bottom = _box(points)
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    return points


def _box(points: Ring) -> tuple[float, float, float, float]:
    across, down = [x for x, _ in points], [y for _, y in points]
    return min(across), min(down), max(across), max(down)


def _number(text: str | None) -> float:
    try:
        return float((text or "nan").replace(",", "."))
    except ValueError:
        return float("nan")
