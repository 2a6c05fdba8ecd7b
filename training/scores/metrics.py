"""Running scores of a data set in training, summed over devices, and the image-level accuracy of stage 1."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tiling.confusion import Scores, confusion, scores_of

__all__ = ["SegmentationScores", "presence_accuracy"]


class SegmentationScores:
    """Running confusion matrix of a whole data set.

    Parameters
    ----------
    num_classes : int
        Number of tissue classes C; pixels whose truth is C or above are ignored (Han's protocol).
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.reset()

    def update(self, prediction: Tensor | NDArray[np.uint8], truth: Tensor | NDArray[np.uint8]) -> None:
        """Add label maps of equal shape; values are class indexes, C and above is background.

        Background called on a tissue pixel is an error of that pixel's class.
        """
        found, true = (
            torch.as_tensor(labels).clamp(max=self.num_classes).to(torch.uint8).cpu().numpy()
            for labels in (prediction, truth)
        )
        self._matrix += confusion(true, found, self.num_classes + 1)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Confusion matrix so far, summed over all devices, (C + 1, C + 1): rows truth, last index background."""
        total = self._matrix.copy()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
            shared = torch.from_numpy(total).to(device)
            torch.distributed.all_reduce(shared)
            total = shared.cpu().numpy()
        total[self.num_classes] = 0
        return total

    def compute(self) -> Scores:
        """Return the scores over everything added since the last reset."""
        return scores_of(self.confusion, self.num_classes)

    def reset(self) -> None:
        """Forget everything."""
        self._matrix = np.zeros((self.num_classes + 1,) * 2, np.int64)


def presence_accuracy(probabilities: Tensor, labels: Tensor) -> tuple[float, float]:
    """Image-level accuracy of stage 1 as the reference logs it.

    Parameters
    ----------
    probabilities, labels : (N, C) float
        Above a half counts as present.

    Returns
    -------
    exact : float
        Share of patches whose whole set of classes is right.
    jaccard : float
        Mean of intersection over union of the two sets of classes; 1 when both are empty.
    """
    called, true = probabilities > 0.5, labels > 0.5
    exact = (called == true).all(1).float().mean()
    union = (called | true).sum(1)
    jaccard = torch.where(union > 0, (called & true).sum(1) / union.clamp(min=1), 1.0).mean()
    return float(exact), float(jaccard)
