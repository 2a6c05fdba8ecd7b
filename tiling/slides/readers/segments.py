"""Levels stored as tiles, strips or chunks: assemble regions from pieces, decoding only those that are needed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiling.byte_cache import ByteCache
from tiling.errors import SlideError
from tiling.files import unreadable
from tiling.geometry import Box
from tiling.slides.level import ALONE_BYTES, Level
from tiling.slides.statements import Statement

__all__ = ["CACHE_BYTES", "MAX_SEGMENT_BYTES", "SegmentReader", "cache_bytes"]

CACHE_BYTES = 64 << 20
"""Decoded pixels that one open slide keeps at least, whatever its format: part of the engine's memory formula."""

_MOST_CACHE_BYTES = 256 << 20

_ROW_PIXELS = 512
"""Lines of a level that one row of tiles looks at; more only where levels lie far apart."""

MAX_SEGMENT_BYTES = 512 << 20
"""Largest single piece that is decoded; a level stored as one larger piece is refused."""


FAR_REQUESTS = 16
"""Pieces that are asked for at once where each takes its way through a network."""

FAR_CACHE_BYTES = 1 << 30
"""Decoded pixels that are kept of such a slide at most."""

Key = tuple[int, int, int]
"""Level, column and row of a piece."""


def cache_bytes(levels: Sequence[Level], per_pixel: int = 3) -> int:
    """Return how many bytes of decoded pieces an open slide should keep.

    A run reads a slide row by row, and most rows end within pieces that the next one needs again. Which has been left
    alone longest is thrown away first: when the pieces of one row do not fit, each is gone just before it is wanted,
    and all are decoded two to four times.

    Parameters
    ----------
    levels : sequence of Level
    per_pixel : int
        Bytes of a decoded pixel.

    Returns
    -------
    int
        Those of a row of tiles; :data:`CACHE_BYTES` where these are fewer, or so many that keeping them costs more
        than decoding them again.
    """
    rows = [_row_bytes(level, per_pixel) for level in levels]
    return max([CACHE_BYTES, *(needed for needed in rows if needed <= _MOST_CACHE_BYTES)])


