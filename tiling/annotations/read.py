"""The one door to annotation files: which format it is, what it holds, or one sentence why not.

Other packages add formats with :func:`register_annotation_format`, or by an entry point of the group
``napari_wsss.annotation_formats`` whose object is an :class:`AnnotationFormat`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from tiling.annotations.aperio import is_aperio, read_aperio
from tiling.annotations.asap import is_asap, read_asap
from tiling.annotations.geojson import is_geojson, read_geojson
from tiling.annotations.model import AnnotationFile, Collector, Place
from tiling.annotations.ndpa import is_ndpa, read_ndpa
from tiling.errors import AnnotationError
from tiling.plugins import others
from tiling.slides import Slide

__all__ = [
    "GROUP",
    "AnnotationFormat",
    "annotation_formats",
    "annotations_of",
    "place_on",
    "read_annotation_file",
    "register_annotation_format",
]

GROUP = "napari_wsss.annotation_formats"
"""Entry-point group of annotation formats."""

_LARGEST = 1 << 30
_DENSEST, _SMALL = (
    200,
    1 << 24,
)  # polygons pack to a tenth or twentieth; what packs far better is made to fill memory
"""Bytes of an annotation file, unpacked: ten million corners are a third of it."""

_HEAD = 1 << 16


@dataclass(frozen=True)
class AnnotationFormat:
    """One annotation format.

    Attributes
    ----------
    name : str
        For people; no two formats share one.
    is_it : callable
        Whether a file is of this format, from its first 64 KiB.
    read : callable
        Takes the file's bytes and a :class:`Collector`; raises AnnotationError with the end of a sentence.
    suffixes : tuple of str
        What such files are called beside those of ours (``.abc``): a folder with one file per slide is searched for
        them.
    """

    name: str
    is_it: Callable[[bytes], bool]
    read: Callable[[bytes, Collector], None]
    suffixes: tuple[str, ...] = ()


_OWN = (
    AnnotationFormat("GeoJSON", is_geojson, read_geojson, (".geojson", ".geojson.gz", ".json", ".json.gz")),
    AnnotationFormat("Aperio ImageScope XML", is_aperio, read_aperio, (".xml",)),
    AnnotationFormat("ASAP XML", is_asap, read_asap),
    AnnotationFormat("Hamamatsu NDPA", is_ndpa, read_ndpa, (".ndpa", ".ndpi.ndpa")),
)


def register_annotation_format(found: AnnotationFormat) -> None:
    """Make a format known; it is asked before ours.

    Raises
    ------
    ValueError
        When there is a format of that name.
    """
    if found.name in annotation_formats():
        raise ValueError(
            f"there is an annotation format {found.name!r} already; register it under another name"
        )
    _others()[found.name] = found


def annotation_formats() -> tuple[str, ...]:
    """Return the names of the formats that are read, ours first."""
    return tuple(each.name for each in (*_OWN, *_others().values()))


@cache
def _others() -> dict[str, AnnotationFormat]:
    """Return the formats of other packages by name, filled once; ours go before one of the same name."""
    return others(GROUP, AnnotationFormat, "annotation format", [own.name for own in _OWN])


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
    found = next((each for each in (*_others().values(), *_OWN) if each.is_it(head)), None)
    if found is None:
        raise AnnotationError(
            f"{path} is no annotation file that is known ({', '.join(annotation_formats())}); export it again."
        )
    into = Collector(place or Place())
    try:
        found.read(content, into)
    except AnnotationError as error:
        raise AnnotationError(f"{path} cannot be used as {found.name}: {error}.") from error
    except Exception as error:
        if found in _OWN:
            raise
        raise AnnotationError(
            f"{path} cannot be read by the annotation format {found.name!r}: {error}; tell its makers."
        ) from error
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
    suffixes = dict.fromkeys(suffix for each in (*_OWN, *_others().values()) for suffix in each.suffixes)
    found = [path for suffix in suffixes if (path := folder / f"{slide_id}{suffix}").is_file()]
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
    """Return what is packed in all parts of a gzip file: programs that pack in blocks write many."""
    parts: list[bytes] = []
    most = min(_LARGEST, max(_SMALL, _DENSEST * len(packed)))
    left = most + 1
    while left > 0 and (packed := packed.lstrip(b"\0")):  # archives are padded with zeros
        stream = zlib.decompressobj(wbits=31)
        try:
            parts.append(stream.decompress(packed, left))
        except zlib.error as error:
            raise AnnotationError(f"{path} is a damaged gzip file ({error}); export it again.") from error
        left -= len(parts[-1])
        if not stream.eof and left > 0:
            raise AnnotationError(f"{path} is a gzip file that was cut off; export it again.")
        packed = stream.unused_data
    if left <= 0 and most < _LARGEST:
        raise AnnotationError(
            f"{path} unpacks to more than {_DENSEST} times its size, as no annotations do; "
            "if it is right, unpack it yourself and give that file."
        )
    return b"".join(parts)
