"""Labels of a synthetic slide against its truth, block by block: neither is ever whole in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.classes import store_to_reference
from tiling.confusion import Scores, confusion, scores_of
from tiling.synthetic.slide import SYNTHETIC_SCHEMA, SyntheticSlide

__all__ = ["score_labels"]

_LINES = 512


def score_labels(labels: Any, scale: float, truth: SyntheticSlide) -> Scores:
    """Compare labels with the truth over the pixels that are tissue in truth.

    Parameters
    ----------
    labels : (h, w) uint8 array
        Store labels, read in blocks.
    scale : float
        Level-0 pixels per label pixel.
    truth : SyntheticSlide

    Returns
    -------
    Scores
        Tissue that got no label counts as missed.
    """
    classes = len(SYNTHETIC_SCHEMA)
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for found, true in _blocks(labels, scale, truth):
        tissue = true > 0
        true, found = (store_to_reference(each[tissue], classes) for each in (true, found))
        matrix += confusion(true, found, classes + 1)
    return scores_of(matrix, classes)


def _blocks(
    labels: Any, scale: float, truth: SyntheticSlide
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield label lines and the truth at the centres of their pixels."""
    height, width = labels.shape
    columns = _centres(0, width, scale, truth.width)
    for first in range(0, height, _LINES):
        lines = _centres(first, min(first + _LINES, height), scale, truth.height)
        top, bottom = int(lines[0]), int(lines[-1]) + 1
        true = truth.truth(0, top, truth.width, bottom - top)
        yield np.asarray(labels[first : first + _LINES]), true[np.ix_(lines - top, columns)]


def _centres(first: int, last: int, scale: float, extent: int) -> NDArray[np.int64]:
    """Return the level-0 pixel under the centre of each label pixel."""
    at = np.floor((np.arange(first, last) + 0.5) * scale)
    return np.asarray(np.minimum(at, extent - 1), np.int64)
