"""The maths behind the map: a convex fit, labels in blocks, an honest score, and what to ask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from napari_wsss.project.head import (
    HeadWeights,
    entropies,
    examples_of,
    fit_weights,
    label_places,
)
from napari_wsss.project.reduction import principal_components
from napari_wsss.project.score import cross_validate, score_tiles
from napari_wsss.project.suggest import first_tiles, most_telling

PLACES, VALUES = 3, 6


def world(tiles: int, classes: int, seed: int, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of one or two classes, whose places are clouds around one point per class."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((classes, VALUES)) * 2
    present = np.zeros((tiles, classes), bool)
    values = np.empty((tiles, PLACES * PLACES, VALUES))
    for i in range(tiles):
        held = [i % classes] if i % 3 else [i % classes, (i + 1) % classes]
        present[i, held] = True
        kind = np.array(held)[np.arange(PLACES * PLACES) % len(held)]
        values[i] = points[kind] + rng.standard_normal((PLACES * PLACES, VALUES)) * noise
    return values.reshape(tiles, PLACES, PLACES, VALUES).astype(np.float16), present


@settings(max_examples=15)
@given(classes=st.integers(2, 4), seed=st.integers(0, 99))
def test_the_start_changes_the_time_and_not_the_result(classes: int, seed: int) -> None:
    values, present = world(24, classes, seed)
    examples = examples_of(values, present)
    cold = fit_weights(examples, steps=300)
    rng = np.random.default_rng(seed)
    start = HeadWeights(
        rng.standard_normal((VALUES, classes)).astype(np.float32), np.zeros(classes, np.float32)
    )
    warm = fit_weights(examples, start, steps=300)
    flat = values.reshape(-1, VALUES)
    assert np.mean(label_places(flat, cold) == label_places(flat, warm)) > 0.98


@pytest.mark.parametrize("seed", range(3))
def test_places_of_tiles_with_several_classes_are_told_apart(seed: int) -> None:
    values, present = world(60, 3, seed)
    head = fit_weights(examples_of(values, present))
    several = present.sum(1) == 2
    found = label_places(values[several].reshape(-1, VALUES), head).reshape(int(several.sum()), -1)
    for labels, held in zip(found, present[several], strict=True):
        assert set(labels.tolist()) == set((np.flatnonzero(held) + 1).tolist())


def test_a_class_that_no_label_names_is_never_found() -> None:
    values, present = world(20, 3, 0)
    wider = np.concatenate([present, np.zeros((20, 1), bool)], 1)
    head = fit_weights(examples_of(values, wider))
    assert head.offset[3] == -np.inf
    assert label_places(values.reshape(-1, VALUES), head).max() == 3


def test_blocks_leave_no_seam_and_missing_places_are_empty() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40_007, VALUES)).astype(np.float16)
    values[10_925] = np.nan
    head = HeadWeights(rng.standard_normal((VALUES, 4)).astype(np.float32), np.zeros(4, np.float32))
    labels = label_places(values, head)
    expected = head.scores(values).argmax(1) + 1
    expected[10_925] = 0
    assert (labels == expected).all()
    doubt = entropies(values, head)
    assert np.isnan(doubt[10_925])
    assert 0 <= np.nanmin(doubt) <= np.nanmax(doubt) <= 1


def test_the_score_is_about_what_was_left_out() -> None:
    """Features that say nothing score badly, however well the head knows its own tiles by heart."""
    values, present = world(60, 3, 1)
    cases = [f"P{i % 6}" for i in range(60)]
    middles = np.arange(120, dtype=float).reshape(60, 2)
    good = cross_validate(values, present, cases, cases, middles, "abc")
    assert good.by == "case"
    assert good.mean is not None
    assert good.mean > 0.9
    assert good.low <= good.mean <= good.high  # type: ignore[operator]
    noise = np.random.default_rng(0).standard_normal(values.shape).astype(np.float16)
    bad = cross_validate(noise, present, cases, cases, middles, "abc")
    assert bad.mean is not None
    assert bad.mean < 0.5


def test_regions_of_one_slide_are_left_out_whole() -> None:
    """Where neighbours are copies, a score over single tiles would be 1."""
    rng = np.random.default_rng(0)
    middles = np.repeat(rng.uniform(0, 1000, (10, 2)), 6, axis=0) + rng.uniform(0, 1, (60, 2))
    values = np.repeat(rng.standard_normal((10, PLACES, PLACES, VALUES)), 6, axis=0).astype(np.float16)
    present = np.repeat(np.eye(2, dtype=bool)[rng.permutation(np.arange(10) % 2)], 6, axis=0)
    score = cross_validate(values, present, ["P1"] * 60, ["a"] * 60, middles, "ab")
    assert score.by == "region"
    assert score.mean is not None
    assert score.mean < 0.8


def test_too_few_labels_say_so() -> None:
    values, present = world(8, 3, 0)
    score = cross_validate(values, present, ["P1"] * 8, ["a"] * 8, np.zeros((8, 2)), "abc")
    assert score.mean is None
    assert "too few labels to say" in str(score)
    assert all("too few" in str(each) for each in score.classes)
    values, present = world(30, 3, 0)
    present[:, 2] = False
    present[0, 2] = True  # one tile is nothing to go by
    present[~present.any(1), 0] = True
    score = cross_validate(
        values, present, [f"P{i % 5}" for i in range(30)], ["a"] * 30, np.zeros((30, 2)), "abc"
    )
    assert score.classes[2].iou is None
    assert (
        score_tiles(values[:3], present[:3], fit_weights(examples_of(values, present)), "abc", "abc").mean
        is None
    )


@given(
    count=st.integers(0, 12), tiles=st.integers(0, 30), labelled=st.integers(0, 5), seed=st.integers(0, 99)
)
def test_what_is_asked_is_asked_once(count: int, tiles: int, labelled: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((tiles, VALUES)).astype(np.float32)
    slides = rng.integers(0, 3, tiles)
    known = rng.standard_normal((labelled, VALUES)).astype(np.float32)
    for chosen in (
        most_telling(rng.random(tiles), means, slides, known, count),
        first_tiles(means, slides, known, count) if count else [],
    ):
        assert len(chosen) == len(set(chosen)) == min(count, tiles) or not count
        assert all(0 <= i < tiles for i in chosen)


def test_certain_tiles_and_near_copies_are_not_asked() -> None:
    means = np.array([[0.0, 0], [0, 0.01], [5, 0], [0, 5]], np.float32)
    chosen = most_telling(np.array([0.9, 0.8, 0.5, 0.0]), means, np.zeros(4, int), np.empty((0, 2)), 2)
    assert chosen == [0, 2]


def test_the_reduction_keeps_what_varies_and_repeats_itself() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((500, 3)).astype(np.float32)
    sample = hidden @ rng.standard_normal((3, 40)).astype(np.float32) + 5
    first, again = principal_components(sample, 4), principal_components(sample, 4)
    assert first.sha256 == again.sha256
    values = sample @ first.matrix.T + first.offset
    assert values.mean(0) == pytest.approx(0, abs=1e-3)
    assert values[:, 0].std() == pytest.approx(1, rel=0.05)
    rebuilt = values @ np.linalg.pinv(first.matrix).T
    assert np.abs(rebuilt - (sample - sample.mean(0))).max() < 1e-2
