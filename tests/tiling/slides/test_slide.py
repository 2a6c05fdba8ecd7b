"""The Slide on top of any reader: exact resampling, white outside, the choice of level, identity."""

from __future__ import annotations

import threading
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from tiling.errors import ResolutionError, SlideError
from tiling.geometry import Box
from tiling.slides.level import LevelReader
from tiling.slides.readers.array import ArrayReader
from tiling.slides.readers.oriented import oriented
from tiling.slides.slide import Slide


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def flat(height: int, width: int, value: int = 90) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max(initial=0))


def test_the_array_reader_is_a_level_reader() -> None:
    assert isinstance(ArrayReader(flat(4, 4)), LevelReader)


def test_reading_at_the_slides_own_resolution_returns_its_pixels() -> None:
    pixels = noise(60, 80)
    slide = Slide(ArrayReader(pixels, mpp=0.499))
    np.testing.assert_array_equal(slide.read(0, 0, 80, 60), pixels)
    np.testing.assert_array_equal(slide.read(7, 5, 30, 20, mpp=0.499), pixels[5:25, 7:37])


def test_what_lies_outside_is_white() -> None:
    pixels = flat(20, 20, 0)
    slide = Slide(ArrayReader(pixels, mpp=0.5))
    for mpp in (None, 0.5, 0.63, 1.7):
        scale = (mpp or 0.5) / 0.5
        got = slide.read(-10, -10, 40, 40, mpp=mpp)
        centre = -10 + (np.arange(40) + 0.5) * scale
        on = (centre >= 0) & (centre < 20)
        assert (got[~on] == 255).all()
        assert (got[:, ~on] == 255).all()
        assert (got[np.ix_(on, on)] == 0).all(), mpp
    assert (slide.read(500, 500, 8, 8, mpp=0.7) == 255).all()


@settings(deadline=None, max_examples=60)
@given(
    mpp=st.floats(0.3, 3.0),
    x=st.floats(-20, 60),
    y=st.floats(-20, 60),
    cut=st.integers(1, 39),
    tall=st.booleans(),
)
def test_a_region_equals_its_parts(mpp: float, x: float, y: float, cut: int, tall: bool) -> None:
    slide = Slide(ArrayReader([noise(90, 110), noise(45, 55, 1)], mpp=0.5))
    step = mpp / 0.5
    whole = slide.read(x, y, 40, 40, mpp=mpp)
    if tall:
        parts = [slide.read(x, y, 40, cut, mpp=mpp), slide.read(x, y + cut * step, 40, 40 - cut, mpp=mpp)]
    else:
        parts = [slide.read(x, y, cut, 40, mpp=mpp), slide.read(x + cut * step, y, 40 - cut, 40, mpp=mpp)]
    assert difference(whole, np.concatenate(parts, axis=0 if tall else 1)) <= 1


@settings(deadline=None, max_examples=40)
@given(x=st.integers(-20, 60), y=st.integers(-20, 60), cut=st.integers(1, 39))
def test_at_scale_one_a_region_equals_its_parts_exactly(x: int, y: int, cut: int) -> None:
    slide = Slide(ArrayReader(noise(50, 50), mpp=0.5))
    parts = [slide.read(x, y, cut, 40, mpp=0.5), slide.read(x + cut, y, 40 - cut, 40, mpp=0.5)]
    np.testing.assert_array_equal(slide.read(x, y, 40, 40, mpp=0.5), np.concatenate(parts, axis=1))


@settings(deadline=None, max_examples=40)
@given(value=st.integers(0, 255), mpp=st.floats(0.1, 4.0), x=st.floats(0, 30), downsample=st.floats(1.5, 3.5))
def test_a_constant_slide_stays_constant(value: int, mpp: float, x: float, downsample: float) -> None:
    levels = [flat(120, 140, value), flat(round(120 / downsample), round(140 / downsample), value)]
    slide = Slide(ArrayReader(levels, mpp=0.5, downsamples=(1.0, downsample)))
    side = max(1, int(80 * 0.5 / mpp))
    assert (slide.read(x, x, side, side, mpp=mpp) == value).all()


