"""Confusion matrices of a cross-validation, and the threshold of the gate that they choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIKE", "THRESHOLDS", "CrossValidation", "area_accuracy", "merged"]

Matrix = NDArray[np.int64]

ALIKE = (3, 5)
"""Smooth muscle and stroma: alike in a single patch without its surroundings."""


THRESHOLDS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True)
class CrossValidation:
    """Confusion matrices of held-out patches and mosaics, per fold and threshold: (folds, thresholds, C, C)."""

    patches: Matrix
    mosaics: Matrix

    @property
    def best(self) -> int:
        """Index of the threshold with the best mean accuracy by area on patches and mosaics."""
        return self.choose(range(len(self.patches)))

    def choose(self, folds: Sequence[int]) -> int:
        """Choose the threshold on some folds only; of equal ones the lowest wins, which hides least."""
        chosen = list(folds)
        scores = [
            area_accuracy(self.patches[chosen, t].sum(0)) + area_accuracy(self.mosaics[chosen, t].sum(0))
            for t in range(len(THRESHOLDS))
        ]
        return int(np.argmax(np.round(scores, 4)))

    def report(self) -> dict[str, Any]:
        """Return all numbers as JSON-ready data."""
        folds = range(len(self.patches))
        best = self.best
        whole = self.patches[:, best].sum(0)
        others = [self.choose([f for f in folds if f != fold]) for fold in folds]
        nested = np.sum([self.patches[fold, t] for fold, t in zip(folds, others, strict=True)], axis=0)
        return {
            "accuracy": _round(area_accuracy(whole)),
            "accuracy, muscle and stroma as one": _round(area_accuracy(merged(whole))),
            "accuracy of mosaics": _round(area_accuracy(self.mosaics[:, best].sum(0))),
            "accuracy without gate": _round(area_accuracy(self.patches[:, 0].sum(0))),
            "accuracy, gate chosen on the other folds": _round(area_accuracy(nested)),
            "folds": [_round(area_accuracy(m)) for m in self.patches[:, best]],
            "folds, muscle and stroma as one": [
                _round(area_accuracy(merged(m))) for m in self.patches[:, best]
            ],
            "recall": [_round(v) for v in whole.diagonal() / np.maximum(whole.sum(1), 1)],
        }


def area_accuracy(confusion: NDArray[np.integer]) -> float:
    """Return the share of pixels that are right; rows of the matrix are the truth."""
    return float(np.trace(confusion) / confusion.sum())


def merged(confusion: Matrix, alike: tuple[int, int] = ALIKE) -> Matrix:
    """Return the matrix with two classes counted as one."""
    keep, gone = alike
    result = confusion.copy()
    result[keep] += result[gone]
    result[:, keep] += result[:, gone]
    return np.delete(np.delete(result, gone, 0), gone, 1)


def _round(value: float) -> float:
    return round(float(value), 4)
