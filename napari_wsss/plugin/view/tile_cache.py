"""A thread-safe cache of decoded slide tiles that never holds more than a stated number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHARED_CACHE", "TileCache"]


class TileCache:
    """Least-recently-used tiles, bounded by their bytes.

    All slides of a session share one cache, so that ten open slides cost as much memory as one.

    Parameters
    ----------
    max_bytes : int
        Upper bound of the bytes held; a tile larger than this is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._bytes = 0
        self._tiles: OrderedDict[tuple[Hashable, Hashable], NDArray[np.uint8]] = OrderedDict()
        self._lock = Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes of the tiles held now."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._tiles)

    def get(self, owner: Hashable, key: Hashable) -> NDArray[np.uint8] | None:
        """Return a tile and mark it as used, or ``None`` when it is not held."""
        with self._lock:
            tile = self._tiles.get((owner, key))
            if tile is not None:
                self._tiles.move_to_end((owner, key))
            return tile

    def put(self, owner: Hashable, key: Hashable, tile: NDArray[np.uint8]) -> None:
        """Keep a tile, dropping the least recently used ones to make room."""
        with self._lock:
            old = self._tiles.pop((owner, key), None)
            if old is not None:
                self._bytes -= old.nbytes
            if tile.nbytes > self.max_bytes:
                return
            self._tiles[owner, key] = tile
            self._bytes += tile.nbytes
            while self._bytes > self.max_bytes:
                _, dropped = self._tiles.popitem(last=False)
                self._bytes -= dropped.nbytes

    def drop_owner(self, owner: Hashable) -> None:
        """Forget all tiles of one owner (its slide was closed)."""
        with self._lock:
            for key in [key for key in self._tiles if key[0] == owner]:
                self._bytes -= self._tiles.pop(key).nbytes


SHARED_CACHE = TileCache(256 * 2**20)
