"""The one door to annotation files: which format it is, what it holds, or one sentence why not."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiling.annotations.aperio import is_aperio, read_aperio
from tiling.annotations.asap import is_asap, read_asap
from tiling.annotations.geojson import is_geojson, read_geojson
from tiling.annotations.model import AnnotationFile, Collector, Place
from tiling.annotations.ndpa import is_ndpa, read_ndpa
from tiling.errors import AnnotationError
from tiling.slides import Slide

__all__ = [
    "AnnotationFormat",
    "annotation_formats",
    "place_on",
    "read_annotation_file",
    "register_annotation_format",
]

_LARGEST = 1 << 30
"""Bytes of an annotation file, unpacked: ten million corners are a third of it."""

_SUFFIXES = (".geojson", ".geojson.gz", ".json", ".json.gz", ".xml", ".ndpa", ".ndpi.ndpa")
_HEAD = 4096


@dataclass(frozen=True)
class AnnotationFormat:
    """One annotation format.

    Attributes
    ----------
    name : str
        For people.
    is_it : callable
        Whether a file is of this format, from its first 4,096 bytes.
    read : callable
        Takes the file's bytes and a :class:`Collector`; raises AnnotationError with the end of a sentence.
    """

    name: str
    is_it: Callable[[bytes], bool]
    read: Callable[[bytes, Collector], None]


_formats: list[AnnotationFormat] = []


def register_annotation_format(found: AnnotationFormat) -> None:
    """Add a format; later ones are asked first."""
    _formats.insert(0, found)


register_annotation_format(AnnotationFormat("GeoJSON", is_geojson, read_geojson))
register_annotation_format(AnnotationFormat("Aperio ImageScope XML", is_aperio, read_aperio))
register_annotation_format(AnnotationFormat("ASAP XML", is_asap, read_asap))
register_annotation_format(AnnotationFormat("Hamamatsu NDPA", is_ndpa, read_ndpa))


def annotation_formats() -> tuple[str, ...]:
    """Return the names of the formats that are read."""
    return tuple(each.name for each in reversed(_formats))


def read_annotation_file(path: Path, place: Place | None = None) -> AnnotationFile:
    """Read the annotated areas of a file.

    Parameters
    ----------
    path : Path
        GeoJSON, ASAP, Aperio ImageScope or NDPA, told by its content; may be gzipped.
    place : Place, optional
        Where the slide's pixels lie.

    Raises
    ------
    AnnotationError
        One sentence: the file cannot be read, or is none of these, or is damaged.
    """
    content = _content(path)
    head = content[:_HEAD]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        # XML says its encoding itself; JSON in UTF-16 does not exist.
        head = head.decode("utf-16", errors="replace").encode()
        if is_geojson(head):
            raise AnnotationError(f"{path} is UTF-16 text, and GeoJSON must be UTF-8; save it as UTF-8.")
    found = next((each for each in _formats if each.is_it(head)), None)
    if found is None:
        raise AnnotationError(
            f"{path} is no annotation file that is known ({', '.join(annotation_formats())}); export it again."
        )
    into = Collector(place or Place())
    try:
        found.read(content, into)
    except AnnotationError as error:
        raise AnnotationError(f"{path} cannot be used as {found.name}: {error}.") from error
    return into.result(path, found.name)


def place_on(slide: Slide, frame: Literal["qupath", "openslide"] = "qupath") -> Place:
    """Return where a slide's pixels lie.

    Parameters
    ----------
    slide : Slide
    frame : {"qupath", "openslide"}
        Whether GeoJSON counts from the scanned area's corner or from level-0 (0, 0).
    """
    box = slide.bounds
    origin = (box.x, box.y) if frame == "qupath" else (0, 0)
    return Place(slide.dimensions, slide.mpp, origin, slide.centre_offset_nm)


def annotations_of(folder: Path, slide_id: str) -> Path:
    """Return the annotation file of a slide in a folder with one per slide.

    Raises
    ------
    AnnotationError
        When there is none, or more than one.
    """
    found = [path for suffix in _SUFFIXES if (path := folder / f"{slide_id}{suffix}").is_file()]
    if len(found) == 1:
        return found[0]
    if not found:
        raise AnnotationError(
            f"The slide {slide_id!r} has no annotations: there is no {folder / slide_id}.geojson (.xml, .ndpa); "
            "add it, or give a file."
        )
    names = ", ".join(path.name for path in found)
    raise AnnotationError(
        f"{folder} holds several annotation files of slide {slide_id!r} ({names}); keep one."
    )


def _content(path: Path) -> bytes:
    """Return the bytes of a file, unpacked."""
    try:
        if not path.is_file():
            reason = "it is no file" if path.exists() else "there is no such file"
            raise AnnotationError(f"{path} cannot be read: {reason}; check the path.")
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise AnnotationError(f"{path} cannot be read: {reason}; check the path.") from error
    if content[:2] == b"\x1f\x8b":
        content = _unpacked(path, content)
    if len(content) > _LARGEST:
        raise AnnotationError(
            f"{path} is larger than {_LARGEST >> 30} GB; export fewer annotations at a time."
        )
    return content


def _unpacked(path: Path, packed: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(packed, _LARGEST + 1)
    except zlib.error as error:
        raise AnnotationError(f"{path} is a damaged gzip file ({error}); export it again.") from error
    if not stream.eof and len(content) <= _LARGEST:
        raise AnnotationError(f"{path} is a gzip file that was cut off; export it again.")
    return content
