from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given, strategies as st

from napari_wsss.plugin.correct.earlier import regions_for
from napari_wsss.project import Correction
from tiling.geometry import Box

NAMES = ("a", "b", "c")


def store_like(labels: np.ndarray, origin: tuple[float, float], scale: float, names: tuple[str, ...]) -> Any:
    """Return what is asked of a store."""
    ox, oy = origin
    grid = SimpleNamespace(level0=lambda x, y: (ox + x * scale, oy + y * scale))
    return SimpleNamespace(
        schema=SimpleNamespace(names=names), grid=grid, scale=scale, labels=lambda: [labels]
    )


def correction(box: Box, mask: np.ndarray, time: str = "1") -> Correction:
    return Correction("s", box, 0.5, "reader", time, mask)


@given(
    x=st.integers(0, 30),
    y=st.integers(0, 30),
    width=st.integers(1, 30),
    height=st.integers(1, 30),
    scale=st.sampled_from([1.0, 2.0, 4.0]),
    origin=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    seed=st.integers(0, 99),
)
def test_at_the_same_scale_every_pixel_comes_back_where_it_was(
    x: int, y: int, width: int, height: int, scale: float, origin: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (40, 50), np.uint8)
    mask = rng.integers(0, 4, (height, width), np.uint8)
    box = Box(
        round(origin[0] + x * scale),
        round(origin[1] + y * scale),
        round(width * scale),
        round(height * scale),
    )
    found = regions_for(store_like(labels, origin, scale, NAMES), [correction(box, mask)], NAMES)
    here = Box(x, y, width, height).intersection(Box(0, 0, 50, 40))
    part = mask[: here.height, : here.width]
    if here.is_empty or not part.any():
        assert found == []
        return
    (region,) = found
    assert region.box == here
    before = labels[here.y : here.bottom, here.x : here.right]
    np.testing.assert_array_equal(region.labels, np.where(part > 0, part, before))
    assert not region.project


def test_classes_are_found_by_name_and_the_rest_stays() -> None:
    labels = np.full((10, 10), 2, np.uint8)
    store = store_like(labels, (0, 0), 1.0, ("c", "z", "a"))
    mask = np.array([[1, 2], [3, 0]], np.uint8)  # a, b, c, nothing
    (region,) = regions_for(store, [correction(Box(4, 4, 4, 4), mask)], NAMES)
    np.testing.assert_array_equal(region.labels[::2, ::2], [[3, 2], [1, 2]])
    assert regions_for(store, [correction(Box(0, 0, 2, 2), np.full((2, 2), 2, np.uint8))], NAMES) == []


def test_what_was_painted_last_comes_last_and_what_lies_beside_is_left_out() -> None:
    store = store_like(np.ones((10, 10), np.uint8), (0, 0), 1.0, NAMES)
    mask = np.ones((2, 2), np.uint8)
    late, early = correction(Box(0, 0, 2, 2), mask, "2"), correction(Box(1, 1, 2, 2), mask, "1")
    found = regions_for(store, [late, early, correction(Box(50, 0, 2, 2), mask)], NAMES)
    assert [region.box for region in found] == [early.box, late.box]
