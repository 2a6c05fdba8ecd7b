"""The tissue mask: tissue in, glass, ink and dust out, whatever the slide holds of each."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tiling.errors import SlideError
from tiling.plan.tissue import TissueParameters, look_for_tissue, tissue_mask
from tiling.slides.open import open_slide
from tiling.synthetic import SyntheticSlide

MPP = 8.0
GLASS, EOSIN, NUCLEI = (243, 242, 244), (226, 150, 190), (110, 70, 150)
BLUE, GREEN, BLACK, RED = (40, 60, 150), (30, 140, 80), (35, 35, 40), (200, 25, 50)


def paint(
    shape: tuple[int, int] = (200, 200), colour: tuple[int, int, int] = GLASS, structure: float = 0.0
) -> NDArray[np.uint8]:
    """A thumbnail of one colour with the scanner's noise, and with cells when it is tissue."""
    rng = np.random.default_rng(0)
    cells = rng.normal(0, structure, (*shape, 1)) + rng.normal(0, 0.7, (*shape, 3))
    return np.clip(np.rint(np.array(colour) + cells), 0, 255).astype(np.uint8)


def dab(picture: NDArray[np.uint8], rows: slice, columns: slice, colour: tuple[int, int, int]) -> None:
    part = picture[rows, columns]
    part[:] = paint(part.shape[:2], colour, 0 if colour in (GLASS, BLUE, GREEN, BLACK, RED) else 10)


