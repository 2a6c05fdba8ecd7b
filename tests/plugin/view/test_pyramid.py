from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from napari_wsss.plugin.view import pyramid
from napari_wsss.plugin.view.pyramid import (
    UNREADABLE,
    OpenSlide,
    SlideLevel,
    ZoomLevel,
    resident,
    slide_pyramid,
)
from tiling.byte_cache import ByteCache
from tiling.errors import SlideError
from tiling.geometry import Box
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)


def ramp(height: int, width: int) -> np.ndarray:
    """A picture whose colour says where a pixel lies: red grows with x, green with y."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, np.zeros_like(x)], -1).astype(np.uint8)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "TILE", 16)


indices = st.integers(-70, 70)
keys = st.one_of(
    indices, st.builds(slice, *[st.one_of(st.none(), indices)] * 2, st.sampled_from([None, 1, 2, -1, -3]))
)


@given(keys, keys, st.sampled_from([slice(None), 0, slice(0, 2), -1]))
@settings(max_examples=150, deadline=None)
def test_a_level_slices_like_the_array(rows: object, columns: object, channels: object) -> None:
    pixels = noise(61, 47)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramid, "TILE", 16)
        level = SlideLevel(OpenSlide(Slide(ArrayReader(pixels)), ByteCache(5000)), 0)
        try:
            expected = pixels[rows, columns, channels]  # type: ignore[index]
        except IndexError:
            with pytest.raises(IndexError):
                level[rows, columns, channels]
            return
        np.testing.assert_array_equal(level[rows, columns, channels], expected)


def test_a_level_looks_like_an_array(small_tiles: None) -> None:
    pixels = noise(40, 30)
    level = SlideLevel(OpenSlide(Slide(ArrayReader(pixels)), ByteCache(10_000)), 0)
    assert (level.shape, level.ndim, level.dtype, level.size) == (pixels.shape, 3, np.uint8, pixels.size)
    assert level.chunks == (16, 16, 3)
    np.testing.assert_array_equal(np.asarray(level), pixels)
    np.testing.assert_array_equal(level[..., 1], pixels[..., 1])
    np.testing.assert_array_equal(level[3], pixels[3])
    assert np.asarray(level, dtype=np.float32).dtype == np.float32


def test_tiles_are_read_once(small_tiles: None) -> None:
    reader = ArrayReader(noise(64, 64))
    level = SlideLevel(OpenSlide(Slide(reader), ByteCache(100_000)), 0)
    level[0:40, 0:40]
    first = len(reader.reads)
    level[5:39, 8:40]
    assert first == 9
    assert len(reader.reads) == first


def test_too_much_at_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyramid, "MAX_PIXELS", 1000)
    level = SlideLevel(OpenSlide(Slide(ArrayReader(noise(64, 64), path="big.svs")), ByteCache(100)), 0)
    with pytest.raises(SlideError, match=r"big\.svs.*coarser level"):
        level[:, :]


def test_unreadable_tiles_are_shown_as_such_and_said_once(small_tiles: None) -> None:
    pixels = noise(64, 64)
    slide = Slide(ArrayReader(pixels, fail_at=Box(20, 20, 2, 2)))
    level = SlideLevel(OpenSlide(slide, ByteCache(100_000)), 0)
    with pytest.warns(UserWarning, match="mauve"):
        shown = level[:, :]
    level[0:64, 0:64]  # a second warning would be an error
    assert (shown[16:32, 16:32] == UNREADABLE).all()
    np.testing.assert_array_equal(shown[32:, 32:], pixels[32:, 32:])


def test_the_coarsest_level_is_a_small_array_in_memory() -> None:
    full = ramp(600, 900)
    slide = Slide(ArrayReader([full, full[::4, ::4]]))
    levels = slide_pyramid(slide, ByteCache(10**6), coarsest_max=200)
    assert [level.shape[:2] for level in levels] == [(600, 900), (150, 225), (133, 200)]
    assert isinstance(levels[-1], np.ndarray)
    np.testing.assert_allclose(levels[-1][66, 100, :2], (127, 127), atol=2)


def test_levels_that_fit_into_the_overview_are_dropped() -> None:
    full = ramp(600, 900)
    slide = Slide(ArrayReader([full, full[::4, ::4], full[::8, ::8]]))
    levels = slide_pyramid(slide, ByteCache(10**6), coarsest_max=300)
    assert [level.shape[:2] for level in levels] == [(600, 900), (200, 300)]


def test_a_small_slide_is_one_array() -> None:
    full = noise(60, 90)
    levels = slide_pyramid(Slide(ArrayReader(full)), ByteCache(10**6))
    assert len(levels) == 1
    np.testing.assert_array_equal(levels[0], full)


def test_far_apart_levels_get_made_up_ones_between() -> None:
    slide = Slide(ArrayReader(ramp(640, 640)))
    levels = slide_pyramid(slide, ByteCache(10**7), coarsest_max=20)
    assert [level.shape[0] for level in levels] == [640, 160, 40, 20]
    assert isinstance(levels[1], ZoomLevel)
    np.testing.assert_allclose(levels[1][80, 40, :2], (64, 128), atol=2)


def test_a_made_up_level_never_decodes_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ArrayReader(ramp(640, 640))
    levels = slide_pyramid(Slide(reader), ByteCache(10**7), coarsest_max=20)
    monkeypatch.setattr(pyramid, "ZOOM_PIXELS", 4000)
    before = len(reader.reads)
    shown = levels[1][:, :]
    assert len(reader.reads) == before
    assert shown.shape == levels[1].shape
    np.testing.assert_allclose(shown[80, 40, :2], (64, 128), atol=10)


def test_outside_the_scanned_bounds_is_white() -> None:
    full = np.full((400, 600, 3), 255, np.uint8)
    full[100:300, 300:500] = ramp(200, 200)
    slide = Slide(ArrayReader(full, bounds=Box(300, 100, 200, 200)))
    overview = slide_pyramid(slide, ByteCache(10**6), coarsest_max=60)[-1]
    assert overview.shape == (40, 60, 3)
    assert (overview[:9] == 255).all()
    assert (overview[:, :29] == 255).all()
    np.testing.assert_allclose(overview[20, 40, :2], (127, 127), atol=10)


@pytest.mark.parametrize("downsample", [2.0, 4.0004, 3.7])
def test_the_ratio_of_the_shapes_is_the_downsample(downsample: float) -> None:
    # The level is cut short by three pixels, as stitching scanners do.
    size = int(1000 / downsample) - 3
    slide = Slide(ArrayReader([noise(1000, 1000), noise(size, size)], downsamples=[1, downsample]))
    level = SlideLevel(OpenSlide(slide, ByteCache(10**6)), 1)
    assert 1000 / level.shape[0] == pytest.approx(downsample, abs=0.5 * downsample / level.shape[0] * 1.1)
    assert (level[-2:, -2:] == 255).all()


def test_a_corrupt_slide_still_gets_an_overview(small_tiles: None) -> None:
    slide = Slide(ArrayReader(ramp(200, 200), fail_at=Box(60, 60, 4, 4)))
    with pytest.warns(UserWarning, match="mauve"):
        overview = slide_pyramid(slide, ByteCache(10**6), coarsest_max=50)[-1]
    assert (overview[14:15, 14:15] == UNREADABLE).all()
    np.testing.assert_allclose(overview[40, 40, :2], (205, 205), atol=6)


def test_a_closed_slide_gives_its_tiles_back() -> None:
    cache = ByteCache(10**6)
    closed = []
    slide = Slide(ArrayReader(noise(300, 300)))
    slide.close = lambda: closed.append(True)  # type: ignore[method-assign]
    levels = slide_pyramid(slide, cache, coarsest_max=50)
    fine = levels[0]
    fine[:, :]
    del levels
    gc.collect()
    assert cache.used > 0
    assert not closed
    del fine
    gc.collect()
    assert cache.used == 0
    assert closed


def test_the_level_in_memory_is_one_chunk_and_changes_in_place() -> None:
    memory = np.zeros((20, 30), np.uint8)
    level = resident(memory)
    assert level.chunks == (20, 30)
    cached = np.asarray(level)  # what napari keeps
    level[5:, :] = 7
    assert (cached[5:] == 7).all()
    assert (memory[5:] == 7).all()
    assert resident(np.zeros((4, 5, 3), np.uint8)).chunks == (4, 5, 3)


def test_levels_do_not_drift_and_have_no_alpha() -> None:
    """A downsample of 4.016 taken for 4 is 32 level-0 pixels off at the far end of this slide."""
    from napari_wsss.plugin.view.pyramid import slide_pyramid

    width, factor = 8192, 8192 / 2040
    line = np.arange(width) // 64
    fine = np.broadcast_to(line.astype(np.uint8)[None, :, None], (16, width, 3)).copy()
    coarse = np.broadcast_to(
        ((np.arange(2040) + 0.5) * factor / 64).astype(np.uint8)[None, :, None], (4, 2040, 3)
    ).copy()
    slide = Slide(ArrayReader([fine, coarse], mpp=0.25, downsamples=(1.0, factor)))
    levels = slide_pyramid(slide, coarsest_max=1024)
    assert all(level.shape[2] == 3 for level in levels)
    for level in levels:
        step = width / level.shape[1]
        values = np.asarray(level[0, level.shape[1] // 2 :, 0]).astype(float)
        places = (np.arange(level.shape[1] // 2, level.shape[1]) + 0.5) * step
        assert np.abs(values - (places - 32) / 64).max() <= 1.1, step
