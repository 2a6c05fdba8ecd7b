"""Blended sums end to end: divided by weights, exact, nothing where nothing was predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from wsss_toys import colourful, plain, segment_array

from tiling.geometry import Box
from tiling.store.reader import open_store


def test_weighted_sums_are_divided_by_weights_not_by_visits(tmp_path: Path) -> None:
    segment_array(plain((60, 200, 60)), tmp_path / "a.zarr", overlap=0.6, probabilities=True)
    store = open_store(tmp_path / "a.zarr")
    assert (store.labels()[0][...] == 2).all()
    for share, levels in zip((61, 201, 61), store.class_images("probabilities").values(), strict=True):
        np.testing.assert_allclose(levels[0][...], 255 * share / 323, atol=1)


def test_many_overlapping_tiles_do_not_run_over(tmp_path: Path) -> None:
    """Every pixel lies in up to 25 tiles: 25 × 255 is far beyond 8 bits."""
    segment_array(plain((250, 10, 10)), tmp_path / "a.zarr", overlap=0.8, probabilities=True)
    store = open_store(tmp_path / "a.zarr")
    assert (store.labels()[0][...] == 1).all()
    (most, *_) = store.class_images("probabilities").values()
    np.testing.assert_allclose(most[0][...], 255 * 251 / 273, atol=1)


def test_untouched_pixels_are_nothing_not_0_by_0(tmp_path: Path) -> None:
    with np.errstate(all="raise"):
        segment_array(
            colourful(160, 160), tmp_path / "a.zarr", region=Box(70, 70, 20, 20), probabilities=True
        )
    store = open_store(tmp_path / "a.zarr")
    outside = np.ones((160, 160), np.bool_)
    outside[70:90, 70:90] = False
    assert not store.labels()[0][...][outside].any()
    assert store.labels()[0][...][~outside].all()
    for levels in store.class_images("probabilities").values():
        assert not levels[0][...][:30].any()
