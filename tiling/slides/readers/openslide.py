"""Slides that OpenSlide reads: SVS, NDPI, MRXS, SCN, BIF, DICOM and more.

Not plain TIFF: OpenSlide squeezes any TIFF into 8-bit RGB, ignores its orientation, and knows neither OME's resolution
nor OME's pyramids; and decoding it through tifffile took a quarter of the time (224 px tiles of a JPEG TIFF).
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tiling.errors import SlideError
from tiling.geometry import Box
from tiling.slides.dicom import dicom_head, dicom_series, jpeg_is_ycbcr, may_be_dicom
from tiling.slides.level import MAX_SIDE, Level, LevelReader
from tiling.slides.pictures import kind_of_picture
from tiling.slides.readers.segments import MAX_SEGMENT_BYTES, cache_bytes
from tiling.slides.resolution import exact_downsample
from tiling.slides.statements import openslide_statements

__all__ = ["OpenSlideReader", "open_reader"]


def open_reader(path: Path) -> LevelReader | None:
    """Open a slide with OpenSlide; None when it does not know the format or another reader does it better.

    Raises
    ------
    SlideError
        When OpenSlide knows the format but cannot open the file, or a folder holds several DICOM slides.
    """
    if path.is_dir():
        return _open_dicom_folder(path)
    if openslide.OpenSlide.detect_format(path) in (None, "generic-tiff"):
        return None
    return OpenSlideReader(path, path)


def _open_dicom_folder(folder: Path) -> LevelReader | None:
    """Open the one DICOM slide in a folder, whichever of its files comes first."""
    series = dicom_series(sorted(f for f in folder.iterdir() if f.is_file() and may_be_dicom(f)))
    if not series:
        return None
    if len(series) > 1:
        series.pop("", None)  # what does not tell its series is damaged: the others are the slide
    if len(series) > 1:
        names = " and ".join(files[0].name for files in series.values())
        raise SlideError(f"{folder} holds several DICOM slides ({names}); name one of the files instead.")
    (files,) = series.values()
    problem: SlideError | None = None
    for file in files:
        if openslide.OpenSlide.detect_format(file) is None:
            continue
        try:
            return OpenSlideReader(folder, file, files=tuple(files))
        except SlideError as error:
            problem = error
    if problem is not None:
        raise problem
    return None


MISNAMED_COLOURS = (
    "The DICOM file calls its pixels RGB, but its JPEGs look like YCbCr: colours may be wrong by far. "
    "Compare them with the original, and export the slide again if they differ."
)


_CACHED_PIXEL = 4
"""Bytes of a pixel in OpenSlide's cache."""


class OpenSlideReader:
    """A :class:`tiling.slides.level.LevelReader` over one OpenSlide handle that all threads share.

    Parameters
    ----------
    path : Path
        What the user named: a file, or the folder of a DICOM slide.
    file : Path
        What OpenSlide opens.
    files : tuple of Path, optional
        The files that make up the slide; found from ``file`` by default.

    Notes
    -----
    OpenSlide addresses coarser levels in level-0 integers. Where a downsample is not an integer, pixels are
    therefore placed within half a level-0 pixel: an error that does not grow along the slide.
    """

    format = "openslide"
    fingerprint = ""

    def __init__(
        self,
        path: Path,
        file: Path,
        files: tuple[Path, ...] | None = None,
    ) -> None:
        self.path, self._file = path, file
        self.warnings: tuple[str, ...] = ()
        self._lock = threading.Lock()
        handle = _open(file)
        self._handle: openslide.OpenSlide | None = handle
        properties = handle.properties
        self.vendor: str = properties.get(openslide.PROPERTY_NAME_VENDOR, "")
        # OpenSlide's own factors address its levels; ours say where their pixels lie.
        self._native, self._factors, self.levels = _levels(file, handle)
        self.held_bytes = cache_bytes(self.levels, _CACHED_PIXEL)
        self._cache = openslide.OpenSlideCache(self.held_bytes)
        handle.set_cache(self._cache)
        self.bounds = _bounds(handle)
        self.statements = tuple(openslide_statements(properties))
        self.centre_offset_nm = _centre_offset(properties)
        # Names alone: what a label shows, or a file calls it, may be a patient's name.
        self.beside = tuple(sorted({kind_of_picture(name) or "picture" for name in handle.associated_images}))
        self.icc_profile = _icc_profile(handle)
        self.files = files if files is not None else (file, *_companions(file, self.vendor))
        if self.vendor == "dicom":
            self.warnings = tuple(_dicom_warnings(file, self.files))

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a part of one level, (height, width, 3) uint8, white where nothing was scanned."""
        handle = self._handle
        if handle is None:
            raise SlideError(f"{self.path} was closed while it was being read.")
        try:
            return self._read(handle, level, x, y, width, height)
        except openslide.OpenSlideError:
            # After one error OpenSlide refuses everything on that handle, also what other threads are about
            # to read. So: a fresh handle for all, and a private one to see whether this region is at fault.
            self._renew(handle)
        try:
            with _open(self._file) as private:
                return self._read(private, level, x, y, width, height)
        except openslide.OpenSlideError as error:
            raise SlideError(
                f"{self.path} cannot be read at level {level}, x {x}, y {y}: {error}; "
                "the file is damaged, copy or export it again."
            ) from error

    def close(self) -> None:
        """Close the handle; a second call does nothing."""
        # Freed with its last reference: closing it under another thread's read would crash the process.
        with self._lock:
            self._handle = None

    def _read(
        self, handle: openslide.OpenSlide, level: int, x: int, y: int, width: int, height: int
    ) -> NDArray[np.uint8]:
        factor = self._factors[level]
        corner = (round(x * factor), round(y * factor))
        image = handle.read_region(corner, self._native[level], (width, height))
        if image.getchannel("A").getextrema()[0] == 255:
            return np.array(image.convert("RGB"))
        # openslide-python has undone the premultiplication: plain "over" on white is right.
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        return np.array(white)

    def _renew(self, broken: openslide.OpenSlide) -> None:
        """Replace a handle that refuses to go on, unless another thread already has."""
        with self._lock:
            if self._handle is broken:
                fresh = _open(self._file)
                fresh.set_cache(self._cache)
                self._handle = fresh


def _open(file: Path) -> openslide.OpenSlide:
    """Open a file with OpenSlide, or say in one sentence why not."""
    try:
        return openslide.OpenSlide(file)
    except (openslide.OpenSlideError, OSError) as error:
        reason = str(error).removeprefix(f"Reading {file}: ")
        raise SlideError(
            f"{file} cannot be opened by OpenSlide: {reason}; check that the file is complete, or convert it."
        ) from error


def _levels(file: Path, handle: openslide.OpenSlide) -> tuple[list[int], list[float], tuple[Level, ...]]:
    """Return OpenSlide's index and factor of each usable level, and the levels."""
    vendor = handle.properties.get(openslide.PROPERTY_NAME_VENDOR, "")
    native: list[int] = []
    factors: list[float] = []
    levels: list[Level] = []
    for i, (size, factor) in enumerate(zip(handle.level_dimensions, handle.level_downsamples, strict=True)):
        downsample = factor if factor == int(factor) else exact_downsample(handle.dimensions, size)
        if downsample is None:
            continue
        tile = (
            _number(handle.properties.get(f"openslide.level[{i}].tile-width")),
            _number(handle.properties.get(f"openslide.level[{i}].tile-height")),
        )
        known = (int(tile[0]), int(tile[1])) if tile[0] and tile[1] else None
        # OpenSlide takes the memory that a header asks for, and ends the process where there is not so much.
        if max(size) > MAX_SIDE or (known and math.prod(known) * 4 > MAX_SEGMENT_BYTES):
            stored = f" in pieces of {known[0]} × {known[1]} px" if known else ""
            raise SlideError(
                f"{file} would have {size[0]} × {size[1]} px{stored}, more than is read at once; the file is damaged, "
                "copy or export it again."
            )
        if known and vendor in _TILED_TIFFS and _tiles(size, known) * _TABLE_BYTES > file.stat().st_size:
            raise SlideError(
                f"{file} would have {_tiles(size, known)} pieces, and has no room for their table; the file is "
                "damaged, copy or export it again."
            )
        native.append(i)
        factors.append(float(factor))
        levels.append(Level(size[0], size[1], float(downsample), known))
    return native, factors, tuple(levels)


