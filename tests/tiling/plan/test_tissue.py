"""The tissue mask: tissue in, glass, ink and dust out, whatever the slide holds of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tiling.errors import SlideError
from tiling.plan.tissue import TissueParameters, ink_mask, tissue_mask
from tiling.slides.open import open_slide

MPP = 8.0
GLASS, EOSIN, NUCLEI = (243, 242, 244), (226, 150, 190), (110, 70, 150)
BLUE, GREEN, BLACK = (40, 60, 150), (30, 140, 80), (35, 35, 40)


def paint(shape: tuple[int, int] = (200, 200), colour: tuple[int, int, int] = GLASS) -> NDArray[np.uint8]:
    """A thumbnail of one colour with the scanner's noise."""
    noise = np.random.default_rng(0).integers(-4, 5, (*shape, 1))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def dab(picture: NDArray[np.uint8], rows: slice, columns: slice, colour: tuple[int, int, int]) -> None:
    part = picture[rows, columns]
    part[:] = paint(part.shape[:2], colour)


def test_tissue_is_found_where_it_is() -> None:
    picture = paint()
    dab(picture, slice(40, 160), slice(50, 150), EOSIN)
    mask = tissue_mask(picture, MPP)
    assert mask.dtype == np.bool_
    assert mask[45:155, 55:145].all()
    mask[37:163, 47:153] = False
    assert not mask.any()


@pytest.mark.parametrize("white", [(255, 255, 255), GLASS, (225, 225, 228)])
def test_an_empty_slide_is_empty(white: tuple[int, int, int]) -> None:
    assert not tissue_mask(paint(colour=white), MPP).any()


@pytest.mark.parametrize("side", [1, 40, 224, 300])
def test_a_picture_no_larger_than_a_gap_is_glass_or_tissue_as_it_looks(side: int) -> None:
    """A patch of 224 px at 0.5 µm is smaller than the gaps that are filled."""
    assert not tissue_mask(paint((side, side)), 0.5).any()
    assert tissue_mask(paint((side, side), EOSIN), 0.5).all()


def test_a_slide_full_of_tissue_is_full() -> None:
    picture = paint(colour=EOSIN)
    assert tissue_mask(picture, MPP).all()
    # Two stains: Otsu alone would call the paler one glass.
    dab(picture, slice(0, 100), slice(0, 200), NUCLEI)
    assert tissue_mask(picture, MPP).all()


def test_pale_tissue_is_kept_beside_dark_tissue() -> None:
    picture = paint()
    dab(picture, slice(20, 100), slice(20, 180), NUCLEI)
    dab(picture, slice(110, 180), slice(20, 180), (238, 205, 222))
    mask = tissue_mask(picture, MPP)
    assert mask[25:95, 25:175].mean() == 1
    assert mask[118:172, 28:172].mean() > 0.95


@pytest.mark.parametrize("ink", [BLUE, GREEN, BLACK])
def test_pen_ink_is_no_tissue(ink: tuple[int, int, int]) -> None:
    picture = paint()
    dab(picture, slice(40, 160), slice(20, 110), EOSIN)
    dab(picture, slice(30, 170), slice(140, 170), ink)
    mask = tissue_mask(picture, MPP)
    assert mask[45:155, 25:105].all()
    assert not mask[:, 125:].any()
    assert tissue_mask(picture, MPP, TissueParameters(remove_ink=False))[60:140, 145:165].any() == (
        ink != BLACK
    )


def test_ink_across_tissue_leaves_the_rest() -> None:
    picture = paint()
    dab(picture, slice(40, 160), slice(20, 180), EOSIN)
    dab(picture, slice(0, 200), slice(90, 110), BLUE)
    mask = tissue_mask(picture, MPP)
    assert not mask[:, 90:110].any()
    assert mask[45:155, 25:80].all()
    assert mask[45:155, 120:175].all()


def test_a_spot_of_ink_is_no_hole_to_fill() -> None:
    picture = paint(colour=EOSIN)
    dab(picture, slice(100, 113), slice(100, 113), BLUE)
    mask = tissue_mask(picture, MPP)
    assert not mask[100:113, 100:113].any()
    assert mask[:90].all()


def test_ink_is_not_taken_for_the_glass_of_a_slide_without_glass() -> None:
    picture = paint(colour=NUCLEI)
    dab(picture, slice(0, 200), slice(100, 200), (238, 205, 222))
    dab(picture, slice(0, 200), slice(70, 110), BLUE)
    mask = tissue_mask(picture, MPP)
    assert mask[:, :60].all()
    assert mask[:, 120:].all()


@pytest.mark.parametrize("stain", [EOSIN, NUCLEI, (80, 45, 120), (160, 60, 140), (60, 40, 90)])
def test_no_stain_of_histology_is_ink(stain: tuple[int, int, int]) -> None:
    assert not ink_mask(paint(colour=stain), MPP).any()


def test_small_pieces_and_holes_go_by_their_size_in_um() -> None:
    picture = paint((400, 400))
    dab(picture, slice(50, 250), slice(50, 250), EOSIN)
    dab(picture, slice(140, 150), slice(140, 150), GLASS)  # a hole of 6400 µm²
    dab(picture, slice(320, 332), slice(320, 332), EOSIN)  # a piece of 9216 µm²
    parameters = TissueParameters(smoothing_um=1, min_object_um2=20_000, min_hole_um2=20_000)
    mask = tissue_mask(picture, MPP, parameters)
    assert mask[145, 145]
    assert not mask[326, 326]
    fine = replace(parameters, min_object_um2=2_000, min_hole_um2=2_000)
    mask = tissue_mask(picture, MPP, fine)
    assert not mask[145, 145]
    assert mask[326, 326]
    # The same picture at twice the µm per pixel shows things four times as large.
    assert tissue_mask(picture, 2 * MPP, parameters)[326, 326]


def test_a_thumbnail_must_be_rgb_bytes() -> None:
    with pytest.raises(SlideError, match="thumbnail"):
        tissue_mask(np.zeros((5, 5), np.uint8), MPP)


@pytest.mark.shared
def test_the_real_slide_is_tissue_in_the_middle_and_glass_at_the_sides(cmu_slide: Path) -> None:
    with open_slide(cmu_slide) as slide:
        mask = tissue_mask(slide.thumbnail(370), slide.require_mpp() * 2967 / 370)
    assert 0.3 < mask.mean() < 0.42
    assert mask[250:360, 90:200].mean() > 0.97
    assert not mask[150:, :50].any()


@pytest.mark.shared
def test_the_ink_on_the_real_slide_is_left_out(shared_dir: Path) -> None:
    with open_slide(shared_dir / "slides" / "slide_with_ink.jpeg", mpp=4.0) as slide:
        thumbnail = slide.thumbnail(1400)
    mask = tissue_mask(thumbnail, 16.0)
    assert mask[222:, 915:1005].mean() < 0.02
    assert mask[197:212, 945:970].mean() < 0.1
    assert mask[120:170, 800:900].mean() > 0.75
    assert 0.24 < mask.mean() < 0.31
    # The scanner's tiles in the background and the grey spot are no tissue.
    assert not mask[:20].any()
    assert not mask[170:, 300:700].any()
