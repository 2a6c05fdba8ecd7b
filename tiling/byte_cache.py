"""The one cache of decoded pixels: least recently used arrays, never more than a stated number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["ByteCache"]

K = TypeVar("K", bound=Hashable)


class ByteCache(Generic[K]):
    """Arrays by key; safe for threads.

    Parameters
    ----------
    capacity : int
        Bytes.
    alone : bool
        Whether an array larger than the capacity is kept, alone; else it is not kept at all.
    """

    def __init__(self, capacity: int, *, alone: bool = False) -> None:
        self.capacity = capacity
        self._alone = alone
        self._used = 0
        self._items: OrderedDict[K, NDArray[Any]] = OrderedDict()
        self._lock = Lock()

    @property
    def used(self) -> int:
        """Bytes held now."""
        return self._used

    def get(self, key: K) -> NDArray[np.uint8] | None:
        """Return an array and mark it as used; None when it is not (or no longer) here."""
        with self._lock:
            item = self._items.get(key)
            if item is not None:
                self._items.move_to_end(key)
            return item

    def put(self, key: K, item: NDArray[np.uint8]) -> None:
        """Keep an array and let the oldest ones go."""
        with self._lock:
            self._drop(key)
            if item.nbytes > self.capacity and not self._alone:
                return
            self._items[key] = item
            self._used += item.nbytes
            while self._used > self.capacity and len(self._items) > 1:
                self._drop(next(iter(self._items)))

    def forget(self, which: Callable[[K], bool] = lambda _: True) -> None:
        """Forget some arrays, by their keys, or all."""
        with self._lock:
            for key in [key for key in self._items if which(key)]:
                self._drop(key)

    def _drop(self, key: K) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self._used -= item.nbytes