def ramp(height: int, width: int, downsample: float = 1.0) -> NDArray[np.uint8]:
    """Grey value = level-0 x / 8 at the centre of each pixel: says where a pixel came from."""
    line = (np.arange(width) + 0.5) * downsample / 8
    return np.broadcast_to(np.round(line).astype(np.uint8)[None, :, None], (height, width, 3)).copy()


@pytest.mark.parametrize("downsample", [2.0, 2.0178, 3.7, 4.016])
def test_pixels_sit_where_a_non_integer_downsample_says(downsample: float) -> None:
    """A rounded downsample would drift by up to 250 level-0 pixels at the far end of this slide."""
    width = 2000
    levels = [ramp(8, width), ramp(4, int(width / downsample), downsample)]
    reader = ArrayReader(levels, mpp=0.25, downsamples=(1.0, downsample))
    slide = Slide(reader)
    mpp = 0.25 * downsample * 1.1
    got = slide.read(1500, 0, 50, 1, mpp=mpp)[0, :, 0]
    assert {level for level, _ in reader.reads} == {1}
    expected = (1500 + (np.arange(50) + 0.5) * downsample * 1.1) / 8
    assert np.abs(got - expected).max() <= 1


def test_the_nearest_finer_level_is_read() -> None:
    reader = ArrayReader([flat(800, 800), flat(400, 400), flat(100, 100)], mpp=0.25)
    slide = Slide(reader)
    for mpp, level in ((0.2, 0), (0.25, 0), (0.499, 1), (0.5, 1), (0.9, 1), (1.99, 2), (2.0, 2), (4.5, 2)):
        reader.reads.clear()
        slide.read(0, 0, 10, 10, mpp=mpp)
        assert {n for n, _ in reader.reads} == {level}, mpp


def test_a_region_reads_no_more_than_the_filter_needs() -> None:
    reader = ArrayReader(noise(1000, 1000), mpp=0.5)
    Slide(reader).read(200, 300, 100, 100, mpp=1.0)
    ((_, box),) = reader.reads
    assert box.x >= 200 - 6
    assert box.right <= 400 + 6
    assert box.y >= 300 - 6
    assert box.bottom <= 500 + 6


def test_upsampling_keeps_the_place() -> None:
    pixels = ramp(8, 400)
    got = Slide(ArrayReader(pixels, mpp=0.5)).read(100, 2, 60, 1, mpp=0.25)[0, :, 0]
    assert np.abs(got - (100 + (np.arange(60) + 0.5) / 2) / 8).max() <= 1


def test_a_large_region_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ArrayReader(noise(300, 400), mpp=0.5)
    slide = Slide(reader)
    whole = slide.thumbnail(50)
    monkeypatch.setattr("tiling.slides.slide.MAX_PIXELS_PER_READ", 10_000)
    reader.reads.clear()
    assert difference(slide.thumbnail(50), whole) <= 1
    assert len(reader.reads) > 10
    # Eight-fold reduction: the filter's margin of 17 px on each side comes on top of the part.
    assert max(b.width * b.height for _, b in reader.reads) < 10_000 + 4 * 17 * (200 + 17)


def test_a_thumbnail_is_read_by_several_threads_and_fails_as_one() -> None:
    class Watched(ArrayReader):
        threads: ClassVar[set[int]] = set()

        def read_level(self, *where: int) -> NDArray[np.uint8]:
            self.threads.add(threading.get_ident())
            return super().read_level(*where)

    pixels = noise(300, 400)
    Slide(Watched(pixels, mpp=0.5, delay=0.05)).thumbnail(50)
    assert len(Watched.threads) > 1
    with pytest.raises(SlideError):
        Slide(ArrayReader(pixels, mpp=0.5, fail_at=Box(200, 250, 1, 1))).thumbnail(50)


def test_the_thumbnail_shows_the_bounds_and_nothing_else() -> None:
    pixels = flat(300, 400, 255)
    pixels[100:200, 150:350] = 80
    slide = Slide(ArrayReader(pixels, bounds=Box(150, 100, 200, 100)))
    small = slide.thumbnail(50)
    assert small.shape == (25, 50, 3)
    assert (small[2:-2, 2:-2] == 80).all()
    assert small.max() < 140
    assert slide.thumbnail(10_000).shape == (100, 200, 3)


