"""Slide levels as arrays that napari can slice: lazy, cached, and small enough at the coarse end to sit in memory."""

from __future__ import annotations

import itertools
import logging
import warnings
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from napari_wsss.backends import HAND
from napari_wsss.plugin.view.look_ahead import LookAhead
from tiling.address import is_address
from tiling.byte_cache import ByteCache
from tiling.errors import SlideError
from tiling.geometry import Box
from tiling.slides import Slide

__all__ = ["COARSEST_MAX", "OpenSlide", "Resident", "SlideLevel", "ZoomLevel", "resident", "slide_pyramid"]

COARSEST_MAX = 2048
"""Longest side in pixels of the level that is held in memory."""

TILE = 512
MAX_PIXELS = 160_000_000
"""Pixels that one request may decode: a 4K canvas at the end of a factor-4 pyramid step needs 133 million."""

ZOOM_PIXELS = 48_000_000
"""Source pixels that a made-up level may decode for one view before it falls back on the overview."""

UNREADABLE = np.array([232, 200, 232], np.uint8)
"""What an unreadable tile looks like: a colour that is neither tissue nor glass."""

TileCache = ByteCache[tuple[int, int, int, int]]
"""Decoded tiles by owner, level, row and column."""

SHARED_CACHE: TileCache = ByteCache(256 * 2**20)
"""Of all slides of a session, so that ten open slides cost as much memory as one."""

LOOK_AHEAD = LookAhead()
"""Decodes the tiles around the view while somebody moves it."""

MOST_AHEAD = 32
"""Tiles around a view that are decoded ahead; around a view that has more nothing is."""

_log = logging.getLogger(__name__)
_owners = itertools.count()


class _LazyLevel:
    """What napari asks of an array: shape, dtype, chunks, slices. Sub-classes provide ``_read``."""

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, height: int, width: int) -> None:
        self.shape = (height, width, 3)
        self.size = height * width * 3
        self.chunks = (min(TILE, height), min(TILE, width), 3)

    def _read(self, box: Box) -> NDArray[np.uint8]:
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        rows, columns, channels = _full_key(key)
        box, rest = _box_and_rest(rows, columns, self.shape)
        pixels = self._read(box)
        picked: NDArray[np.uint8] = pixels[(*rest, channels)]
        return picked

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a slide level cannot become an array without a copy")
        pixels = self[:, :, :]
        return pixels if dtype is None else pixels.astype(dtype)


