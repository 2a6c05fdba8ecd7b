"""A slide as everybody sees it: pixels of any region at any µm per pixel, whatever the file format.

A :class:`LevelReader` knows one file format and nothing else than its levels. :class:`Slide` puts on top what
must be the same for all of them: the resolution rule, the choice of level, exact resampling, white outside.
"""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tiling.checks import number, whole
from tiling.errors import ResolutionError
from tiling.geometry import Box
from tiling.slides.level import ALONE_BYTES, Level, LevelReader
from tiling.slides.resampling import Axis, resample
from tiling.slides.resolution import Resolution, WeighedStatement, contradicted, resolve_mpp, weigh

__all__ = ["Slide"]

LEVEL_TOLERANCE = 0.01
"""A level up to 1 % coarser than asked for serves: a 0.251 µm slide has 0.502 µm, and models want 0.5."""

MOST_PIXELS = 1 << 31
"""Pixels that one call of ``read`` returns at most: 6 GB."""

MAX_PIXELS_PER_READ = 1 << 24
"""Level pixels held at once (50 MB as RGB); a larger region is read in parts."""

_THUMBNAIL_PARTS = 4
"""Parts of a thumbnail that are read at once. Not the number of cores: the cut may change a pixel by a grey level."""


class Slide:
    """A whole-slide image.

    Parameters
    ----------
    reader : LevelReader
        Where the pixels come from; closed with the slide.
    mpp : float, optional
        µm per level-0 pixel as the user says; overrides the file.
    mpp_source : str
        How the user said it (``--mpp``, ``manifest``).

    Attributes
    ----------
    resolution : Resolution or None
        None when the file has no usable resolution: the slide can be looked at, but not segmented.
    bounds : Box
        The scanned area in level-0 pixels (OpenSlide's bounds; else the whole slide).
    statements : tuple of WeighedStatement
        All that the file says about its µm per pixel, and what was believed of it.
    warnings : tuple of str
        What a user should know about how the pixels were understood, and what else the file holds.
    beside : tuple of str
        Names of the file's other pictures: label, macro, thumbnail, other scenes. They are never read.
    centre_offset_nm : (float, float) or None
        Where the picture's middle lies from the glass slide's, as Hamamatsu's files say.
    known_thumbnails : dict or None
        Thumbnails by ``max_side``, given back instead of being read again; for who opens one slide many times.

    Raises
    ------
    ResolutionError
        When ``mpp`` is implausible.
    """

    def __init__(self, reader: LevelReader, mpp: float | None = None, mpp_source: str = "--mpp") -> None:
        self._reader = reader
        self.path = reader.path
        self.format = reader.format
        self.vendor = reader.vendor
        self.centre_offset_nm: tuple[float, float] | None = getattr(reader, "centre_offset_nm", None)
        self.beside: tuple[str, ...] = tuple(getattr(reader, "beside", ()))
        self.levels = reader.levels
        self.bounds = reader.bounds
        self.statements: tuple[WeighedStatement, ...] = weigh(reader.statements, self.dimensions)
        self.warnings = (*reader.warnings, *(_doubt(s) for s in self.statements if _is_news(s)))
        self.known_thumbnails: dict[int, NDArray[np.uint8]] | None = None
        self.resolution: Resolution | None = None
        self._resolution_problem = ""
        try:
            self.resolution = resolve_mpp(
                str(self.path), override=mpp, statements=self.statements, override_source=mpp_source
            )
        except ResolutionError as error:
            if mpp is not None:
                raise
            self._resolution_problem = str(error)
        if mpp is not None and (said := contradicted(self.statements, mpp)):
            self.warnings += (f"{mpp:.4g} µm per pixel were given ({mpp_source}); the file says {said}.",)

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of level 0 in pixels."""
        return self.levels[0].width, self.levels[0].height

    @property
    def mpp(self) -> float | None:
        """µm per level-0 pixel; None when it is unknown or implausible."""
        return None if self.resolution is None else self.resolution.mpp

    @property
    def resolution_problem(self) -> str:
        """Why there is no resolution; empty when there is one."""
        return self._resolution_problem

    def reader_bytes(self, threads: int) -> int:
        """Return the bytes that reading takes beside the pixels returned, with so many threads."""
        piece = max((3 * level.tile[0] * level.tile[1] for level in self.levels if level.tile), default=0)
        # A piece exists twice while it is decoded: as its codec makes it, and as RGB.
        decoding = 2 * piece * (1 if piece > ALONE_BYTES else threads)
        return self._reader.held_bytes + decoding

    def require_mpp(self) -> float:
        """Return the µm per level-0 pixel.

        Raises
        ------
        ResolutionError
            When there is none; the message says what is wrong and to pass ``--mpp``.
        """
        if self.resolution is None:
            raise ResolutionError(self._resolution_problem)
        return self.resolution.mpp

    @property
    def identity(self) -> dict[str, Any]:
        """Facts by which the same slide is known again, JSON-ready: cheap, the pixels are not read."""
        files = self._reader.files
        return {
            "name": self.path.name,
            "format": self.format,
            "vendor": self.vendor,
            "dimensions": list(self.dimensions),
            "size_bytes": sum(f.stat().st_size for f in files),
            "mtime_ns": max((f.stat().st_mtime_ns for f in files), default=0),
            "quick_hash": self._reader.fingerprint or _quick_hash(files),
            **({} if self.centre_offset_nm is None else {"centre_offset_nm": list(self.centre_offset_nm)}),
        }

    def read(
        self, x: float, y: float, width: int, height: int, mpp: float | None = None
    ) -> NDArray[np.uint8]:
        """Return a region at any resolution, resampled exactly from the nearest finer level.

        Parameters
        ----------
        x, y : float
            Top-left corner in level-0 pixels.
        width, height : int
            Size of the result, in pixels of ``mpp``.
        mpp : float, optional
            µm per pixel of the result; None for level-0 pixels.

        Returns
        -------
        (height, width, 3) uint8
            RGB; white outside the slide and where nothing was scanned.

        Raises
        ------
        ResolutionError
            When ``mpp`` is given and the slide's own is unknown.
        SlideError
            When the file cannot be read there.
        """
        x, y = number("x", x), number("y", y)
        width, height = whole("width", width, 1), whole("height", height, 1)
        if width * height > MOST_PIXELS:
            raise ValueError(f"{width} × {height} px are more than is read at once; ask for parts")
        scale = 1.0 if mpp is None else number("mpp", mpp) / self.require_mpp()
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"mpp must be a positive number; got {mpp}")
        return self._resampled(x, y, scale, scale, width, height)

    def thumbnail(self, max_side: int) -> NDArray[np.uint8]:
        """Return the scanned area (``bounds``) with its longer side at most ``max_side`` pixels.

        Parameters
        ----------
        max_side : int
            Largest width or height; a smaller slide is not enlarged.

        Returns
        -------
        (h, w, 3) uint8
            The picture covers ``bounds`` exactly: column *j* starts at ``bounds.x + j * bounds.width / w``.
            Read in parts, so that no level has to fit into memory. Not writable where ``known_thumbnails`` keeps it.
        """
        max_side = whole("max_side", max_side, 1)
        if self.known_thumbnails is None:
            return self._thumbnail(max_side)
        if max_side not in self.known_thumbnails:
            picture = self._thumbnail(max_side)
            picture.flags.writeable = False
            self.known_thumbnails[max_side] = picture
        return self.known_thumbnails[max_side]

    def _thumbnail(self, max_side: int) -> NDArray[np.uint8]:
        box = self.bounds
        shrink = max(1.0, max(box.width, box.height) / max_side)
        width, height = max(1, round(box.width / shrink)), max(1, round(box.height / shrink))
        scales = box.width / width, box.height / height
        return self._resampled(box.x, box.y, *scales, width, height, at_once=_THUMBNAIL_PARTS)

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return (height, width, 3) uint8 RGB of a part of one level as it is stored, for viewers.

        ``x`` and ``y`` are pixels of that level; what hangs over its edges is white.
        """
        level = whole("level", level, 0, len(self.levels) - 1)
        x, y = whole("x", x), whole("y", y)
        width, height = whole("width", width, 0), whole("height", height, 0)
        return self._reader.read_level(level, x, y, width, height)

    def best_level(self, downsample: float) -> int:
        """Return the index of the coarsest level that is not coarser than ``downsample`` (up to 1 %)."""
        fitting = [
            i for i, level in enumerate(self.levels) if level.downsample <= downsample * (1 + LEVEL_TOLERANCE)
        ]
        return max(fitting, key=lambda i: self.levels[i].downsample, default=0)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        width, height = self.dimensions
        return f"Slide({str(self.path)!r}, {width} × {height}, mpp={self.mpp}, {self.format})"

    def _resampled(
        self, x: float, y: float, scale_x: float, scale_y: float, width: int, height: int, at_once: int = 1
    ) -> NDArray[np.uint8]:
        """Return (height, width, 3); column *j* covers level-0 ``x + j * scale_x … + scale_x``."""
        index = self.best_level(min(scale_x, scale_y))
        level = self.levels[index]
        across = Axis(x / level.downsample, scale_x / level.downsample, width, level.width)
        down = Axis(y / level.downsample, scale_y / level.downsample, height, level.height)
        if across.aligned and down.aligned:
            return self._reader.read_level(index, round(across.start), round(down.start), width, height)
        result = np.full((height, width, 3), 255, np.uint8)
        columns, rows = across.inside(), down.inside()
        wide, high = self._part_size(level, across, down, len(columns), len(rows), at_once)

        def fill(place: tuple[int, int]) -> None:
            left, top = place
            right, bottom = min(left + wide, columns.stop), min(top + high, rows.stop)
            result[top:bottom, left:right] = self._resample_part(
                index, across, down, range(left, right), range(top, bottom)
            )

        places = [(x, y) for y in range(rows.start, rows.stop, high) for x in columns[::wide]]
        if at_once == 1 or len(places) < 2:
            for place in places:
                fill(place)
        else:
            with ThreadPoolExecutor(at_once, thread_name_prefix="wsss-thumbnail") as pool:
                list(pool.map(fill, places))
        return result

    def _part_size(
        self, level: Level, across: Axis, down: Axis, columns: int, rows: int, at_once: int
    ) -> tuple[int, int]:
        """Return width and height, in pixels of the result, of the parts in which a region is read."""
        if not (columns and rows):
            return 1, 1
        pixels = MAX_PIXELS_PER_READ // at_once
        if columns * across.step * rows * down.step <= pixels:
            return columns, -(-rows // at_once)
        stored_as_strips = level.tile is not None and level.tile[0] >= level.width
        # Strips want full width: every other cut would decode each strip once per part.
        wide = columns if stored_as_strips else max(1, int(math.sqrt(pixels) / across.step))
        wide = min(wide, columns)
        return wide, max(1, int(pixels / (wide * across.step) / down.step))

    def _resample_part(
        self, index: int, across: Axis, down: Axis, columns: range, rows: range
    ) -> NDArray[np.uint8]:
        """Read and resample one part that holds only pixels whose centre lies on the slide."""
        left, right = across.source(columns)
        top, bottom = down.source(rows)
        inside = Box(left, top, right - left, bottom - top).intersection(
            Box(0, 0, across.extent, down.extent)
        )
        pixels = self._reader.read_level(index, inside.x, inside.y, inside.width, inside.height)
        if (inside.width, inside.height) != (right - left, bottom - top):
            # Beyond the edge of the slide the last line goes on: white there would bleed into the picture.
            margins = (
                (inside.y - top, bottom - inside.bottom),
                (inside.x - left, right - inside.right),
                (0, 0),
            )
            pixels = np.pad(pixels, margins, mode="edge")
        return resample(pixels, across, down, columns, rows)


def _is_news(weighed: WeighedStatement) -> bool:
    """Say whether a user should hear of a statement that was not believed: print resolutions are everywhere."""
    if weighed.verdict == "not understood":
        return bool(weighed.statement.problem)
    return weighed.verdict == "not believed" and weighed.statement.speaks_of is not None


def _doubt(weighed: WeighedStatement) -> str:
    return f"{weighed.statement.source} was {weighed.verdict}: {weighed.reason}."


def _quick_hash(files: tuple[Path, ...], piece: int = 1 << 16) -> str:
    """Return a SHA-256 over the size and both ends of every file: tells slides apart without reading them."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode("utf-8", "surrogateescape"))
        with file.open("rb") as stream:
            digest.update(stream.read(piece))
            stream.seek(max(0, size - piece))
            digest.update(stream.read(piece))
    return digest.hexdigest()