def test_bounds_do_not_move_the_level_0_frame() -> None:
    pixels = noise(100, 100)
    with_bounds = Slide(ArrayReader(pixels, mpp=0.5, bounds=Box(30, 20, 40, 40)))
    without = Slide(ArrayReader(pixels, mpp=0.5))
    np.testing.assert_array_equal(with_bounds.read(10, 10, 30, 30, 0.7), without.read(10, 10, 30, 30, 0.7))


def test_alpha_becomes_white() -> None:
    alpha = np.full((20, 20), 255, np.uint8)
    alpha[:, :10] = 0
    alpha[:, 10] = 128
    got = Slide(ArrayReader(flat(20, 20, 0), alpha=[alpha])).read(0, 0, 20, 20)
    assert (got[:, :10] == 255).all()
    assert (got[:, 10] == 127).all()
    assert (got[:, 11:] == 0).all()


def test_a_turned_slide_exchanges_the_axes_of_its_resolution() -> None:
    reader = oriented(ArrayReader(flat(20, 30), mpp=(0.5, 0.504), bounds=Box(2, 3, 10, 5)), 6)
    assert [(s.mpp_x, s.mpp_y) for s in reader.statements] == [(0.504, 0.5)]
    # Stored rows 3 to 7 are the columns 12 to 16 of the picture turned clockwise.
    assert reader.bounds == Box(12, 2, 5, 10)
    assert oriented(reader, 1) is reader
    assert oriented(reader, 99) is reader


def test_a_slide_without_mpp_opens_and_says_what_to_pass() -> None:
    slide = Slide(ArrayReader(flat(20, 20), path="case 7.svs"))
    assert slide.mpp is None
    assert slide.resolution is None
    slide.read(0, 0, 5, 5)
    for call in (slide.require_mpp, lambda: slide.read(0, 0, 5, 5, mpp=0.5)):
        with pytest.raises(ResolutionError, match=r"case 7\.svs .*--mpp"):
            call()
    assert "--mpp" in slide.resolution_problem


def test_the_users_mpp_wins_and_an_implausible_one_is_refused() -> None:
    slide = Slide(ArrayReader(flat(20, 20), mpp=0.25), mpp=0.5)
    assert slide.resolution is not None
    assert (slide.mpp, slide.resolution.source) == (0.5, "--mpp")
    with pytest.raises(ResolutionError, match="manifest"):
        Slide(ArrayReader(flat(20, 20), mpp=0.25), mpp=50, mpp_source="manifest")


def test_a_failing_region_names_itself_and_the_rest_still_reads() -> None:
    slide = Slide(ArrayReader(flat(100, 100), mpp=0.5, fail_at=Box(50, 50, 10, 10)))
    slide.read(0, 0, 40, 40)
    with pytest.raises(SlideError, match="corrupt"):
        slide.read(30, 30, 40, 40)


def test_senseless_sizes_are_a_callers_mistake() -> None:
    slide = Slide(ArrayReader(flat(20, 20), mpp=0.5))
    for call in (
        lambda: slide.read(0, 0, 0, 5),
        lambda: slide.read(0, 0, 5, 5, mpp=-1),
        lambda: slide.thumbnail(0),
    ):
        with pytest.raises(ValueError):
            call()


def test_levels_must_be_rgb_bytes() -> None:
    for bad in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3), np.uint16), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(SlideError):
            ArrayReader(bad)  # type: ignore[arg-type]
    with pytest.raises(SlideError):
        ArrayReader([])


def test_a_users_mpp_that_contradicts_the_file_is_noted() -> None:
    with Slide(ArrayReader(flat(20, 30), mpp=0.25), mpp=0.5) as slide:
        assert slide.mpp == 0.5
        assert slide.warnings == ("0.5 µm per pixel were given (--mpp); the file says 0.25 µm (array).",)
    with Slide(ArrayReader(flat(20, 30), mpp=0.5), mpp=0.5) as slide:
        assert slide.warnings == ()
