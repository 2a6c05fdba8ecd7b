"""Segmentation scores from one confusion matrix over the whole set (the protocol of Han et al. 2022).

The matrix is a torchmetrics object, so it sums over devices; the scores are plain numpy on top of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

__all__ = ["Scores", "SegmentationScores", "presence_accuracy", "scores_of"]


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


def scores_of(confusion: NDArray[np.integer] | NDArray[np.floating], classes: int | None = None) -> Scores:
    """Compute the scores of a confusion matrix.

    Parameters
    ----------
    confusion : (K, K) int
        Rows are the truth, columns the prediction.
    classes : int, optional
        Average over the first ``classes`` classes only. With K = classes + 1 this is the keep-background variant of
        TPRO: tissue called on background counts as a false positive, background itself is not a class.

    Returns
    -------
    Scores
    """
    matrix = np.asarray(confusion, np.float64)
    keep = slice(0, classes)
    truth, predicted, right = matrix.sum(1), matrix.sum(0), matrix.diagonal()
    total = matrix.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = (right / (truth + predicted - right))[keep]
        dice = (2 * right / (truth + predicted))[keep]
        recall = (right / truth)[keep]
        frequency = truth[keep] / truth[keep].sum()
        accuracy = right.sum() / total
    used = frequency > 0
    return Scores(
        pixel_accuracy=float(accuracy),
        mean_accuracy=_mean(recall),
        miou=_mean(iou),
        fwiou=float((frequency[used] * iou[used]).sum()) if used.any() else float("nan"),
        mdice=_mean(dice),
        iou=tuple(float(v) for v in iou),
        dice=tuple(float(v) for v in dice),
        pixels=int(total),
    )


def _mean(values: NDArray[np.float64]) -> float:
    """Mean without NaN; NaN when nothing is left (no warning)."""
    finite = values[~np.isnan(values)]
    return float(finite.mean()) if finite.size else float("nan")


class SegmentationScores:
    """Running confusion matrix of a whole data set.

    Parameters
    ----------
    num_classes : int
        Number of tissue classes C.
    keep_background : bool
        False: pixels whose truth is C or above are ignored (Han's protocol). True: they form class C of the matrix.
    """

    def __init__(self, num_classes: int, keep_background: bool = False) -> None:
        self.num_classes = num_classes
        self.keep_background = keep_background
        self._matrix = MulticlassConfusionMatrix(num_classes + 1, ignore_index=-1)

    def update(self, prediction: Tensor | NDArray[np.uint8], truth: Tensor | NDArray[np.uint8]) -> None:
        """Add label maps of equal shape; values are class indexes, C and above is background.

        Background called on a tissue pixel is an error of that pixel's class in both protocols.
        """
        predicted = torch.as_tensor(prediction).long().clamp(max=self.num_classes)
        true = torch.as_tensor(truth).long().to(predicted.device)
        background = self.num_classes if self.keep_background else -1
        true = torch.where(true >= self.num_classes, background, true)
        self._matrix.to(predicted.device).update(predicted, true)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Confusion matrix so far, summed over all devices, (C + 1, C + 1): rows truth, last index background."""
        matrix = self._matrix.compute() if self._matrix.update_called else self._matrix.confmat
        return np.asarray(matrix.cpu().numpy(), np.int64)

    def compute(self) -> Scores:
        """Return the scores over everything added since the last reset."""
        return scores_of(self.confusion, self.num_classes)

    def reset(self) -> None:
        """Forget everything."""
        self._matrix.reset()


def presence_accuracy(probabilities: Tensor, labels: Tensor, threshold: float = 0.5) -> tuple[float, float]:
    """Image-level accuracy of stage 1 as the reference logs it.

    Parameters
    ----------
    probabilities, labels : (N, C) float
    threshold : float

    Returns
    -------
    exact : float
        Share of patches whose whole set of classes is right.
    jaccard : float
        Mean of intersection over union of the two sets of classes; 1 when both are empty.
    """
    called, true = probabilities > threshold, labels > 0.5
    exact = (called == true).all(1).float().mean()
    union = (called | true).sum(1)
    jaccard = torch.where(union > 0, (called & true).sum(1) / union.clamp(min=1), 1.0).mean()
    return float(exact), float(jaccard)
