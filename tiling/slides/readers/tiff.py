"""TIFF and OME-TIFF through tifffile, piece by piece: pyramids and flat pictures that OpenSlide does not read."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from tiling.errors import SlideError
from tiling.geometry import Box
from tiling.slides.level import Level, LevelReader
from tiling.slides.readers.brightfield import (
    GREY_WARNING,
    grey_to_rgb,
    on_white,
    refuse_bits,
    refuse_channels,
    refuse_planes,
)
from tiling.slides.readers.oriented import oriented
from tiling.slides.readers.segments import MAX_SEGMENT_BYTES, SegmentReader
from tiling.slides.resolution import ResolutionMetadata, exact_downsample

__all__ = ["TiffReader", "open_reader"]

# Without a handler, logging would print tifffile's remarks on odd files between our own messages.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_JPEG = {6, 7, 33007, 34892}
_GREY, _GREY_INVERTED, _RGB, _PALETTE, _YCBCR = 1, 0, 2, 3, 6
_STRIP_BYTES = 1 << 20


def open_reader(path: Path) -> LevelReader | None:
    """Open a TIFF with tifffile; None when the file is no TIFF.

    Raises
    ------
    SlideError
        When the file is damaged, holds pixels that the models do not understand, or cannot be read in pieces.
    """
    if path.is_dir() or not _is_tiff(path):
        return None
    with _tiff(path) as tiff:
        facts = _facts(path, tiff)
        return oriented(TiffReader(path, tiff, facts), facts.orientation)


@dataclass(frozen=True)
class _Facts:
    """What a TIFF is, as far as a reader must know before it touches pixels.

    Attributes
    ----------
    is_ome : bool
        Whether the file is an OME-TIFF.
    orientation : int
        TIFF orientation, 1 (upright) to 8.
    warnings : tuple of str
    """

    is_ome: bool
    orientation: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Plane:
    """Where one level's samples stand: all channels, or one of three."""

    page: Any
    first: int  # index of the plane's first piece