_TILED_TIFFS = frozenset({"aperio", "leica", "philips", "trestle", "ventana"})
_TABLE_BYTES = 6
"""What a TIFF needs at least for each tile: its place and its length. Whoever lies about the size has no such table."""


def _tiles(size: tuple[int, int], tile: tuple[int, int]) -> int:
    return math.ceil(size[0] / tile[0]) * math.ceil(size[1] / tile[1])


def _icc_profile(handle: openslide.OpenSlide) -> bytes | None:
    """Return the colour profile, unread: a damaged one matters only to those who convert colours by it."""
    try:
        profile = handle.color_profile
    except (OSError, ValueError, ImageCms.PyCMSError):  # openslide-python parses it on the way out
        return b""
    return None if profile is None else profile.tobytes()


def _bounds(handle: openslide.OpenSlide) -> Box:
    """Return the scanned area that the vendor states; the whole slide when it states none."""
    whole = Box(0, 0, *handle.dimensions)
    names = ("bounds-x", "bounds-y", "bounds-width", "bounds-height")
    values = [_number(handle.properties.get(f"openslide.{name}")) for name in names]
    if any(value is None for value in values):
        return whole
    box = Box(*(int(value or 0) for value in values)).intersection(whole)
    return whole if box.is_empty else box


def _companions(file: Path, vendor: str) -> tuple[Path, ...]:
    """Return the files beside the one that is opened: a DICOM series, MIRAX's folder of pixels."""
    if vendor == "dicom":
        beside = (f for f in sorted(file.parent.iterdir()) if f != file and may_be_dicom(f))
        series = dicom_head(file).series
        return tuple(f for f in beside if dicom_head(f).series == series)
    folder = file.with_suffix("")
    if vendor != "mirax" or not folder.is_dir():
        return ()
    return tuple(sorted(f for f in folder.iterdir() if f.is_file()))


def _dicom_warnings(file: Path, files: Sequence[Path]) -> Iterator[str]:
    """Yield what people should know of a DICOM series.

    Raises
    ------
    SlideError
        When several pictures lie on top of each other without an order: whatever comes last would be read.
    """
    if any(jpeg_is_ycbcr(each) for each in files):
        yield MISNAMED_COLOURS
    layered = [head for head in map(dicom_head, files) if head.layers > 1]
    if not layered:
        return
    several = f"{max(head.layers for head in layered)} pictures on top of each other (optical paths or focal planes)"
    if any(head.sparse for head in layered):
        raise SlideError(
            f"{file} holds {several} in no order (TILED_SPARSE); export the one to segment alone."
        )
    yield f"The file holds {several}; only the first is read."


def _centre_offset(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """Return how far the picture's middle lies from the glass slide's, as Hamamatsu says; nanometres."""
    x, y = (_number(properties.get(f"hamamatsu.{axis}OffsetFromSlideCentre")) for axis in "XY")
    return None if x is None or y is None else (x, y)


def _number(text: str | None) -> float | None:
    """Return a property as a number, None when it is absent or no number."""
    if text is not None:
        with contextlib.suppress(ValueError):
            return float(text)
    return None
