"""The one confusion matrix: against a plain count, and labels that would be counted as somebody else's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tiling.confusion import confusion

maps = arrays(np.uint8, (3, 7), elements=st.integers(0, 3))


@given(maps, maps, arrays(np.int64, (3, 7), elements=st.integers(0, 10**12)))
def test_pairs_are_counted(
    truth: NDArray[np.uint8], found: NDArray[np.uint8], counts: NDArray[np.int64]
) -> None:
    plain, weighted = np.zeros((4, 4), np.int64), np.zeros((4, 4), np.int64)
    np.add.at(plain, (truth, found), 1)
    np.add.at(weighted, (truth, found), counts)
    assert np.array_equal(confusion(truth, found, 4), plain)
    assert np.array_equal(confusion(truth, found, 4, counts), weighted)


def test_wrong_labels_are_nobodys() -> None:
    good = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="from 0 to 4, not from 0 to 3"):
        confusion(good, np.array([[0, 4], [0, 0]]), 4)
    with pytest.raises(ValueError, match="from -1"):
        confusion(np.array([[0, -1], [0, 0]]), good, 4)
    with pytest.raises(ValueError, match="two sizes"):
        confusion(good, np.zeros((2, 3), np.uint8), 4)
    assert confusion(good[:0], good[:0], 2).sum() == 0