def _full_key(key: Any) -> tuple[Any, Any, Any]:
    """Write an index out as (rows, columns, channels)."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(part is Ellipsis for part in parts):
        at = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts[at : at + 1] = [slice(None)] * (4 - len(parts))
    parts += [slice(None)] * (3 - len(parts))
    if len(parts) != 3 or any(part is Ellipsis for part in parts):
        raise IndexError(f"a slide level has 3 axes, the index {key!r} does not fit")
    return parts[0], parts[1], parts[2]


def _box_and_rest(rows: Any, columns: Any, shape: tuple[int, int, int]) -> tuple[Box, tuple[Any, Any]]:
    """Split an index into the box to read and what is left to do on the pixels read."""
    starts: list[int] = []
    lengths: list[int] = []
    rest: list[Any] = []
    for part, length in ((rows, shape[0]), (columns, shape[1])):
        if isinstance(part, slice):
            start, stop, step = part.indices(length)
            indices = range(start, stop, step)
            if not indices:
                starts.append(0)
                lengths.append(0)
                rest.append(slice(None))
                continue
            first, last = min(indices[0], indices[-1]), max(indices[0], indices[-1])
            starts.append(first)
            lengths.append(last - first + 1)
            rest.append(slice(None, None, step))
        else:
            index = int(part)
            if not -length <= index < length:
                raise IndexError(f"index {index} is outside an axis of {length} pixels")
            starts.append(index % length)
            lengths.append(1)
            rest.append(0)
    return Box(starts[1], starts[0], lengths[1], lengths[0]), (rest[0], rest[1])


class SlideLevel(_LazyLevel):
    """One level of a slide as an (height, width, 3) uint8 array that reads only what is sliced.

    Parameters
    ----------
    source : OpenSlide
        The slide; it stays open as long as this level is used.
    level : int
        Level number, 0 is the finest.
    """

    def __init__(self, source: OpenSlide, level: int) -> None:
        # napari places a level by the ratio of the shapes. The level's own size may be some pixels off (cut by the
        # scanner, or camera fields that overlap); this size makes the ratio the true downsample.
        downsample = source.slide.levels[level].downsample
        width, height = source.slide.dimensions
        super().__init__(max(1, round(height / downsample)), max(1, round(width / downsample)))
        self._source = source
        self._level = level
        self._warned = False

    def _read(self, box: Box) -> NDArray[np.uint8]:
        if box.width * box.height > MAX_PIXELS:
            raise SlideError(
                f"{self._source.slide.path}: {box.width} × {box.height} pixels at once are more than fit in memory; "
                "slice a smaller part or use a coarser level."
            )
        out = np.empty((box.height, box.width, 3), np.uint8)
        rows, columns = (
            range(box.y // TILE, -(-box.bottom // TILE)),
            range(box.x // TILE, -(-box.right // TILE)),
        )
        for row, column in itertools.product(rows, columns):
            area = Box(column * TILE, row * TILE, TILE, TILE)
            part = area.intersection(box)
            tile = self._tile(row, column)
            out[part.y - box.y : part.bottom - box.y, part.x - box.x : part.right - box.x] = tile[
                part.y - area.y : part.bottom - area.y, part.x - area.x : part.right - area.x
            ]
        if HAND.is_moving and not is_address(self._source.slide.path):
            self._look_ahead(rows, columns)
        return out

    def _look_ahead(self, rows: range, columns: range) -> None:
        """Let the tiles around those be decoded: the next move may show them."""
        height, width = -(-self.shape[0] // TILE), -(-self.shape[1] // TILE)
        around = [
            (row, column)
            for row in range(max(0, rows.start - 1), min(height, rows.stop + 1))
            for column in range(max(0, columns.start - 1), min(width, columns.stop + 1))
            if not (row in rows and column in columns)
        ]
        if len(around) <= MOST_AHEAD:
            LOOK_AHEAD.want([partial(self._tile_ahead, row, column) for row, column in around])

    def _tile_ahead(self, row: int, column: int) -> None:
        try:
            self._cached(row, column)
        except SlideError as error:  # said when it comes into view
            _log.debug("unreadable tile ahead: %s", error)

    def _tile(self, row: int, column: int) -> NDArray[np.uint8]:
        try:
            return self._cached(row, column)
        except SlideError as error:
            self._warn_once(error)
        tile = np.broadcast_to(UNREADABLE, self._size(row, column))
        self._source.cache.put(self._key(row, column), tile)
        return tile

    def _cached(self, row: int, column: int) -> NDArray[np.uint8]:
        key = self._key(row, column)
        tile = self._source.cache.get(key)
        if tile is None:
            height, width, _ = self._size(row, column)
            tile = self._source.slide.read_level(self._level, column * TILE, row * TILE, width, height)
            self._source.cache.put(key, tile)
        return tile

    def _key(self, row: int, column: int) -> tuple[int, int, int, int]:
        return self._source.owner, self._level, row, column

    def _size(self, row: int, column: int) -> tuple[int, int, int]:
        return min(TILE, self.shape[0] - row * TILE), min(TILE, self.shape[1] - column * TILE), 3

    def _warn_once(self, error: SlideError) -> None:
        _log.warning("unreadable tile: %s", error)
        if not self._warned:
            self._warned = True
            warnings.warn(f"Parts of the slide cannot be read and are shown in mauve: {error}", stacklevel=2)


class ZoomLevel(_LazyLevel):
    """A made-up level between two far-apart ones, for display only.

    A scan with one level (or a step of more than 5 between two) would make napari decode hundreds of megapixels for
    a half-zoomed view. This level reads them while that is affordable and shows the enlarged overview otherwise.

    Parameters
    ----------
    fine : SlideLevel
        The level to shrink.
    factor : int
        How much smaller this level is.
    overview : (h, w, 3) uint8
        The coarsest level.
    """

    def __init__(self, fine: SlideLevel, factor: int, overview: NDArray[np.uint8]) -> None:
        super().__init__(-(-fine.shape[0] // factor), -(-fine.shape[1] // factor))
        self._fine = fine
        self._factor = factor
        self._overview = overview

    def _read(self, box: Box) -> NDArray[np.uint8]:
        if box.is_empty:
            return np.empty((box.height, box.width, 3), np.uint8)
        k = self._factor
        if box.width * box.height * k * k <= ZOOM_PIXELS:
            pixels = self._fine[box.y * k : box.bottom * k, box.x * k : box.right * k]
            return _resize(pixels, box.width, box.height)
        sy, sx = (self._overview.shape[i] / self.shape[i] for i in (0, 1))
        area = (box.x * sx, box.y * sy, box.right * sx, box.bottom * sy)
        return _resize(self._overview, box.width, box.height, area)


def _resize(
    pixels: NDArray[np.uint8],
    width: int,
    height: int,
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.uint8]:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX, box=box))


class Resident(np.ndarray[Any, np.dtype[Any]]):
    """An array in memory that calls itself one chunk.

    napari reads whole chunks and keeps what it has read: without this it cuts the coarsest level anew and sends it
    to the graphics card at every step of a pan.
    """

    @property
    def chunks(self) -> tuple[int, ...]:
        """The whole."""
        return tuple(int(side) for side in self.shape)


def resident(array: NDArray[Any]) -> Resident:
    """Return the same memory as a level that napari loads once; later changes in place are seen."""
    return array.view(Resident)


class OpenSlide:
    """A slide as long as some level of it is used: then it is closed and its tiles are forgotten.

    Parameters
    ----------
    slide : Slide
    cache : TileCache
        Where its decoded tiles are kept.
    """

    def __init__(self, slide: Slide, cache: TileCache) -> None:
        self.slide = slide
        self.cache = cache
        self.owner = next(_owners)
        weakref.finalize(self, _release, slide, cache, self.owner)


def _release(slide: Slide, cache: TileCache, owner: int) -> None:
    slide.close()
    cache.forget(lambda key: key[0] == owner)


def overview_of(slide: Slide, lazy: Sequence[SlideLevel], coarsest_max: int) -> NDArray[np.uint8]:
    """Return the whole level-0 frame of a slide as a small picture, white outside the scanned bounds.

    Parameters
    ----------
    slide : Slide
        The slide.
    lazy : sequence of SlideLevel
        Its levels: they show unreadable parts as such where the slide's own thumbnail gives up.
    coarsest_max : int
        Longest side of the result in pixels.

    Returns
    -------
    (h, w, 3) uint8
    """
    full_width, full_height = slide.dimensions
    factor = max(1.0, max(full_width, full_height) / coarsest_max)
    height, width = max(1, round(full_height / factor)), max(1, round(full_width / factor))
    bounds = slide.bounds
    left, top = round(bounds.x / factor), round(bounds.y / factor)
    inner_width = max(1, min(width, round(bounds.right / factor)) - left)
    inner_height = max(1, min(height, round(bounds.bottom / factor)) - top)
    try:
        inner = slide.thumbnail(max(inner_width, inner_height))
    except SlideError as error:
        _log.warning("no thumbnail: %s", error)
        smallest = lazy[-1]
        if smallest.size > 3 * MAX_PIXELS:
            return np.full((height, width, 3), UNREADABLE, np.uint8)
        return _resize(smallest[:, :], width, height)
    if inner.shape[:2] != (inner_height, inner_width):
        inner = _resize(inner, inner_width, inner_height)
    if inner.shape[:2] == (height, width):
        return np.ascontiguousarray(inner)
    out = np.full((height, width, 3), 255, np.uint8)
    out[top : top + inner_height, left : left + inner_width] = inner
    return out


def slide_pyramid(
    slide: Slide, cache: TileCache = SHARED_CACHE, coarsest_max: int = COARSEST_MAX
) -> list[Any]:
    """Return the levels of a slide in the form that napari's multiscale layers want.

    napari reads the coarsest level completely and at once when the layer is added, and keeps it. So that level is
    always a small array in memory, made by the slide's own streamed thumbnail.

    Parameters
    ----------
    slide : Slide
        The slide; the levels close it when the last of them is collected.
    cache : TileCache
        Where decoded tiles are kept.
    coarsest_max : int
        Longest side of the level in memory, in pixels.

    Returns
    -------
    list of arrays
        Arrays of shape (h, w, 3) uint8, finest first; the last is an ``ndarray``.
    """
    source = OpenSlide(slide, cache)
    lazy = [SlideLevel(source, k) for k in range(len(slide.levels))]
    large = [level for level in lazy if max(level.shape[:2]) > coarsest_max] or lazy[:1]
    overview = overview_of(slide, lazy, coarsest_max)
    levels: list[Any] = []
    for level, below in itertools.zip_longest(large, large[1:], fillvalue=overview):
        assert isinstance(level, SlideLevel)
        levels.append(level)
        factor = 4
        while level.shape[0] / factor > 1.25 * below.shape[0] and level.shape[0] / below.shape[0] > 5:
            levels.append(ZoomLevel(level, factor, overview))
            factor *= 4
    if levels[-1].shape == overview.shape:
        levels.pop()
    return [*levels, resident(overview)]
