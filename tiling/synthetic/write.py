"""A synthetic slide on disk: a pyramidal tiled TIFF, written in strips never whole in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from tiling.errors import DataError, disk_errors_as
from tiling.synthetic.slide import DEMO, SYNTHETIC_SCHEMA, SyntheticSlide

__all__ = ["write_slide"]

_STRIP = 512
"""Lines painted at a time: one row of the slide's own blocks."""

_Pixels = NDArray[np.uint8]


def _box_mean(image: _Pixels) -> _Pixels:
    """Halve an image of even height and any width by averaging 2 × 2 pixels."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    half = np.empty((height, width, *image.shape[2:]), np.uint8)
    # In pieces of the width: the wider sums of a whole strip would need several times its memory.
    for x in range(0, width, 2048):
        part = image[:, 2 * x : 2 * min(x + 2048, width)]
        lines = np.add(part[0::2], part[1::2], dtype=np.uint16)
        half[:, x : x + 2048] = (lines[:, 0::2] + lines[:, 1::2] + 2) >> 2
    return half


def _nearest(labels: _Pixels) -> _Pixels:
    """Halve a label image by keeping every other pixel: never a label that was not there."""
    return labels[0::2, : labels.shape[1] // 2 * 2 : 2]


def _level_sizes(width: int, height: int, smallest: int) -> list[tuple[int, int]]:
    """Return (width, height) of each level, halved until both sides are at most ``smallest``."""
    sizes = [(width, height)]
    while max(sizes[-1]) > smallest and min(sizes[-1]) >= 2:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def _tiles(strip: _Pixels, tile: int) -> Iterator[_Pixels]:
    """Cut a strip into whole tiles, line by line; tiles at the edge repeat their last pixel."""
    height, width = strip.shape[:2]
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            part = strip[y : y + tile, x : x + tile]
            missing = [(0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)][: part.ndim]
            yield np.pad(part, missing, mode="edge") if any(after for _, after in missing) else part


class _Spool:
    """Lines of pixels that wait on disk: written once in order, read once in order.

    Plain files, not memory maps: those would count as this process's memory until the system takes them back.
    """

    def __init__(self, path: Path, width: int, height: int, bands: tuple[int, ...]) -> None:
        self._path, self._height, self._line = path, height, (width, *bands)
        self._bytes = int(np.prod(self._line))
        self._written = 0

    def append(self, lines: _Pixels) -> None:
        """Add lines; those beyond the height are dropped."""
        lines = lines[: self._height - self._written]
        with self._path.open("ab") as file:
            file.write(np.ascontiguousarray(lines).tobytes())
        self._written += len(lines)

    def read(self, y: int, count: int) -> _Pixels:
        """Return ``count`` lines from line ``y``."""
        pixels = np.fromfile(self._path, np.uint8, count * self._bytes, offset=y * self._bytes)
        return pixels.reshape(count, *self._line)

    def remove(self) -> None:
        """Delete the lines."""
        self._path.unlink()


def _stream(
    read: Callable[[int, int], _Pixels],
    height: int,
    tile: int,
    halve: Callable[[_Pixels], _Pixels],
    below: _Spool | None,
    on_strip: Callable[[int, int], None] | None,
) -> Iterator[_Pixels]:
    """Yield the tiles of one level and put the next level's pixels into ``below`` on the way."""
    for y in range(0, height, _STRIP):
        strip = read(y, min(_STRIP, height - y))
        # All before the tiles: the writer stops asking after the last tile, and what came later would not be run.
        if below is not None:
            below.append(halve(strip[: len(strip) // 2 * 2]))
        if on_strip is not None:
            on_strip(y + len(strip), height)
        yield from _tiles(strip, tile)


def _write_pyramid(
    path: Path,
    read: Callable[[int, int], _Pixels],
    shape: tuple[int, ...],
    mpp: float,
    tile: int,
    halve: Callable[[_Pixels], _Pixels],
    on_strip: Callable[[int, int], None] | None,
    options: dict[str, Any],
) -> None:
    """Write all levels of ``read(y, lines)``; lower levels wait in temporary files beside the slide."""
    height, width = shape[:2]
    sizes = _level_sizes(width, height, 2 * tile)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = Path(folder, "slide.tif")
        with tifffile.TiffWriter(partial, bigtiff=height * width > 1 << 30) as writer:
            above: _Spool | None = None
            for number, (w, h) in enumerate(sizes):
                below = None
                if number + 1 < len(sizes):
                    below = _Spool(Path(folder, f"level-{number + 1}"), *sizes[number + 1], shape[2:])
                source = read if above is None else above.read
                writer.write(
                    _stream(source, h, tile, halve, below, None if number else on_strip),
                    shape=(h, w, *shape[2:]),
                    dtype=np.uint8,
                    tile=(tile, tile),
                    subfiletype=1 if number else 0,
                    resolution=(1e4 / mpp * w / width, 1e4 / mpp * h / height),
                    resolutionunit="CENTIMETER",
                    metadata=None,
                    software="napari-wsss synthetic tissue",
                    # Otherwise up to 256 MB of tiles are collected before they are compressed.
                    buffersize=1 << 24,
                    **options,
                )
                if above is not None:
                    above.remove()
                above = below
        partial.replace(path)


def write_slide(
    path: str | os.PathLike[str],
    slide: SyntheticSlide = DEMO,
    *,
    truth: str | os.PathLike[str] | None = None,
    tile: int = 256,
    compression: Literal["jpeg", "zlib"] = "jpeg",
    on_strip: Callable[[int, int], None] | None = None,
) -> None:
    """Write a slide as a pyramidal tiled TIFF that OpenSlide reads as ``generic-tiff``, with its mpp.

    Memory grows with the slide's width only (about 512 lines of pixels); the pixels of the lower levels are kept in
    temporary files beside the slide, a third of its uncompressed size at most. The file appears under its name when
    it is complete.

    Parameters
    ----------
    path : path
        File to write; folders are made.
    slide : SyntheticSlide
        For slides of many gigapixels use its cheap mode, ``repeat``.
    truth : path, optional
        Also write the true store labels, as a pyramidal lossless TIFF with the schema's colours.
    tile : int
        Side of a tile in pixels, a multiple of 16.
    compression : "jpeg" or "zlib"
        Real slides are JPEG; zlib is lossless.
    on_strip : callable, optional
        Called as ``on_strip(lines done, lines)`` while the finest level is painted.

    Raises
    ------
    ValueError
        When the tile size is not possible.
    DataError
        When the file cannot be written.
    """
    if tile < 16 or tile % 16 or _STRIP % tile:
        raise ValueError(f"the side of a tile must be a multiple of 16 that divides {_STRIP}, not {tile}")
    colour: dict[str, Any] = {"photometric": "rgb", "compression": compression}
    if compression == "jpeg":
        colour["compressionargs"] = {"level": 90}
    else:
        colour["predictor"] = True
    palette = np.zeros((3, 256), np.uint16)
    palette[:, : len(SYNTHETIC_SCHEMA) + 1] = SYNTHETIC_SCHEMA.palette.T.astype(np.uint16) * 257
    indexed = {"photometric": "palette", "colormap": palette, "compression": "zlib"}
    width, height = slide.dimensions
    jobs: list[tuple[Any, ...]] = [
        (path, lambda y, n: slide.render(0, y, width, n), (height, width, 3), _box_mean, on_strip, colour)
    ]
    if truth is not None:
        jobs.append(
            (truth, lambda y, n: slide.truth(0, y, width, n), (height, width), _nearest, None, indexed)
        )
    for target, read, shape, halve, report, options in jobs:
        what = f"The synthetic slide {os.fspath(target)!r} cannot be written"
        with disk_errors_as(DataError, what, "choose another place"):
            _write_pyramid(Path(target), read, shape, slide.mpp, tile, halve, report, options)
