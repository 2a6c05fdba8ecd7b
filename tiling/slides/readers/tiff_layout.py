"""Where the pixels of a TIFF stand: levels, planes and pieces, checked before anything is allocated or decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tifffile

from tiling.errors import SlideError
from tiling.slides.level import MAX_SIDE, Level
from tiling.slides.readers.brightfield import refuse_planes
from tiling.slides.readers.segments import MAX_SEGMENT_BYTES
from tiling.slides.resolution import exact_downsample

__all__ = ["Plane", "TiffLevel", "levels_of", "sources"]

_STRIP_BYTES = 1 << 20
_CONVERT = "convert it with: vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg --bigtiff"


@dataclass(frozen=True)
class Plane:
    """Where the samples of one level stand: all channels of it, or one.

    Attributes
    ----------
    page : tifffile page
    first : int
        Index of the plane's first tile or strip among the page's.
    offset : int
        Byte of the file where its first row starts, for planes whose rows follow one another uncompressed.
    """

    page: Any
    first: int = 0
    offset: int = 0


@dataclass(frozen=True)
class TiffLevel:
    """One level: what everybody sees of it, and its planes.

    Attributes
    ----------
    level : Level
    planes : tuple of Plane
    row_bytes : int or None
        Bytes per row of a plane where uncompressed rows can be cut anywhere; None where pieces are stored.
    """

    level: Level
    planes: tuple[Plane, ...]
    row_bytes: int | None


def levels_of(path: Path, tiff: Any, series: Any, planes: int) -> list[TiffLevel]:
    """Return the levels of a picture, finest first.

    Parameters
    ----------
    path : Path
    tiff : tifffile.TiffFile
    series : tifffile.TiffPageSeries
    planes : int
        Number of pages over which the channels of each level are spread.

    Raises
    ------
    SlideError
        When a level's pieces are too large, missing, cut off or compressed in an unknown way.
    """
    size = path.stat().st_size
    base = (series.keyframe.imagewidth, series.keyframe.imagelength)
    found = []
    for source in sources(tiff, series):
        page = source.keyframe
        _check_numbers(path, page)
        downsample = exact_downsample(base, (page.imagewidth, page.imagelength))
        if downsample is not None:
            found.append(_level(path, source, planes, downsample, size))
    return found


def sources(tiff: Any, series: Any) -> list[Any]:
    """Return the levels of a picture, finest first: those tifffile knows, and all that the file calls reduced."""
    known = list(series.levels)
    # Vendors' files hold reduced pictures of something else (label, overview), and OME's are complete.
    if tiff.is_ome or tiff.is_svs or len(series.pages) != 1:
        return known
    kind, base = _kind(series), (series.keyframe.imagewidth, series.keyframe.imagelength)
    known += [
        s
        for s in tiff.series
        if s is not series
        and s.keyframe.is_reduced
        and _kind(s) == kind
        and len(s.pages) == 1
        and s.keyframe.imagewidth <= base[0]
        and exact_downsample(base, (s.keyframe.imagewidth, s.keyframe.imagelength)) is not None
    ]
    return sorted(known, key=lambda s: -s.keyframe.imagewidth)


def _level(path: Path, source: Any, planes: int, downsample: float, size: int) -> TiffLevel:
    page = source.keyframe
    width, height = page.imagewidth, page.imagelength
    pages = [p if p is None or not hasattr(p, "aspage") else p.aspage() for p in source.pages]
    if len(pages) != planes:
        raise refuse_planes(path, planes)
    if any(p is None for p in pages):
        raise SlideError(
            f"{path} lacks the pixels of some of its channels; copy all its files or export it as one."
        )
    # Rows that follow one another can be cut anywhere, but only if that holds for every plane.
    separate = page.planarconfig == 2 and page.samplesperpixel > 1
    samples = 1 if separate else page.samplesperpixel
    contiguous = all(p.compression == 1 and p.fillorder == 1 and p.is_contiguous for p in pages)
    if contiguous and not page.is_tiled:
        row_bytes = width * samples
        tile = (width, min(height, max(1, _STRIP_BYTES // row_bytes)))
    else:
        row_bytes, tile = None, _piece_size(path, page)
    _check_piece(path, tile, page.samplesperpixel * planes)
    pieces = math.ceil(width / tile[0]) * math.ceil(height / tile[1])
    found: list[Plane] = []
    for p in pages:
        for i in range(p.samplesperpixel if separate else 1):
            offset = p.dataoffsets[0] + i * height * width if row_bytes else 0
            found.append(Plane(p, i * pieces, offset))
        if row_bytes is None:
            _check_pieces(path, p, pieces * (p.samplesperpixel if separate else 1), size)
    if row_bytes is not None and max(plane.offset for plane in found) + height * row_bytes > size:
        raise _cut_off(path)
    return TiffLevel(Level(width, height, downsample, tile), tuple(found), row_bytes)


def _kind(series: Any) -> tuple[Any, ...]:
    page = series.keyframe
    return page.photometric, page.samplesperpixel, page.dtype, page.planarconfig, page.is_mask


def _check_numbers(path: Path, page: Any) -> None:
    """Refuse sizes that are no whole numbers, or larger than any slide."""
    named = {
        "width": page.imagewidth,
        "height": page.imagelength,
        "samples per pixel": page.samplesperpixel,
        "rows per strip": page.rowsperstrip,
    }
    if page.is_tiled:
        named |= {"tile width": page.tilewidth, "tile height": page.tilelength}
    for name, value in named.items():
        if not isinstance(value, int) or value < 0 or (value == 0 and name != "rows per strip"):
            raise SlideError(f"{path} is a damaged TIFF (its {name} is {value!r}); copy or export it again.")
    if max(page.imagewidth, page.imagelength) > MAX_SIDE:
        raise SlideError(
            f"{path} would have {page.imagewidth} × {page.imagelength} px, more than the {MAX_SIDE} px a side that "
            "are read; the file is damaged, copy or export it again."
        )


def _piece_size(path: Path, page: Any) -> tuple[int, int]:
    """Return width and height of a level's tiles or strips."""
    if page.compression != 1 and page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise SlideError(
            f"{path} is compressed in a way that is not known here (TIFF compression {int(page.compression)}); "
            f"{_CONVERT}."
        )
    if page.is_tiled:
        return page.tilewidth, page.tilelength
    return page.imagewidth, min(page.imagelength, page.rowsperstrip or page.imagelength)


def _check_piece(path: Path, tile: tuple[int, int], samples: int) -> None:
    """Refuse pieces that would fill the memory."""
    if tile[0] * tile[1] * max(3, samples) > MAX_SEGMENT_BYTES:
        raise SlideError(
            f"{path} stores {tile[0]} × {tile[1]} px as one piece, more than the {MAX_SEGMENT_BYTES >> 20} MB that "
            f"are decoded at once; {_CONVERT}."
        )


def _check_pieces(path: Path, page: Any, needed: int, size: int) -> None:
    """Refuse a file that lacks pieces, or their end: tifffile would leave the hole to the reader."""
    if min(len(page.dataoffsets), len(page.databytecounts)) < needed:
        raise SlideError(
            f"{path} is a damaged TIFF ({len(page.dataoffsets)} pieces where {needed} belong); copy or export it again."
        )
    if max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0) > size:
        raise _cut_off(path)


def _cut_off(path: Path) -> SlideError:
    return SlideError(f"{path} is cut off: its pixels should go on beyond the end; copy it again.")