def stained(shape: tuple[int, int], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A thumbnail full of tissue."""
    return paint(shape, colour, 10)


def inked(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where ink is found in a thumbnail."""
    return look_for_tissue(picture, MPP).ink


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
    assert tissue_mask(stained((side, side), EOSIN), 0.5).all()


def test_a_slide_full_of_tissue_is_full() -> None:
    picture = stained((200, 200), EOSIN)
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


@pytest.mark.parametrize("ink", [BLUE, GREEN, BLACK, RED])
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
    picture = stained((200, 200), EOSIN)
    dab(picture, slice(100, 113), slice(100, 113), BLUE)
    mask = tissue_mask(picture, MPP)
    assert not mask[100:113, 100:113].any()
    assert mask[:90].all()


def test_ink_is_not_taken_for_the_glass_of_a_slide_without_glass() -> None:
    picture = stained((200, 200), NUCLEI)
    dab(picture, slice(0, 200), slice(100, 200), (238, 205, 222))
    dab(picture, slice(0, 200), slice(70, 110), BLUE)
    mask = tissue_mask(picture, MPP)
    assert mask[:, :60].all()
    assert mask[:, 120:].all()


@pytest.mark.parametrize(
    "stain", [EOSIN, NUCLEI, (80, 45, 120), (160, 60, 140), (60, 40, 90), (200, 80, 120), (190, 60, 80)]
)
def test_no_stain_of_histology_is_ink(stain: tuple[int, int, int]) -> None:
    picture = paint()
    dab(picture, slice(40, 160), slice(40, 160), stain)
    assert not inked(picture).any()


def test_small_pieces_and_holes_go_by_their_size_in_um() -> None:
    picture = paint((400, 400))
    dab(picture, slice(50, 250), slice(50, 250), EOSIN)
    dab(picture, slice(140, 150), slice(140, 150), GLASS)  # a hole of 6400 µm²
    dab(picture, slice(320, 332), slice(320, 332), EOSIN)  # a piece of 9216 µm²
    parameters = TissueParameters(smoothing_um=1, min_object_um2=20_000, max_gap_um2=20_000)
    mask = tissue_mask(picture, MPP, parameters)
    assert mask[145, 145]
    assert not mask[326, 326]
    fine = replace(parameters, min_object_um2=2_000, max_gap_um2=2_000)
    mask = tissue_mask(picture, MPP, fine)
    assert not mask[145, 145]
    assert mask[326, 326]
    # The same picture at twice the µm per pixel shows things four times as large.
    assert tissue_mask(picture, 2 * MPP, parameters)[326, 326]


@pytest.mark.parametrize("glass", [(221, 208, 224), (157, 168, 177), (244, 236, 210), (180, 182, 179)])
def test_tinted_glass_is_no_tissue(glass: tuple[int, int, int]) -> None:
    """A tint was taken for a stain: 17 mm² of fat were reported on empty lilac glass."""
    picture = paint(colour=glass)
    assert not tissue_mask(picture, MPP).any()
    part = picture[40:160, 50:150]
    part[:] = (stained(part.shape[:2], EOSIN).astype(int) * np.array(glass) // 245).astype(np.uint8)
    mask = tissue_mask(picture, MPP)
    assert mask[45:155, 55:145].all()
    mask[37:163, 47:153] = False
    assert not mask.any()


def test_padding_beside_the_scan_and_its_vignette_are_glass() -> None:
    picture = paint(colour=(228, 226, 232))
    fall = 1 - 0.08 * (np.linspace(-1, 1, 200) ** 2)
    picture[:] = np.rint(picture * fall[:, None, None] * fall[None, :, None]).astype(np.uint8)
    picture[:, :40] = 255
    dab(picture, slice(60, 120), slice(80, 150), EOSIN)
    mask = tissue_mask(picture, MPP)
    assert mask[65:115, 85:145].all()
    mask[57:123, 77:153] = False
    assert not mask.any()


def test_a_blue_stain_all_over_is_no_pen() -> None:
    picture = paint()
    dab(picture, slice(20, 180), slice(20, 180), (120, 150, 190))
    assert tissue_mask(picture, MPP)[30:170, 30:170].all()


def test_a_black_picture_is_empty_and_says_why() -> None:
    fluorescence = np.random.default_rng(0).poisson(3, (80, 80, 3)).astype(np.uint8)
    fluorescence[20:40, 20:40, 2] += 60
    look = look_for_tissue(fluorescence, MPP)
    assert not look.mask().any()
    assert "fluorescence" in look.problem
    assert look.receipt()["glass"] == []


def test_the_threshold_can_be_moved_without_looking_again() -> None:
    picture = paint()
    dab(picture, slice(20, 100), slice(20, 180), NUCLEI)
    dab(picture, slice(110, 180), slice(20, 180), (238, 215, 226))
    look = look_for_tissue(picture, MPP)
    assert look.problem == ""
    assert look.receipt()["threshold_from"] == "picture"
    low, high = look.mask(0.02), look.mask(0.4)
    assert low[118:172, 28:172].all()
    assert not high[104:].any()
    assert high[25:95, 25:175].all()
    asked = look_for_tissue(picture, MPP, TissueParameters(threshold=0.4))
    np.testing.assert_array_equal(asked.mask(), high)
    assert asked.receipt()["threshold_from"] == "user"


def test_gaps_are_filled_only_when_small_against_their_piece() -> None:
    ring = paint()
    dab(ring, slice(60, 140), slice(60, 140), EOSIN)
    dab(ring, slice(75, 125), slice(75, 125), GLASS)  # a vessel: most of it is lumen
    assert not tissue_mask(ring, MPP)[85:115, 85:115].any()
    sheet = stained((200, 200), EOSIN)
    dab(sheet, slice(75, 125), slice(75, 125), GLASS)  # 160,000 µm² in 2.4 mm²
    sheet[0:5], sheet[:, 0:5] = paint((5, 200)), paint((200, 5))
    assert tissue_mask(sheet, MPP)[80:120, 80:120].all()


@pytest.mark.parametrize("gain", [0.8, 0.9, 1.02])
def test_what_the_scanner_makes_of_brightness_changes_little(gain: float) -> None:
    picture = paint()
    dab(picture, slice(40, 160), slice(50, 150), (238, 205, 222))
    other = np.clip(picture * gain, 0, 255).astype(np.uint8)
    assert (tissue_mask(picture, MPP) ^ tissue_mask(other, MPP)).mean() < 0.01


@pytest.mark.shared
def test_the_mask_finds_known_tissue_on_real_slides(shared_dir: Path) -> None:
    """Sensitivity and specificity at points known from elsewhere: mean 0.97 and 0.95, none below 0.90 and 0.85."""
    with (shared_dir / "tissue" / "index.csv").open(newline="") as stream:
        index = list(csv.DictReader(stream))
    scores = np.array([_score(shared_dir / "tissue" / row["file"], float(row["mpp"])) for row in index])
    assert len(scores) == 12
    assert (np.nanmean(scores, axis=0) > (0.97, 0.95)).all()
    assert (np.nanmin(scores, axis=0) > (0.90, 0.85)).all()


def _score(path: Path, mpp: float) -> tuple[float, float]:
    """Return sensitivity and specificity at the points of a picture; NaN where it has none."""
    mask = tissue_mask(np.asarray(Image.open(path).convert("RGB")), mpp)
    with path.with_suffix(".csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    inside = np.array([row["inside"].strip() == "1" for row in rows])
    line, column = (np.array([int(float(row[axis])) for row in rows]) for axis in "yx")
    found = mask[line.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)]
    return found[inside].mean(), (~found[~inside]).mean() if not inside.all() else float("nan")


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_lilac_glass_is_glass(shared_dir: Path) -> None:
    """c32d05b took 3,229 of 3,245 tiles of this slide."""
    with open_slide(shared_dir / "slides" / "her2st-b4.jpg", mpp=0.69) as slide:
        picture = slide.thumbnail(1024)
    mask = tissue_mask(picture, 0.69 * slide.bounds.width / picture.shape[1])
    assert 0.2 < mask.mean() < 0.33
    assert mask[700:900, 180:300].mean() > 0.97
    assert not mask[:300].any()
    assert not mask[:, :100].any()


def test_a_thumbnail_must_be_rgb_bytes() -> None:
    with pytest.raises(SlideError, match="thumbnail"):
        tissue_mask(np.zeros((5, 5), np.uint8), MPP)


@pytest.mark.shared
def test_the_real_slide_is_tissue_in_the_middle_and_glass_at_the_sides(cmu_slide: Path) -> None:
    with open_slide(cmu_slide) as slide:
        mask = tissue_mask(slide.thumbnail(370), slide.require_mpp() * 2967 / 370)
    assert 0.3 < mask.mean() < 0.44
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


def test_the_mask_ends_where_the_tissue_does() -> None:
    """Smoothing and closing left a rim of glass: a twelfth of a biopsy's area, which models take for fat."""
    rng = np.random.default_rng(5)
    picture = np.clip(rng.normal((244, 243, 244), 1.0, (400, 400, 3)), 0, 255)
    tissue = np.zeros((400, 400), bool)
    tissue[50:350, 180:205] = tissue[150:175, 60:340] = True
    picture[tissue] = rng.normal((200, 120, 170), 12.0, (int(tissue.sum()), 3))
    # Cells of fat of 80 µm, some of which lie along the edge.
    for y, x in ((250, 195), (300, 184), (160, 120), (166, 260)):
        picture[y - 5 : y + 5, x - 5 : x + 5] = 244
    found = tissue_mask(np.clip(picture, 0, 255).astype(np.uint8), 8.0)
    assert found[tissue].mean() > 0.97
    assert found.sum() < 1.05 * tissue.sum()


def test_glass_that_the_picture_cuts_off_counts_as_what_it_is_a_part_of() -> None:
    """Of a gap at a corner a quarter is seen: it is not closed as a small one in the middle would be."""
    slide = SyntheticSlide(1200, 900, seed=7, region_um=60)
    corner = tissue_mask(slide.render(0, 0, 1200, 900)[::2, ::2], 1.0)[:60, -60:]
    assert corner.mean() < 0.3
