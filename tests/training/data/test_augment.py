from __future__ import annotations

import numpy as np
import pytest

from training.data.augment import augment, crop, mosaic, stain_jitter, voronoi_cells
from training.settings.presets import AugmentSettings

SIDE = 32
RNG = np.random.default_rng
IMAGE = RNG(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def test_mask_follows_the_image() -> None:
    settings = AugmentSettings(vertical_flip=0.5, rotate=True)
    for seed in range(20):
        image, (mask,) = augment(IMAGE, [IMAGE[..., 0]], settings, RNG(seed))
        assert np.array_equal(image[..., 0], mask)


def test_same_generator_same_sample() -> None:
    settings = AugmentSettings(0.5, 0.5, True, 0.5, 0.05)
    first, second = (augment(IMAGE, (), settings, RNG(3))[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, augment(IMAGE, (), settings, RNG(4))[0])


def test_all_off_changes_nothing() -> None:
    image, _ = augment(IMAGE, (), AugmentSettings(0.0), RNG(0))
    assert np.array_equal(image, IMAGE)


def test_stain_jitter_of_strength_zero_is_nearly_the_identity() -> None:
    bright = np.maximum(IMAGE, 1)
    assert np.abs(stain_jitter(bright, 0.0, RNG(0)).astype(int) - bright).max() <= 1
    changed = np.abs(stain_jitter(bright, 0.1, RNG(0)).astype(int) - bright)
    assert 1 < changed.mean() < 40


def test_crop() -> None:
    image, (mask,) = crop(IMAGE, [IMAGE[..., 1]], 20, RNG(0))
    assert image.shape == (20, 20, 3)
    assert np.array_equal(image[..., 1], mask)
    assert crop(IMAGE, (), 0, RNG(0))[0] is IMAGE
    assert crop(IMAGE, (), SIDE, RNG(0))[0] is IMAGE


@pytest.mark.parametrize("pieces", [2, 5, 30])
def test_mosaic_is_exact(pieces: int) -> None:
    masks = [np.full((SIDE, SIDE), c, np.uint8) for c in (2, 0, 1)]
    masks[1][:3] = 3  # white background of a patch stays ignored
    images = [np.dstack([m] * 3) for m in masks]
    cells = voronoi_cells((SIDE, SIDE), pieces, min(pieces, 3), RNG(1))
    image, mask = mosaic(images, masks, cells)
    assert np.array_equal(image[..., 0], mask)
    if pieces >= 5:
        assert {0, 1, 2} <= set(np.unique(mask))


def test_recompression_keeps_the_picture_and_changes_its_colour_detail() -> None:
    from training.data.augment import recompress

    rng = np.random.default_rng(0)
    image = np.full((64, 64, 3), (180, 90, 150), np.uint8)
    image[::2, ::2] = (90, 40, 120)  # detail that half the colour resolution cannot hold
    changed = [recompress(image, rng) for _ in range(12)]
    assert all(c.shape == image.shape and c.dtype == np.uint8 for c in changed)
    differences = [np.abs(c.astype(int) - image).mean() for c in changed]
    assert max(differences) < 40
    assert max(differences) > 1.3 * min(differences)
    again = recompress(image, np.random.default_rng(5))
    np.testing.assert_array_equal(again, recompress(image, np.random.default_rng(5)))


def test_coarser_colour_keeps_brightness_and_flat_pictures() -> None:
    from training.data.augment import coarser_colour

    rng = np.random.default_rng(0)
    flat = np.full((50, 41, 3), (180, 90, 150), np.uint8)
    for cell in (2, 7, 16):
        assert np.abs(coarser_colour(flat, cell, rng).astype(int) - flat).max() <= 4
    image = rng.integers(60, 200, (50, 41, 3), np.uint8)
    changed = coarser_colour(image, 8, rng)
    weights = [0.299, 0.587, 0.114]
    assert np.abs(changed @ weights - image @ weights).mean() < 6  # but for colours that leave the cube
    spread = (changed.astype(float) - changed.mean(2, keepdims=True)).std()
    assert spread < 0.5 * (image.astype(float) - image.mean(2, keepdims=True)).std()


def test_new_looks_are_off_unless_asked_for() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    plain = augment(image, (), AugmentSettings(), np.random.default_rng(1))[0]
    also = augment(image, (), AugmentSettings(jpeg=0, colour=0, noise=0), np.random.default_rng(1))[0]
    np.testing.assert_array_equal(plain, also)
