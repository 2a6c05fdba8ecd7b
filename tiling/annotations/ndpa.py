"""Annotations of Hamamatsu NDP.view (NDPA): nanometres from the middle of the glass slide."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element

from tiling.annotations.model import Collector, Ring, ellipse
from tiling.annotations.xml import number, parse_xml
from tiling.errors import AnnotationError

__all__ = ["is_ndpa", "read_ndpa"]

Point = Callable[[float, float], tuple[float, float]]


def is_ndpa(head: bytes) -> bool:
    """Whether a file begins as NDP.view's do."""
    return b"<annotations" in head and b"<ndpviewstate" in head


def read_ndpa(content: bytes, into: Collector) -> None:
    """Collect closed outlines, rectangles and circles; the title is name and class.

    Raises
    ------
    AnnotationError
        When the file is not NDP.view's, counts in units that are not known, or the slide lacks its µm per pixel.
    """
    root = parse_xml(content, "annotations", "NDP.view")
    to_pixels, per_pixel = _conversion(into)
    for state in root.iter("ndpviewstate"):
        unit = (state.findtext("coordformat") or "nanometers").strip()
        if unit.casefold() != "nanometers":
            raise AnnotationError(f"it counts in {unit!r}, and only nanometers are known")
        title = (state.findtext("title") or "").strip()
        for annotation in state.iter("annotation"):
            into.begin()
            ring = _ring(annotation, to_pixels, per_pixel)
            if ring is None:
                into.leave_out("is a point, a line or an open outline, without area")
                continue
            into.add([[ring]], title, title)


def _conversion(into: Collector) -> tuple[Point, float]:
    """Return the function from nanometres to level-0 pixels, and nanometres per pixel."""
    place = into.place
    if place.mpp is None or place.dimensions is None:
        raise AnnotationError(
            "it counts in nanometres, and the slide does not say its µm per pixel; pass --mpp"
        )
    per_pixel = place.mpp * 1000
    width, height = place.dimensions
    offset = place.centre_offset_nm
    if offset is None:
        into.notes.append(
            "The slide does not say where the scanner's middle is; the middle of the picture is taken for it."
        )
        offset = (0.0, 0.0)
    across, down = offset

    def to_pixels(x: float, y: float) -> tuple[float, float]:
        return (x - across) / per_pixel + width / 2, (y - down) / per_pixel + height / 2

    return to_pixels, per_pixel


def _ring(annotation: Element, to_pixels: Point, per_pixel: float) -> Ring | None:
    kind = annotation.get("type", "")
    if kind == "circle":
        x, y = to_pixels(_number(annotation, "x"), _number(annotation, "y"))
        radius = max(0.0, _number(annotation, "radius") / per_pixel)
        return ellipse(x - radius, y - radius, x + radius, y + radius)
    closed = annotation.get("specialtype") == "rectangle" or annotation.findtext("closed", "1").strip() != "0"
    if kind not in ("freehand", "rectangle") or not closed:
        return None
    return [to_pixels(_number(point, "x"), _number(point, "y")) for point in annotation.iter("point")]


def _number(element: Element, tag: str) -> float:
    return number(element.findtext(tag))
