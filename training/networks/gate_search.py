"""The gate's thresholds, chosen on val."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_wsss.models import apply_gate
from training.networks.segmenter import SegmenterTrainee
from training.scores import Scores, SegmentationScores, scores_of

__all__ = ["GateCalibrator", "calibrate_gate"]


class GateCalibrator:
    """Chooses the gate's thresholds on val: one for all classes first, then each class in turn.

    It remembers a thinned copy of the logits (every ``stride``-th pixel) of the whole val set and searches a grid for
    the thresholds with the highest mean of mIoU and FwIoU. Of equal thresholds the one nearest to the start wins, so a
    gate that does not matter stays where it was.

    Parameters
    ----------
    num_classes : int
    stride : int
        Thinning in both directions.
    """

    GRID = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)

    def __init__(self, num_classes: int, stride: int = 4) -> None:
        self.num_classes = num_classes
        self.stride = stride
        self._logits: list[Tensor] = []
        self._truth: list[Tensor] = []
        self._presence: list[Tensor] = []

    def add(self, logits: Tensor, presence: Tensor, truth: Tensor) -> None:
        """Remember a batch: (N, C, H, W) logits, (N, C) probabilities, (N, H, W) labels."""
        s = self.stride
        self._logits.append(logits[:, :, s // 2 :: s, s // 2 :: s].half().cpu())
        self._truth.append(truth[:, s // 2 :: s, s // 2 :: s].cpu())
        self._presence.append(presence.float().cpu())

    def score(self, thresholds: tuple[float, ...]) -> Scores:
        """Return the scores of the thinned val set with these thresholds."""
        total: NDArray[np.int64] = np.zeros((self.num_classes + 1, self.num_classes + 1), np.int64)
        for logits, presence, truth in zip(self._logits, self._presence, self._truth, strict=True):
            labels = apply_gate(logits.float(), presence, thresholds).argmax(1)
            scored = truth < self.num_classes
            pairs = truth[scored].long() * (self.num_classes + 1) + labels[scored]
            total += torch.bincount(pairs, minlength=total.size).numpy().reshape(total.shape)
        return scores_of(total, self.num_classes)

    def calibrate(self, start: float = 0.1, rounds: int = 2) -> tuple[float, ...]:
        """Return one threshold per class.

        Parameters
        ----------
        start : float
            Where the search begins.
        rounds : int
            Passes over the classes.
        """
        if not self._logits:
            return (start,) * self.num_classes

        def value(thresholds: tuple[float, ...]) -> float:
            scores = self.score(thresholds)
            return scores.miou + scores.fwiou

        grid = sorted(self.GRID, key=lambda t: abs(t - start))
        best = max(((t,) * self.num_classes for t in grid), key=value)
        for _ in range(rounds):
            before = best
            for c in range(self.num_classes):
                near = sorted(self.GRID, key=lambda t, c=c: abs(t - best[c]))  # type: ignore[misc]
                best = max(((*best[:c], t, *best[c + 1 :]) for t in near), key=value)
            if best == before:
                break
        return best


def calibrate_gate(
    trainee: SegmenterTrainee, val: Iterable[Any] | None
) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Choose the gate's thresholds on val and score the network there, gate off and on.

    Parameters
    ----------
    trainee : SegmenterTrainee
        With the chosen weights; moved to the CPU.
    val : iterable of (images, masks), or None

    Returns
    -------
    thresholds : tuple of float
        One per class; the settings' own without val or with ungated selection.
    metrics : dict
        JSON-ready scores; empty without val.
    """
    settings = trainee.stage
    fixed = (settings.gate_threshold,)
    if val is None:
        return fixed, {}
    network = trainee.network.cpu().eval()
    calibrator = GateCalibrator(trainee.num_classes)
    outputs = []
    with torch.no_grad():
        for images, masks in val:
            x = images.contiguous(memory_format=torch.channels_last)
            logits, presence = network(x).float(), trainee.presence(x)
            calibrator.add(logits, presence, masks)
            outputs.append((logits.half(), presence, masks))
    thresholds = calibrator.calibrate(settings.gate_threshold) if settings.gated_selection else fixed
    plain, gated = (SegmentationScores(trainee.num_classes) for _ in range(2))
    for half, presence, masks in outputs:
        logits = half.float()
        plain.update(logits.argmax(1), masks)
        gated.update(apply_gate(logits, presence, thresholds).argmax(1), masks)
    return thresholds, {"val": {"gate_off": plain.compute().to_dict(), "gate_on": gated.compute().to_dict()}}
