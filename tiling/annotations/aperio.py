"""Annotations of Aperio ImageScope (XML): layers of regions, some of which are negative."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from tiling.annotations.model import Collector, Ring, ellipse
from tiling.annotations.xml import number, parse_xml
from tiling.errors import AnnotationError

__all__ = ["is_aperio", "read_aperio"]

_POLYGON, _RECTANGLE, _ELLIPSE = _AREAS = "0", "1", "2"


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
    root = parse_xml(content, "Annotations", "ImageScope")
    _compare(number(root.get("MicronsPerPixel")), into)
    for place, layer in enumerate(root.iter("Annotation"), 1):
        regions = [(region, _is_negative(region)) for region in layer.iter("Region")]
        holes = [(i, r) for i, (r, negative) in enumerate(regions, 1) if negative and _has_area(r)]
        without = into.union((i, _ring(region)) for i, region in holes)
        for region, negative in regions:
            into.begin()
            if not _has_area(region):
                into.leave_out("is an arrow, a ruler or a point, without area")
            elif not negative:
                text = region.get("Text", "")
                class_name = _layer_name(layer) or text or f"Layer {layer.get('Id', place)}"
                into.add([[_ring(region)]], text, class_name, without=without)
            elif all(each for _, each in regions):
                into.leave_out("is negative in a layer without a region that it could be taken from")


def _compare(stated: float, into: Collector) -> None:
    """Note where the file was drawn on a picture of another resolution: its pixels may not be the slide's."""
    mpp = into.place.mpp
    if mpp and stated > 0 and max(stated, mpp) > 1.03 * min(stated, mpp):
        into.notes.append(
            f"The annotations were drawn at {stated:g} µm per pixel, and the slide has {mpp:g}; where that is because "
            "they were drawn on another picture, they do not fit."
        )


def _has_area(region: Element) -> bool:
    return region.get("Type", _POLYGON) in _AREAS


def _is_negative(region: Element) -> bool:
    """Whether a region is a hole.

    Raises
    ------
    AnnotationError
        When the file does not say it clearly: a hole that is taken for tissue, or the other way, is a wrong area.
    """
    text = region.get("NegativeROA", "0").strip().casefold()
    if text in ("", "0", "false"):
        return False
    if text in ("1", "true"):
        return True
    raise AnnotationError(f"one of its regions says NegativeROA={text[:20]!r}, which is neither 0 nor 1")


def _layer_name(layer: Element) -> str:
    if name := layer.get("Name", "").strip():
        return name
    values = [a.get("Value", "").strip() for a in layer.findall("Attributes/Attribute")]
    return next(filter(None, values), "")


def _ring(region: Element) -> Ring:
    points = [(number(v.get("X")), number(v.get("Y"))) for v in region.iter("Vertex")]
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
