from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given, strategies as st

from tiling.byte_cache import ByteCache


def tile(size: int) -> np.ndarray:
    return np.zeros(size, np.uint8)


def of(owner: int) -> Callable[[tuple[int, object]], bool]:
    return lambda key: key[0] == owner


def test_drops_the_least_recently_used() -> None:
    cache = ByteCache[tuple[int, object]](300)
    for key in "abc":
        cache.put((0, key), tile(100))
    assert cache.get((0, "a")) is not None
    cache.put((0, "d"), tile(100))
    assert cache.get((0, "b")) is None
    assert cache.get((0, "a")) is not None
    assert cache.used == 300


def test_an_owner_goes_with_its_tiles_only() -> None:
    cache = ByteCache[tuple[int, object]](1000)
    cache.put((0, "a"), tile(100))
    cache.put((1, "a"), tile(50))
    cache.forget(of(0))
    assert cache.get((0, "a")) is None
    assert cache.get((1, "a")) is not None
    assert cache.used == 50


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 150), st.booleans()), max_size=60)
)
def test_bytes_are_counted_and_bounded(steps: list[tuple[int, int, int, bool]]) -> None:
    cache = ByteCache[tuple[int, object]](200)
    for owner, key, size, drop in steps:
        if drop:
            cache.forget(of(owner))
        else:
            cache.put((owner, key), tile(size))
        assert cache.used == sum(t.nbytes for t in cache._items.values()) <= 200


def test_many_threads() -> None:
    cache = ByteCache[tuple[int, object]](1000)

    def work(seed: int) -> None:
        for i in range(200):
            cache.put((seed % 3, i % 17), tile(10 + seed))
            cache.get((seed % 3, (i * 7) % 17))
            if i % 50 == 0:
                cache.forget(of(seed % 3))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))
    assert cache.used == sum(t.nbytes for t in cache._items.values()) <= 1000
