from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from tiling.confusion import confusion as pairs, scores_of
from training.scores.metrics import SegmentationScores, presence_accuracy

maps = arrays(np.uint8, (6, 7), elements=st.integers(0, 4))


@settings(max_examples=40, deadline=None)
@given(maps, arrays(np.uint8, (6, 7), elements=st.integers(0, 3)))
def test_scores_equal_a_plain_count(truth: np.ndarray, prediction: np.ndarray) -> None:
    confusion = SegmentationScores(4)
    confusion.update(prediction, truth)
    scores = confusion.compute()
    scored = truth < 4
    assert scores.pixels == scored.sum()
    for c in range(4):
        both = ((truth == c) & (prediction == c) & scored).sum()
        either = (((truth == c) | (prediction == c)) & scored).sum()
        assert scores.iou[c] == pytest.approx(both / either) if either else np.isnan(scores.iou[c])
    if scored.any():
        assert scores.pixel_accuracy == pytest.approx((truth == prediction)[scored].mean())


def test_background_kept_counts_tissue_on_background_as_wrong() -> None:
    truth = np.array([[0, 0, 2, 2]], np.uint8)
    prediction = np.array([[0, 0, 0, 1]], np.uint8)
    ignored = SegmentationScores(2)
    ignored.update(prediction, truth)
    assert ignored.compute().iou[0] == 1.0
    assert scores_of(pairs(truth, prediction, 3), 2).iou == (pytest.approx(2 / 3), 0.0)


def test_background_called_on_tissue_is_wrong() -> None:
    confusion = SegmentationScores(2)
    confusion.update(np.array([[2, 0]], np.uint8), np.array([[0, 0]], np.uint8))
    assert confusion.compute().iou[0] == 0.5


def test_absent_class_has_no_iou() -> None:
    scores = scores_of(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
    assert np.isnan(scores.iou[2])
    assert scores.miou == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert scores.to_dict()["iou"][2] is None  # type: ignore[index]


def test_nothing_scored() -> None:
    scores = SegmentationScores(3).compute()
    assert np.isnan(scores.miou)
    assert scores.pixels == 0


def test_presence_accuracy() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.9], [0.1, 0.1]])
    labels = torch.tensor([[1.0, 0], [1, 0], [0, 0]])
    exact, jaccard = presence_accuracy(probabilities, labels)
    assert exact == pytest.approx(2 / 3)
    assert jaccard == pytest.approx((1 + 0.5 + 1) / 3)
