"""The confusion matrix and the scores that follow from it: one count for evaluation, training, demo and plugin.

The protocol is that of Han et al., Medical Image Analysis 2022: one matrix over the whole set, classes weighted alike.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scores", "confusion", "scores_of"]


@dataclass(frozen=True)
class Scores:
    """Scores of a segmentation, all from 0 to 1.

    A class that is neither in the truth nor in the prediction has no IoU (NaN) and does not count in the means.

    Attributes
    ----------
    pixel_accuracy, mean_accuracy : float
        Share of right pixels; the same averaged over the classes of the truth.
    miou, fwiou, mdice : float
        Mean IoU, IoU weighted by the frequency of the class in the truth, mean Dice.
    iou, dice : tuple of float
        Per class.
    pixels : int
        Number of scored pixels.
    """

    pixel_accuracy: float
    mean_accuracy: float
    miou: float
    fwiou: float
    mdice: float
    iou: tuple[float, ...]
    dice: tuple[float, ...]
    pixels: int

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-ready form; NaN becomes None."""

        def clean(value: object) -> object:
            if isinstance(value, tuple):
                return [clean(v) for v in value]
            return None if isinstance(value, float) and value != value else value

        return {name: clean(value) for name, value in asdict(self).items()}


def confusion(
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    size: int,
    counts: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Count pairs of labels.

    Parameters
    ----------
    truth, predicted : (...) int
        Of one shape; labels from 0 to ``size`` − 1.
    size : int
    counts : (...) int, optional
        How often each pair occurs; default once.

    Returns
    -------
    (size, size) int64
        Rows are the truth, columns the prediction.

    Raises
    ------
    ValueError
        For another shape or label: counted silently, it would be somebody else's pixel.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"label maps of two sizes: {truth.shape} and {predicted.shape}")
    for labels in (truth, predicted):
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < size:
            raise ValueError(f"labels from {labels.min()} to {labels.max()}, not from 0 to {size - 1}")
    pairs = truth.astype(np.intp).ravel() * size + predicted.ravel()
    weights = None if counts is None else counts.ravel()
    return np.bincount(pairs, weights, size * size).astype(np.int64).reshape(size, size)


def scores_of(matrix: NDArray[np.integer] | NDArray[np.floating], classes: int | None = None) -> Scores:
    """Compute the scores of a confusion matrix.

    Parameters
    ----------
    matrix : (K, K) int
        Rows are the truth, columns the prediction.
    classes : int, optional
        Average over the first ``classes`` classes only. With K = classes + 1 this is the keep-background variant of
        TPRO: tissue called on background counts as a false positive, background itself is not a class.

    Returns
    -------
    Scores
    """
    counts = np.asarray(matrix, np.float64)
    keep = slice(0, classes)
    truth, predicted, right = counts.sum(1), counts.sum(0), counts.diagonal()
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = (right / (truth + predicted - right))[keep]
        dice = (2 * right / (truth + predicted))[keep]
        recall = (right / truth)[keep]
        frequency = truth[keep] / truth[keep].sum()
        accuracy = right.sum() / counts.sum()
    used = frequency > 0
    return Scores(
        pixel_accuracy=float(accuracy),
        mean_accuracy=_mean(recall),
        miou=_mean(iou),
        fwiou=float((frequency[used] * iou[used]).sum()) if used.any() else float("nan"),
        mdice=_mean(dice),
        iou=tuple(float(v) for v in iou),
        dice=tuple(float(v) for v in dice),
        pixels=int(counts.sum()),
    )


def _mean(values: NDArray[np.float64]) -> float:
    """Mean without NaN; NaN when nothing is left (no warning)."""
    finite = values[~np.isnan(values)]
    return float(finite.mean()) if finite.size else float("nan")
