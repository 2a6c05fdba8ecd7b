from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from napari_wsss.models import pseudo_mask, white_background


def test_the_highest_present_class_wins() -> None:
    maps = np.array([[[0.9, 0.9]], [[-2.0, 1.0]], [[-1.0, 0.5]]], np.float32)
    assert pseudo_mask(maps, [False, True, True]).tolist() == [[2, 1]]
    assert pseudo_mask(maps, [False, True, True], mode="reference").tolist() == [[2, 1]]


def test_the_global_minimum_falls_to_class_0_only_in_the_reference() -> None:
    maps = np.array([[[0.5, 0.5]], [[-1.0, 1.0]]], np.float32)
    assert pseudo_mask(maps, [False, True]).tolist() == [[1, 1]]
    assert pseudo_mask(maps, [False, True], mode="reference").tolist() == [[0, 1]]


def test_flat_maps_give_a_present_class() -> None:
    flat = np.full((3, 4, 5), 0.25, np.float32)
    assert (pseudo_mask(flat, [False, True, True]) == 1).all()
    assert (pseudo_mask(flat, [False, True, True], mode="reference") == 0).all()
    broken = flat.copy()
    broken[1] = np.nan
    assert (pseudo_mask(broken, [False, True, True]) == 2).all()


def test_a_patch_without_classes_is_background() -> None:
    assert (pseudo_mask(np.zeros((3, 2, 2)), [False] * 3) == 3).all()


def test_white_areas_become_background() -> None:
    image = np.full((20, 20, 3), 120, np.uint8)
    image[:5, :10] = 240  # 50 px: just large enough
    image[10:17, 10:17] = 240  # 49 px: too small
    maps = np.zeros((2, 20, 20), np.float32)
    maps[1] = 9
    labels = pseudo_mask(maps, [True, True], image, background=True)
    assert (labels[:5, :10] == 2).all()
    assert (labels == 2).sum() == 50
    assert (pseudo_mask(maps, [True, True], image) == 1).all()


def test_diagonal_neighbours_are_two_components() -> None:
    image = np.full((20, 20, 3), 120, np.uint8)
    image[:5, :6] = 240
    image[5:10, 6:12] = 240
    assert not white_background(image).any()
    image[5, 5] = 240
    assert white_background(image).sum() == 61


def test_the_grey_value_is_opencvs() -> None:
    # 200.50…: OpenCV rounds to 201 (bright), Pillow's "L" formula to 200.
    colours = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    red, green, blue = (colours[..., i].astype(np.int64) for i in range(3))
    gray = (9798 * red + 19235 * green + 3735 * blue + 16384) // 32768
    assert np.array_equal(white_background(colours, min_size=1), gray > 200)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4)])
def test_wrong_images_are_refused(shape: tuple[int, ...]) -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    with pytest.raises(ValueError, match="uint8"):
        pseudo_mask(maps, [True, True], np.zeros(shape, np.uint8), background=True)
    with pytest.raises(ValueError, match="needs the image"):
        pseudo_mask(maps, [True, True], background=True)
    with pytest.raises(ValueError, match="one size"):
        pseudo_mask(maps, [True, True], np.zeros((5, 4, 3), np.uint8), background=True)
    with pytest.raises(ValueError, match="must agree"):
        pseudo_mask(maps, [True])
    with pytest.raises(ValueError, match="unknown pseudo-mask mode"):
        pseudo_mask(maps, [True, True], mode="other")  # type: ignore[arg-type]


@given(
    hnp.arrays(np.float32, (3, 4, 5), elements=st.floats(-100, 100, width=32)),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_only_present_classes_and_the_reference_differs_in_the_minimum_alone(
    maps: np.ndarray, present: list[bool]
) -> None:
    labels = pseudo_mask(maps, present)
    allowed = set(np.flatnonzero(present)) or {3}
    assert set(labels.ravel()) <= allowed
    if any(present) and np.ptp(maps) > 1e-3:
        reference = pseudo_mask(maps, present, mode="reference")
        top = np.where(np.array(present)[:, None, None], maps, -np.inf)
        margin = np.sort(top, axis=0)
        # float32 min-max can merge nearly equal values; elsewhere only pixels at the minimum may differ
        unclear = (margin[-1] - margin[-2] < 1e-3) | (margin[-1] - maps.min() < 1e-3)
        assert (labels == reference)[~unclear].all()