def _row_bytes(level: Level, per_pixel: int) -> int:
    """Return the bytes of all pieces of a level that a row of tiles may touch."""
    if level.tile is None:
        return 0
    wide, high = level.tile
    rows = min(1 + -(-_ROW_PIXELS // high), -(-level.height // high))
    return per_pixel * rows * high * -(-level.width // wide) * wide


class SegmentReader(ABC):
    """A :class:`tiling.slides.level.LevelReader` for formats that store each level as a grid of pieces.

    A subclass fills the attributes and implements :meth:`decode`; ``Level.tile`` is the size of a piece.

    Parameters
    ----------
    path : Path
    levels : tuple of Level
    """

    format = ""
    vendor = ""
    fingerprint = ""
    path: Path
    bounds: Box
    statements: tuple[Statement, ...] = ()
    icc_profile: bytes | None = None
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def __init__(self, path: Path, levels: tuple[Level, ...]) -> None:
        self.path, self.levels = path, levels
        # A piece that is larger is kept alone: reading it twice in a row is the common case.
        self.cache: ByteCache[Key] = ByteCache(cache_bytes(levels), alone=True)
        self._alone = threading.Lock()
        self._far: ThreadPoolExecutor | None = None
        self._asked: dict[Key, Future[NDArray[np.uint8]]] = {}
        self._asking = threading.Lock()

    def read_from_afar(self) -> None:
        """Ask for all pieces of a region at once, for none twice, and keep those that the next tile row needs, too.

        For slides behind a network; called when the levels are known.
        """
        row = max(_row_bytes(level, 3) for level in self.levels)
        self.cache = ByteCache(max(CACHE_BYTES, min(row, FAR_CACHE_BYTES)), alone=True)
        self._far = ThreadPoolExecutor(FAR_REQUESTS, thread_name_prefix="wsss-far")

    @property
    def held_bytes(self) -> int:
        """Bytes of the cache, which keeps one piece however large it is, and of what is under way."""
        largest = max(_bytes(level) for level in self.levels)
        under_way = 2 * FAR_REQUESTS * largest if self._far and largest <= ALONE_BYTES else 0
        return max(self.cache.capacity, largest) + under_way

    @abstractmethod
    def decode(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Return piece (column, row) of a level: (h, w, 3) uint8, at least what the level has there.

        Called by several threads at once. Any exception means that the piece cannot be read.
        """

    def close(self) -> None:
        """Free the file; a second call does nothing."""
        if self._far is not None:
            self._far.shutdown(cancel_futures=True)
            self._far = None
        self.cache.forget()

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a part of one level, (height, width, 3) uint8, white where the level has no pixels."""
        info = self.levels[level]
        assert info.tile is not None
        wide, high = info.tile
        inside = Box(x, y, width, height).intersection(Box(0, 0, info.width, info.height))
        whole = inside == Box(x, y, width, height)
        result = (
            np.empty((height, width, 3), np.uint8) if whole else np.full((height, width, 3), 255, np.uint8)
        )
        if inside.is_empty:
            return result
        rows = range(inside.y // high, (inside.bottom - 1) // high + 1)
        columns = range(inside.x // wide, (inside.right - 1) // wide + 1)
        keys = [(level, column, row) for row in rows for column in columns]
        for (_, column, row), piece in zip(keys, self._pieces(keys), strict=True):
            part = Box(column * wide, row * high, wide, high).intersection(inside)
            left, top = part.x - column * wide, part.y - row * high
            result[part.y - y : part.bottom - y, part.x - x : part.right - x] = piece[
                top : top + part.height, left : left + part.width
            ]
        return result

    def _pieces(self, keys: Sequence[Key]) -> Iterator[NDArray[np.uint8]]:
        """Yield pieces of one level in order: from near one by one, from afar with all asked for at once."""
        if self._far is None or _bytes(self.levels[keys[0][0]]) > ALONE_BYTES:
            yield from map(self._segment, keys)
        else:
            asked = [self._ask(self._far, key) for key in keys]
            for one in asked:
                try:
                    yield one.result()
                except CancelledError as error:
                    raise SlideError(f"{self.path} was closed while it was being read.") from error

    def _ask(self, far: ThreadPoolExecutor, key: Key) -> Future[NDArray[np.uint8]]:
        """Return the promise of a piece: one that is kept already, one under way for whoever asked, or a new one."""
        with self._asking:
            piece, asked = self.cache.get(key), self._asked.get(key)
            if piece is not None:
                kept: Future[NDArray[np.uint8]] = Future()
                kept.set_result(piece)
                return kept
            if asked is None:
                asked = self._asked[key] = far.submit(self._fetched, key)
            return asked

    def _fetched(self, key: Key) -> NDArray[np.uint8]:
        try:
            return self._decoded(key)
        finally:
            with self._asking:
                self._asked.pop(key, None)

    def _segment(self, key: Key) -> NDArray[np.uint8]:
        """Return a piece from the cache or the file."""
        piece = self.cache.get(key)
        if piece is None and _bytes(self.levels[key[0]]) > ALONE_BYTES:
            with self._alone:
                piece = self.cache.get(key)
                return self._decoded(key) if piece is None else piece
        return self._decoded(key) if piece is None else piece

    def _decoded(self, key: Key) -> NDArray[np.uint8]:
        """Decode a piece, and keep it."""
        try:
            piece = self.decode(*key)
        except SlideError:
            raise
        # Decoders raise whatever their codec feels like: all of it means that this piece is unreadable.
        except Exception as error:
            where = f"{self.path} cannot be read at level {key[0]}, piece {key[1]}, {key[2]}"
            damaged = f"{where}: {error}; the file is damaged, copy or export it again."
            raise unreadable(self.path, error, damaged) from error
        self.cache.put(key, piece)
        return piece


def _bytes(level: Level) -> int:
    """Return the bytes of one decoded piece of a level."""
    assert level.tile is not None
    return 3 * level.tile[0] * level.tile[1]