class TiffReader(SegmentReader):
    """A :class:`tiling.slides.level.LevelReader` over the largest picture of a TIFF file."""

    format = "tiff"

    def __init__(self, path: Path, tiff: Any, facts: _Facts) -> None:
        super().__init__(path)
        self.vendor = "ome" if facts.is_ome else ("imagej" if tiff.is_imagej else "")
        self.warnings = facts.warnings
        self.files = (path,)
        series = _main_series(path, tiff)
        base = (series.keyframe.imagewidth, series.keyframe.imagelength)
        size = path.stat().st_size
        self._planes: list[tuple[_Plane, ...]] = []
        self._rows: list[int | None] = []  # bytes per row where uncompressed strips can be cut anywhere
        levels = []
        for source in _sources(tiff, series):
            page = source.keyframe
            downsample = exact_downsample(base, (page.imagewidth, page.imagelength))
            if downsample is None:
                continue
            planes = _planes(source)
            for plane in planes:
                _check_complete(path, plane.page, size)
            tile, row_bytes = _piece_size(path, page)
            levels.append(Level(page.imagewidth, page.imagelength, downsample, tile))
            self._planes.append(planes)
            self._rows.append(row_bytes)
        self.levels = tuple(levels)
        self.bounds = Box(0, 0, *base)
        self.metadata = _resolution(tiff, series)
        profile = series.keyframe.tags.get(34675)
        self.icc_profile = None if profile is None else bytes(profile.value)
        # All are cached on first use: from a file that is closed by then, and in a way not safe for threads.
        for planes in self._planes:
            for plane in planes:
                plane.page.decode  # noqa: B018
                plane.page.jpegtables  # noqa: B018
                plane.page.colormap  # noqa: B018
        self._file = _File(path)

    def decode(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Return one tile or strip as (h, w, 3) uint8; see :class:`SegmentReader`."""
        info, planes = self.levels[level], self._planes[level]
        assert info.tile is not None
        row_bytes = self._rows[level]
        if row_bytes is not None:
            page = planes[0].page
            rows = min(info.tile[1], info.height - row * info.tile[1])
            data = self._file.read(page.dataoffsets[0] + row * info.tile[1] * row_bytes, rows * row_bytes)
            return _to_rgb(page, np.frombuffer(data, np.uint8).reshape(rows, info.width, -1))
        index = row * math.ceil(info.width / info.tile[0]) + column
        samples = [self._decode_piece(plane.page, plane.first + index) for plane in planes]
        if any(piece is None for piece in samples):
            return np.full((info.tile[1], info.tile[0], 3), 255, np.uint8)
        joined = samples[0] if len(samples) == 1 else np.concatenate([s for s in samples if s is not None], 2)
        assert joined is not None
        return _to_rgb(planes[0].page, joined)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        super().close()
        self._file.close()

    def _decode_piece(self, page: Any, index: int) -> NDArray[np.uint8] | None:
        """Return (h, w, samples) of a piece; None when the file leaves it out (nothing was scanned)."""
        if page.databytecounts[index] == 0:
            return None
        data = self._file.read(page.dataoffsets[index], page.databytecounts[index])
        options = {}
        if page.compression in _JPEG:
            options = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        piece = page.decode(data, index, **options)[0]
        if piece is None:
            return None
        pixels: NDArray[np.uint8] = piece[0]
        return pixels


class _File:
    """Positioned reads that several threads may make at once; closed when the last of them is done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("rb", buffering=0)
        self._lock = threading.Lock()
        self._readers = 0
        self._closed = False

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes."""
        with self._lock:
            if self._closed:
                raise SlideError(f"{self._path} was closed while it was being read.")
            self._readers += 1
        try:
            data = self._read(offset, size)
        finally:
            with self._lock:
                self._readers -= 1
                self._close_if_unused()
        if len(data) != size:
            raise SlideError(f"{self._path} ends too early; copy or export it again.")
        return data

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._close_if_unused()

    def _read(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._stream.fileno(), size, offset)
        with self._lock:  # Windows
            self._stream.seek(offset)
            return self._stream.read(size) or b""

    def _close_if_unused(self) -> None:
        # A descriptor closed under a reader may already be another file's.
        if self._closed and not self._readers:
            self._stream.close()


def _is_tiff(path: Path) -> bool:
    """Say whether the file starts like a TIFF or BigTIFF of either byte order."""
    with path.open("rb") as stream:
        return stream.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@contextlib.contextmanager
def _tiff(path: Path) -> Any:
    """Open a TIFF and turn what goes wrong with a damaged one into a :class:`SlideError`."""
    try:
        with tifffile.TiffFile(path) as tiff:
            yield tiff
    except SlideError:
        raise
    # A damaged directory shows as almost any exception (struct, index, value, type errors, zero division).
    except Exception as error:
        raise SlideError(f"{path} is a damaged TIFF ({error}); copy or export it again.") from error


def _main_series(path: Path, tiff: Any) -> Any:
    """Return the largest picture of the file: the scan, not its label, overview or thumbnail."""
    pictures = [s for s in tiff.series if s.keyframe is not None and 0 not in s.shape]
    if not pictures:
        raise SlideError(f"{path} is a TIFF without a picture; copy or export it again.")
    return max(pictures, key=lambda s: s.keyframe.imagewidth * s.keyframe.imagelength)


def _sources(tiff: Any, series: Any) -> list[Any]:
    """Return the levels of a picture, finest first: those tifffile knows, and all that the file calls reduced."""
    known = list(series.levels)
    # Vendors' files hold reduced pictures of something else (label, overview), and OME's are complete.
    if tiff.is_ome or tiff.is_svs or len(series.pages) != 1:
        return known
    kind = _kind(series)
    known += [
        s
        for s in tiff.series
        if s is not series and s.keyframe.is_reduced and _kind(s) == kind and len(s.pages) == 1
    ]
    return sorted(known, key=lambda s: -s.keyframe.imagewidth)


def _kind(series: Any) -> tuple[Any, ...]:
    page = series.keyframe
    return page.photometric, page.samplesperpixel, page.dtype, page.planarconfig, page.is_mask


def _facts(path: Path, tiff: Any) -> _Facts:
    """Refuse what the models do not understand; say what the rest needs."""
    series = _main_series(path, tiff)
    page = series.keyframe
    samples = page.samplesperpixel
    warnings: list[str] = []
    planes = math.prod(n for n, axis in zip(series.shape, series.axes, strict=True) if axis not in "YXS")
    channels = math.prod(n for n, axis in zip(series.shape, series.axes, strict=True) if axis == "C")
    if page.dtype != np.uint8 or page.bitspersample != 8:
        raise refuse_bits(path, "1-bit" if page.bitspersample == 1 else page.dtype)
    if planes > 1 and not (planes == channels == 3 and _are_rgb(tiff)):
        raise refuse_channels(path, channels) if planes == channels else refuse_planes(path, planes)
    if page.photometric in (_GREY, _GREY_INVERTED):
        if samples > 2 or (samples == 2 and not page.extrasamples):
            raise refuse_channels(path, samples)
        if planes == 1:
            warnings.append(GREY_WARNING)
    elif page.photometric == _PALETTE:
        if samples != 1:
            raise refuse_channels(path, samples)
    elif page.photometric == _RGB or (page.photometric == _YCBCR and page.compression in _JPEG):
        if not 3 <= samples <= 4:
            raise refuse_channels(path, samples)
    else:
        raise SlideError(
            f"{path} stores colours as {getattr(page.photometric, 'name', page.photometric)}, which is not "
            "understood here; convert it to RGB, for example with: vips colourspace IN OUT.tif srgb."
        )
    tag = page.tags.get(274)
    return _Facts(bool(tiff.is_ome), int(tag.value) if tag is not None else 1, tuple(warnings))


def _are_rgb(tiff: Any) -> bool:
    """Say whether three OME channels are the red, green and blue of one picture rather than three stains."""
    try:
        root = ElementTree.fromstring(tiff.ome_metadata or "<none/>")
    except ElementTree.ParseError:
        return False
    pixels = next((e for e in root.iter() if e.tag.endswith("}Pixels")), None)
    channels = [e for e in pixels if e.tag.endswith("}Channel")] if pixels is not None else []
    names = [channel.get("Name", "").strip().casefold() for channel in channels]
    colours = [int(channel.get("Color", "-1")) & 0xFFFFFF00 for channel in channels]
    return names in (["red", "green", "blue"], ["r", "g", "b"]) or colours == [
        0xFF000000,
        0x00FF0000,
        0x0000FF00,
    ]


def _planes(level: Any) -> tuple[_Plane, ...]:
    """Return where the samples of a level stand."""
    page = level.keyframe
    if len(level.pages) == 3 and page.samplesperpixel == 1:
        return tuple(_Plane(p.aspage() if hasattr(p, "aspage") else p, 0) for p in level.pages)
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        pieces = len(page.dataoffsets) // page.samplesperpixel
        return tuple(_Plane(page, i * pieces) for i in range(page.samplesperpixel))
    return (_Plane(page, 0),)


def _piece_size(path: Path, page: Any) -> tuple[tuple[int, int], int | None]:
    """Return width and height of a level's pieces, and bytes per row where pieces are rows cut at will."""
    width, height = page.imagewidth, page.imagelength
    if page.compression != 1 and page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise SlideError(
            f"{path} is compressed in a way that is not known here (TIFF compression {int(page.compression)}); "
            "convert it with: vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg."
        )
    if page.is_tiled:
        return (page.tilewidth, page.tilelength), None
    row_bytes = width * page.samplesperpixel
    if page.compression == 1 and page.planarconfig == 1 and page.is_contiguous and page.fillorder == 1:
        return (width, min(height, max(1, _STRIP_BYTES // row_bytes))), row_bytes
    rows = min(height, page.rowsperstrip)
    if rows * row_bytes > MAX_SEGMENT_BYTES:
        raise SlideError(
            f"{path} stores {width} × {rows} px as one compressed piece, more than the "
            f"{MAX_SEGMENT_BYTES >> 20} MB that are decoded at once; convert it with: "
            "vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg --bigtiff."
        )
    return (width, rows), None


def _check_complete(path: Path, page: Any, size: int) -> None:
    """Refuse a file whose end is missing: tifffile would leave the hole to the reader."""
    ends = (o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
    if max(ends, default=0) > size:
        raise SlideError(f"{path} is cut off: its pixels should go on beyond the end; copy it again.")


def _to_rgb(page: Any, samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert decoded samples (h, w, n) of any accepted kind to (h, w, 3) RGB on white."""
    if page.photometric == _PALETTE:
        table = (np.asarray(page.colormap) >> 8).astype(np.uint8)
        return np.ascontiguousarray(table[:, samples[..., 0]].transpose(1, 2, 0))
    colours = 3 if samples.shape[2] >= 3 else 1
    colour = samples[..., :colours]
    if page.photometric == _GREY_INVERTED:
        colour = 255 - colour
    if colours == 1:
        colour = grey_to_rgb(colour)
    if samples.shape[2] > colours and page.extrasamples and int(page.extrasamples[0]) in (1, 2):
        colour = on_white(colour, samples[..., colours], premultiplied=int(page.extrasamples[0]) == 1)
    return np.ascontiguousarray(colour)


def _resolution(tiff: Any, series: Any) -> ResolutionMetadata:
    """Return µm per pixel from OME's description, else from the TIFF tags."""
    if tiff.is_ome:
        found = _ome_resolution(tiff.ome_metadata or "")
        if found is not None:
            return found
    tags = series.keyframe.tags
    # 1 = "no absolute unit": then the numbers are only an aspect ratio.
    unit = {2: 25_400.0, 3: 10_000.0}.get(int(tags[296].value) if 296 in tags else 2)
    if tiff.is_imagej:
        unit = {"micron": 1.0, "um": 1.0, "µm": 1.0, "\\u00B5m": 1.0}.get(
            (tiff.imagej_metadata or {}).get("unit", ""), unit
        )
    values = [_per_pixel(tags.get(code), unit) for code in (282, 283)]
    return ResolutionMetadata(values[0], values[1], "TIFF XResolution")


def _per_pixel(tag: Any, unit: float | None) -> float | None:
    """Return µm per pixel from a TIFF resolution (pixels per unit)."""
    if tag is None or unit is None:
        return None
    numerator, denominator = tag.value
    return unit * denominator / numerator if numerator and denominator else None


_MICROMETRES = {
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "Å": 1e-4,
    "pm": 1e-6,
}


def _ome_resolution(xml: str) -> ResolutionMetadata | None:
    """Return the PhysicalSize of the largest picture; None when OME does not say."""
    try:
        root = ElementTree.fromstring(xml)
        pixels = [e for e in root.iter() if e.tag.endswith("}Pixels")]
        largest = max(pixels, key=lambda e: int(e.get("SizeX", 0)) * int(e.get("SizeY", 0)))
        sizes = [
            float(largest.attrib[f"PhysicalSize{axis}"])
            * _MICROMETRES[largest.get(f"PhysicalSize{axis}Unit", "µm")]
            for axis in "XY"
        ]
    except (ElementTree.ParseError, ValueError, KeyError):
        return None
    return ResolutionMetadata(sizes[0], sizes[1], "OME PhysicalSizeX")
