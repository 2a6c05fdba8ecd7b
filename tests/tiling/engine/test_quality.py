"""Doubts about tiles: what is blurred, inked, folded or bubbled is flagged, good tissue and glass are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from wsss_toys import ColourPredictor, colourful

from tiling.engine import quality, run
from tiling.plan import RunOptions
from tiling.slides import Slide
from tiling.slides.readers.array import ArrayReader
from tiling.store import (
    FLAG_BLUR,
    FLAG_BUBBLE,
    FLAG_FOLD,
    FLAG_PEN,
    FLAG_PREDICTED,
    count_doubts,
    open_store,
    verify,
)
from tiling.synthetic import SyntheticSlide

PLANE = SyntheticSlide(width=900, height=700, mpp=0.5, seed=3, region_um=60)


@pytest.fixture(scope="module")
def tissue() -> NDArray[np.uint8]:
    """The tile of the synthetic slide with most tissue."""
    tiles = [PLANE.render(x, y, 224, 224) for x in range(0, 673, 224) for y in range(0, 449, 224)]
    return min(tiles, key=lambda tile: float(tile.mean()))


def tile_quality(pixels: NDArray[np.uint8], mpp: float) -> int:
    """The doubts about one tile."""
    (found,) = quality.tile_quality(pixels[None], mpp)
    return int(found)


def blurred(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.stack([ndimage.gaussian_filter(pixels[..., i], sigma) for i in range(3)], axis=2)


def test_good_tissue_and_glass_have_no_doubts(tissue: NDArray[np.uint8]) -> None:
    assert tile_quality(tissue, 0.5) == 0
    assert tile_quality(np.full((224, 224, 3), 245, np.uint8), 0.5) == 0


def test_out_of_focus(tissue: NDArray[np.uint8]) -> None:
    assert tile_quality(blurred(tissue, 5), 0.5) & FLAG_BLUR
    # At 4 µm nobody can tell.
    assert not tile_quality(blurred(tissue, 5), 4.0) & FLAG_BLUR


@pytest.mark.parametrize("ink", [(40, 60, 150), (30, 140, 80), (35, 35, 40), (200, 25, 50)])
def test_pen(tissue: NDArray[np.uint8], ink: tuple[int, int, int]) -> None:
    drawn = tissue.copy()
    drawn[:60] = ink
    assert tile_quality(drawn, 0.5) & FLAG_PEN


def test_a_fold_is_two_layers(tissue: NDArray[np.uint8]) -> None:
    folded = tissue.astype(float)
    folded[:, 80:140] = (60, 25, 80)
    assert tile_quality(folded.astype(np.uint8), 0.5) & FLAG_FOLD


def test_gray_without_tissue() -> None:
    shadow = np.full((224, 224, 3), 150, np.uint8)
    assert tile_quality(shadow, 0.5) & FLAG_BUBBLE


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.1, 5), st.integers(0, 255))
def test_tiles_of_any_size_are_judged(height: int, width: int, mpp: float, level: int) -> None:
    assert 0 <= tile_quality(np.full((height, width, 3), level, np.uint8), mpp) < 128


def test_other_tiles_judged_with_it_do_not_change_the_doubts_about_a_tile() -> None:
    tiles = [PLANE.render(x, y, 224, 224) for x in range(0, 673, 224) for y in range(0, 449, 224)]
    # Blurred about as much as makes the difference, and glass among them.
    tiles += [blurred(tile, sigma) for tile in tiles for sigma in (1.5, 2, 2.5, 3)]
    tiles[3] = np.full((224, 224, 3), 244, np.uint8)
    together = quality.tile_quality(np.stack(tiles), 0.5)
    assert together.tolist() == [tile_quality(tile, 0.5) for tile in tiles]
    assert len(set(together.tolist())) > 1


@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.7, 1.0, 1.4])
@pytest.mark.parametrize("turns", [0, 1])
def test_focus_is_judged_at_any_resolution_and_however_fibres_run(mpp: float, turns: int) -> None:
    random = np.random.default_rng(5)
    # Fibres: structure across, hardly any along, as bands of smooth muscle have it.
    side = round(112 / mpp)
    across, along = 1.2 / mpp, 40 / mpp
    waves = ndimage.gaussian_filter(random.normal(size=(side, side)), (across, along))
    sharp = np.clip(170 + 40 * waves / waves.std(), 90, 225)
    fibres = np.rot90(np.stack([sharp + 20, sharp - 40, sharp + 10], axis=2), turns).astype(np.uint8)
    assert tile_quality(fibres, mpp) & FLAG_BLUR == 0
    assert tile_quality(blurred(fibres, 4 / mpp), mpp) & FLAG_BLUR


@pytest.mark.shared
def test_real_patches_in_and_out_of_focus(shared_dir: Path) -> None:
    good, bad = 0, 0
    files = sorted((shared_dir / "crc").glob("*.jpg"))
    for file in files:
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        good += tile_quality(pixels, 0.5) == 0
        bad += bool(tile_quality(blurred(pixels, 4), 0.5) & FLAG_BLUR)
    assert good >= 0.98 * len(files)
    assert bad >= 0.9 * len(files)


def test_a_run_flags_counts_and_keeps_doubtful_tiles(tmp_path: Path) -> None:
    image = colourful(128, 128)
    image[:64] = 150
    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        list(
            run(slide, ColourPredictor(64), tmp_path / "a.zarr", RunOptions(mpp=0.5, overlap=0, tissue=None))
        )
    store = open_store(tmp_path / "a.zarr")
    flags = store.tiles()["flags"]
    assert flags.tolist()[:2] == [FLAG_PREDICTED | FLAG_BUBBLE] * 2
    assert store.receipt is not None
    assert store.receipt["counters"]["doubts"] == count_doubts(store.path)
    assert count_doubts(store.path)["bubble"] == 2
    assert store.receipt["counters"]["tiles"] == 4  # nothing was dropped
    assert verify(store.path).ok
