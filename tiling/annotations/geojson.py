"""Annotations as GeoJSON, the way QuPath, our exports and many scripts write them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tiling.annotations.model import Collector, Ring
from tiling.errors import AnnotationError

__all__ = ["is_geojson", "read_geojson"]

_AREALESS = {"Point", "MultiPoint", "LineString", "MultiLineString"}
_DEEPEST = 100


def is_geojson(head: bytes) -> bool:
    """Whether a file begins as JSON does."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def read_geojson(content: bytes, into: Collector) -> None:
    """Collect the polygons of a FeatureCollection, a bare list, a Feature or a geometry.

    The class is ``properties.classification`` (a name, or QuPath's ``name`` or ``names``) or ``properties.class``.
    A feature with several polygons, or a collection of geometries, is one annotation.

    Raises
    ------
    AnnotationError
        When this is not GeoJSON.
    """
    try:
        data = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise AnnotationError("it is not UTF-8 text, as GeoJSON must be; save it as UTF-8") from error
    except RecursionError as error:
        raise AnnotationError("it is nested too deeply to be GeoJSON") from error
    except ValueError as error:
        raise AnnotationError(f"it is not GeoJSON ({_short(error)})") from error
    for feature in _features(data):
        into.begin()
        _take(feature, into)


def _features(data: Any, depth: int = 0) -> Iterator[Any]:
    """Yield the features of anything; a lone geometry is a feature without properties."""
    if depth > _DEEPEST:
        raise AnnotationError("it is nested too deeply to be GeoJSON")
    if isinstance(data, list):
        for item in data:
            yield from _features(item, depth + 1)
    elif not isinstance(data, Mapping) or not isinstance(kind := data.get("type"), str):
        raise AnnotationError("it is not GeoJSON: something in it has no type")
    elif kind == "FeatureCollection":
        features = data.get("features")
        if not isinstance(features, list):
            raise AnnotationError("it is not GeoJSON: its FeatureCollection has no list of features")
        yield from _features(features, depth + 1)
    elif kind == "Feature":
        yield data
    else:
        yield {"type": "Feature", "geometry": data, "properties": {}}


def _take(feature: Mapping[str, Any], into: Collector) -> None:
    properties = feature.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    geometry = feature.get("geometry")
    if geometry is None:
        into.leave_out("has no geometry")
        return
    shells = list(_polygons(geometry, into))
    if shells:
        key = feature.get("id")
        into.add(
            shells,
            _text(properties.get("name")),
            _class_name(properties),
            str(key) if isinstance(key, str | int) else "",
            origin=into.place.origin,
        )


def _polygons(geometry: Any, into: Collector, depth: int = 0) -> Iterator[Sequence[Ring]]:
    """Yield the rings of every polygon of a geometry; what has no area is counted."""
    kind = geometry.get("type") if isinstance(geometry, Mapping) else None
    if depth > _DEEPEST:
        into.leave_out("is nested too deeply")
    elif kind == "GeometryCollection" and isinstance(parts := geometry.get("geometries"), list):
        for part in parts:
            yield from _polygons(part, into, depth + 1)
    elif kind in _AREALESS:
        into.leave_out("is a point or a line, without area")
    elif kind == "Polygon" and isinstance(rings := geometry.get("coordinates"), list):
        yield _rings(rings)
    elif kind == "MultiPolygon" and isinstance(polygons := geometry.get("coordinates"), list):
        for rings in polygons:
            yield _rings(rings)
    else:
        into.leave_out("has a geometry that is not GeoJSON")


def _rings(rings: Any) -> Any:
    """Return the rings; something that is none is counted as no pair of numbers where rings are mended."""
    return rings if isinstance(rings, list) and all(isinstance(ring, list) for ring in rings) else [[""]]


def _class_name(properties: Mapping[str, Any]) -> str:
    found = properties.get("classification") or properties.get("class") or ""
    if isinstance(found, Mapping):
        found = found.get("name") or found.get("names")
    return ": ".join(map(_text, found)) if isinstance(found, list) else _text(found)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


def _short(error: ValueError) -> str:
    text = str(error)
    return text if len(text) < 120 else text[:117] + "…"
