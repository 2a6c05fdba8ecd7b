"""The resolution rule: which source wins, what is refused, and what a level's size says about its downsample."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, strategies as st

from tiling.errors import ResolutionError
from tiling.slides.resolution import (
    ANISOTROPY_TOLERANCE,
    MAX_MPP,
    MIN_MPP,
    Resolution,
    WeighedStatement,
    exact_downsample,
    resolve_mpp,
    weigh,
)
from tiling.slides.statements import Statement

plausible = st.floats(MIN_MPP, MAX_MPP)
implausible = st.one_of(
    st.floats(max_value=MIN_MPP, exclude_max=True),
    st.floats(min_value=MAX_MPP, exclude_min=True),
    st.just(math.nan),
)


def said(
    x: float | None = None, y: float | None = None, source: str = "openslide.mpp-x"
) -> tuple[WeighedStatement, ...]:
    """Return what weighing one statement gives."""
    return weigh([Statement(x, y, source)], (640, 512))


@given(override=plausible, source=st.sampled_from(["--mpp", "manifest"]), stored=st.none() | st.floats())
def test_what_the_user_says_wins_over_the_file(override: float, source: str, stored: float | None) -> None:
    statements = said(stored, stored, "openslide.mpp-x")
    got = resolve_mpp("a.svs", override=override, override_source=source, statements=statements)
    assert got == Resolution(override, source)


@given(stored=plausible)
@example(0.499)
@example(MIN_MPP)
@example(MAX_MPP)
def test_the_files_own_value_is_taken_as_it_is(stored: float) -> None:
    statements = said(stored, stored, "OME PhysicalSizeX")
    assert resolve_mpp("a.svs", statements=statements) == Resolution(stored, "OME PhysicalSizeX")


@given(bad=implausible, good=plausible)
def test_a_bad_value_is_refused_and_never_replaced_by_a_worse_source(bad: float, good: float) -> None:
    statements = said(good, good)
    with pytest.raises(ResolutionError, match=r"a\.svs.*--mpp"):
        resolve_mpp("a.svs", override=bad, statements=statements)
    with pytest.raises(ResolutionError, match=r"a\.svs.*TIFF XResolution.*--mpp"):
        resolve_mpp("a.svs", statements=said(bad, bad, "TIFF XResolution"))


@pytest.mark.parametrize("dpi", [72, 96, 150, 300, 600, 1200])
def test_print_resolutions_are_no_resolution(dpi: int) -> None:
    with pytest.raises(ResolutionError):
        resolve_mpp("a.tif", statements=said(25_400 / dpi, 25_400 / dpi))


@pytest.mark.parametrize("x", [0.0273809, 273.0])
def test_a_slip_of_a_unit_is_refused(x: float) -> None:
    """HEST issue 106: 0.2738 µm that a reader turned into 0.0274."""
    with pytest.raises(ResolutionError):
        resolve_mpp("a.tif", statements=said(x, x))


def test_no_value_is_no_guess() -> None:
    for statements in (
        (),
        said(),
        said(0.5, None),
        said(None, 0.5),
    ):
        with pytest.raises(ResolutionError, match=r"a\.svs.*--mpp.*manifest"):
            resolve_mpp("a.svs", statements=statements)


@given(x=st.floats(0.1, 2), ratio=st.floats(0.5, 2))
def test_pixels_must_be_square(x: float, ratio: float) -> None:
    statements = said(x, x * ratio, "openslide.mpp-x")
    if abs(1 - ratio) <= ANISOTROPY_TOLERANCE * max(1, ratio) * 0.999:
        assert min(x, x * ratio) <= resolve_mpp("a", statements=statements).mpp <= max(x, x * ratio)
    elif abs(1 - ratio) > ANISOTROPY_TOLERANCE * max(1, ratio) * 1.001:
        with pytest.raises(ResolutionError, match="square"):
            resolve_mpp("a", statements=statements)


@given(
    width=st.integers(2000, 200_000),
    height=st.integers(2000, 200_000),
    factor=st.sampled_from([2, 3, 4, 5, 8, 16, 32, 64]),
    up=st.booleans(),
)
@example(2000, 2000, 64, False)
def test_rounded_sizes_give_the_factor_back(width: int, height: int, factor: int, up: bool) -> None:
    size = (-(-width // factor), -(-height // factor)) if up else (width // factor, height // factor)
    assert exact_downsample((width, height), size) == factor


@pytest.mark.parametrize(
    ("base", "level", "expected"),
    [
        ((46000, 32914), (11500, 8228), 4.0),  # CMU-1.svs: OpenSlide says 4.000121
        ((300, 250), (75, 62), 4.0),
        ((300, 250), (300, 250), 1.0),
        ((10000, 8000), (4000, 3200), 2.5),
        ((1330, 1000), (359, 271), (1330 / 360 + 1000 / 270) / 2),
        ((4000, 8), (1081, 2), 4000 / 1081),
    ],
)
def test_known_pyramids(base: tuple[int, int], level: tuple[int, int], expected: float) -> None:
    assert exact_downsample(base, level) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("label", [(400, 400), (1000, 3000), (2000, 100)])
def test_a_label_or_overview_is_no_level(label: tuple[int, int]) -> None:
    assert exact_downsample((40000, 20000), label) is None
