"""A synthetic slide on disk: a pyramidal tiled TIFF, written in strips so that no level is ever whole in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from tiling.errors import DataError
from tiling.synthetic.slide import DEMO, SYNTHETIC_SCHEMA, SyntheticSlide

__all__ = ["write_slide"]

_STRIP = 512
"""Lines painted at a time: one row of the slide's own blocks."""

_Pixels = NDArray[np.uint8]


def _box_mean(image: _Pixels) -> _Pixels:
    """Halve an image of even height and any width by averaging 2 × 2 pixels."""
    even = image[:, : image.shape[1] // 2 * 2].astype(np.uint16)
    lines = even[0::2] + even[1::2]
    return ((lines[:, 0::2] + lines[:, 1::2] + 2) >> 2).astype(np.uint8)


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


class _Level:
    """One level that streams through: its tiles go to the file, its halved strips to the next level."""

    def __init__(
        self, strips: Callable[[], Iterator[_Pixels]], tile: int, halve: Callable[[_Pixels], _Pixels]
    ) -> None:
        self._strips, self._tile, self._halve = strips, tile, halve

    def tiles(self, below: _Pixels | None) -> Iterator[_Pixels]:
        """Yield the tiles and fill ``below``, the next level's pixels, on the way."""
        line = 0
        for strip in self._strips():
            yield from _tiles(strip, self._tile)
            if below is not None:
                half = self._halve(strip[: len(strip) // 2 * 2])
                half = half[: len(below) - line]
                below[line : line + len(half)] = half
                line += len(half)


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
    """Write all levels of ``read(y, lines)``; the pixels of lower levels wait in temporary files beside the slide."""
    height, width = shape[:2]
    sizes = _level_sizes(width, height, 2 * tile)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent))
        )
        partial = folder / "slide.tif"
        writer = stack.enter_context(tifffile.TiffWriter(partial, bigtiff=height * width > 1 << 30))

        def strips(source: Callable[[int, int], _Pixels], lines: int, report: bool) -> Iterator[_Pixels]:
            for y in range(0, lines, _STRIP):
                count = min(_STRIP, lines - y)
                yield source(y, count)
                if report and on_strip is not None:
                    on_strip(y + count, lines)

        source, above = read, None
        for number, (w, h) in enumerate(sizes):
            below: Any = None
            if number + 1 < len(sizes):
                next_w, next_h = sizes[number + 1]
                below = np.memmap(
                    folder / f"{number + 1}.raw", np.uint8, "w+", shape=(next_h, next_w, *shape[2:])
                )
            level = _Level(lambda s=source, n=h, r=not number: strips(s, n, r), tile, halve)  # type: ignore[misc]
            writer.write(
                level.tiles(below),
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
                above.unlink()
            if below is not None:
                above = folder / f"{number + 1}.raw"
                source = lambda y, n, b=below: np.asarray(b[y : y + n])  # noqa: E731
        writer.close()
        partial.replace(path)


def write_slide(
    path: str | os.PathLike[str],
    slide: SyntheticSlide = DEMO,
    *,
    truth: str | os.PathLike[str] | None = None,
    tile: int = 256,
    compression: Literal["jpeg", "zlib"] = "jpeg",
    quality: int = 90,
    on_strip: Callable[[int, int], None] | None = None,
) -> None:
    """Write a slide as a pyramidal tiled TIFF that OpenSlide reads as ``generic-tiff``, with its mpp.

    Memory grows with the slide's width only (about 512 lines of pixels); the pixels of the lower levels are kept in
    temporary files beside the slide, a third of its uncompressed size. The file appears under its name when it is complete.

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
    quality : int
        JPEG quality, 1 to 100.
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
        colour["compressionargs"] = {"level": quality}
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
        try:
            _write_pyramid(Path(target), read, shape, slide.mpp, tile, halve, report, options)
        except OSError as error:
            raise DataError(
                f"The synthetic slide {os.fspath(target)!r} cannot be written ({error.strerror or error}); "
                "choose another place."
            ) from error
