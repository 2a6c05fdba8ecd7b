"""Synthetic slides: content is a function of seed and position, looks like tissue, and the truth is the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tiling.geometry import Box
from tiling.synthetic import DEMO, SYNTHETIC_SCHEMA, SyntheticSlide, slide as slide_module
from tiling.synthetic.fields import noise, smoothstep, uniforms, upsample
from tiling.synthetic.paint import paint, paint_truth
from tiling.synthetic.sprites import cast

# Small regions bring all four classes onto a slide of one megapixel; its size is no multiple of the block's.
SMALL = SyntheticSlide(1100, 900, seed=6, region_um=60)


def _forget() -> None:
    """Empty every cache, as in a new process."""
    for cache in (slide_module._painted, slide_module._labelled, slide_module._scene, cast):
        cache.cache_clear()


@st.composite
def _boxes(draw: st.DrawFn) -> Box:
    x, y = draw(st.integers(0, SMALL.width - 1)), draw(st.integers(0, SMALL.height - 1))
    return Box(x, y, draw(st.integers(1, SMALL.width - x)), draw(st.integers(1, SMALL.height - y)))


@given(box=_boxes())
def test_any_region_is_that_part_of_the_whole(box: Box) -> None:
    lines, columns = slice(box.y, box.bottom), slice(box.x, box.right)
    picture = SMALL.render(0, 0, *SMALL.dimensions)
    truth = SMALL.truth(0, 0, *SMALL.dimensions)
    np.testing.assert_array_equal(SMALL.render(box.x, box.y, box.width, box.height), picture[lines, columns])
    np.testing.assert_array_equal(SMALL.truth(box.x, box.y, box.width, box.height), truth[lines, columns])


@given(x=st.integers(0, 1000), y=st.integers(0, 800), width=st.integers(8, 100), height=st.integers(8, 100))
def test_blocks_have_no_seams(x: int, y: int, width: int, height: int) -> None:
    # Painted on its own, wherever its borders are, a part comes out the same: no cell and no soft border is cut.
    # Small parts, because these hold few classes: what is not there must still be painted if it shines in.
    scene = slide_module._scene(SMALL)
    np.testing.assert_array_equal(paint(scene, Box(x, y, width, height)), SMALL.render(x, y, width, height))
    np.testing.assert_array_equal(
        paint_truth(scene, Box(x, y, width, height)), SMALL.truth(x, y, width, height)
    )


def test_the_same_seed_gives_the_same_slide_again() -> None:
    before = SMALL.render(200, 200, 400, 400)
    _forget()
    np.testing.assert_array_equal(SMALL.render(200, 200, 400, 400), before)


def test_another_seed_gives_another_slide() -> None:
    other = SyntheticSlide(SMALL.width, SMALL.height, seed=SMALL.seed + 1, region_um=SMALL.region_um)
    box = (300, 250, 500, 400)
    assert float((SMALL.truth(*box) != other.truth(*box)).mean()) > 0.2
    assert float((SMALL.render(*box) != other.render(*box)).any(axis=2).mean()) > 0.9


def test_another_resolution_shows_the_same_tissue() -> None:
    coarse = SyntheticSlide(SMALL.width // 2, SMALL.height // 2, 2 * SMALL.mpp, SMALL.seed, SMALL.region_um)
    fine = SMALL.truth(0, 0, *SMALL.dimensions)[1::2, 1::2]
    assert float((coarse.truth(0, 0, *coarse.dimensions) == fine).mean()) > 0.97


def test_demo_has_sensible_shares_of_all_classes() -> None:
    truth = DEMO.truth(0, 0, *DEMO.dimensions)
    assert 10e6 <= truth.size <= 13e6
    assert DEMO.mpp == 0.5
    counts = np.bincount(truth.ravel(), minlength=5)
    assert len(counts) == len(SYNTHETIC_SCHEMA) + 1
    assert 0.5 <= 1 - counts[0] / truth.size <= 0.65
    shares = counts[1:] / counts[1:].sum()
    assert shares.min() >= 0.1
    assert shares.max() <= 0.5
    assert not truth[[0, -1]].any(), "glass must surround the tissue"
    assert not truth[:, [0, -1]].any(), "glass must surround the tissue"


def test_the_picture_shows_the_truth() -> None:
    picture, truth = DEMO.render(768, 896, 1024, 768).astype(float), DEMO.truth(768, 896, 1024, 768)
    assert set(np.unique(truth)) >= {1, 2, 3, 4}
    nuclear = picture[..., 0] < 130  # eosin absorbs next to no red light
    share = {
        c.abbreviation: float(nuclear[truth == i + 1].mean()) for i, c in enumerate(SYNTHETIC_SCHEMA.classes)
    }
    assert share["LYM"] > share["TUM"] > share["STR"]
    assert share["TUM"] > share["NEC"]
    assert share["LYM"] > 0.3
    assert share["STR"] < 0.15
    glass = DEMO.render(0, 0, 256, 256)
    assert glass.mean() > 232
    assert 0.3 < glass.std() < 6, "glass is neither perfectly even nor dirty"


def test_slides_differ_in_their_stains() -> None:
    stains = {slide_module._scene(SyntheticSlide(64, 64, seed=seed)).stain for seed in range(8)}
    assert len(stains) == 8
    assert np.std([s.eosin[1] for s in stains]) > 0.02


def test_cheap_mode_mirrors_one_small_slide() -> None:
    cheap = SyntheticSlide(2500, 2100, seed=3, repeat=1024)
    source, labels = (f(0, 0, 1024, 1024) for f in (SyntheticSlide(1024, 1024, seed=3).render, cheap.truth))
    np.testing.assert_array_equal(cheap.render(0, 0, 1024, 1024), source)
    np.testing.assert_array_equal(cheap.render(1024, 0, 1024, 1024), source[:, ::-1])
    np.testing.assert_array_equal(cheap.render(1024, 1024, 1024, 1024), source[::-1, ::-1])
    np.testing.assert_array_equal(cheap.render(2100, 1100, 300, 900), source[::-1][76:976, 52:352])
    np.testing.assert_array_equal(cheap.truth(1024, 0, 1024, 1024), labels[:, ::-1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"height": -1},
        {"mpp": 0.1},
        {"mpp": 3.0},
        {"region_um": 0.0},
        {"repeat": 500},
        {"repeat": 0},
    ],
)
def test_impossible_slides_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        SyntheticSlide(**{"width": 10, "height": 10, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 1101, 5), (1099, 0, 2, 5), (0, 899, 5, 2)])
def test_regions_beyond_the_slide_are_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="leaves the slide"):
        SMALL.render(*box)
    with pytest.raises(ValueError, match="leaves the slide"):
        SMALL.truth(*box)


def test_what_is_returned_may_be_changed() -> None:
    SMALL.render(0, 0, 512, 512)[:] = 0
    assert SMALL.render(0, 0, 512, 512).any()


@given(seed=st.integers(0, 2**40), channel=st.integers(0, 5000))
def test_lattice_numbers_are_uniform(seed: int, channel: int) -> None:
    i = np.arange(-50, 50)
    u = uniforms(seed, channel, i[None, :], i[:, None])
    assert u.shape == (100, 100)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(float(u.mean()) - 0.5) < 0.02
    assert abs(float(u.std()) - 12**-0.5) < 0.02


def test_noise_is_smooth_and_of_unit_spread() -> None:
    x = np.arange(0, 4000, 4.0)
    field = noise(5, 0, 40.0, x, x)
    assert abs(float(field.std()) - 1) < 0.15
    assert float(np.abs(np.diff(field, axis=1)).max()) < 0.5


@given(left=st.integers(0, 40), top=st.integers(0, 40), width=st.integers(1, 50), height=st.integers(1, 50))
def test_upsample_keeps_straight_lines(left: int, top: int, width: int, height: int) -> None:
    places = np.arange(0, 120, 4, dtype=np.float32)
    plane = 2 * places[None, :] - 3 * places[:, None] + 7
    expected = 2.0 * np.arange(left, left + width)[None, :] - 3.0 * np.arange(top, top + height)[:, None] + 7
    np.testing.assert_allclose(upsample(plane, 4, left, top, width, height), expected, atol=1e-3)


def test_smoothstep_rises_or_falls() -> None:
    values = np.linspace(-1, 2, 31, dtype=np.float32)
    rise, fall = smoothstep(values, 0, 1), smoothstep(values, 1, 0)
    assert rise[0] == 0
    assert rise[-1] == 1
    assert (np.diff(rise) >= 0).all()
    np.testing.assert_allclose(rise + fall, 1, atol=1e-6)
