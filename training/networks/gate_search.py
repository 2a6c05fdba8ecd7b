"""The gate's thresholds, chosen on val: streamed on the device of the run, a few hundred numbers kept per image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from napari_wsss.models import SegmentationNetwork, open_classes
from tiling.confusion import Scores, confusion, scores_of
from training.data import EvaluationSet, read_image, read_mask, to_input
from training.scores import ungated_image

__all__ = ["SQUARE", "GateCalibrator", "calibrate_gate"]

SQUARE = 8
"""Side in pixels of the squares within which the presence field is taken as one number."""

_ROUNDS = 2  # passes over the classes


class GateCalibrator:
    """Chooses the gate's thresholds on val: one for all classes first, then each class in turn.

    A gate takes classes away, so the label of a pixel is the first of its classes, best first, that is open. Pixels of
    an image with the same truth and the same order of classes are one case: kept are the cases and how often each
    occurs, never a logit. The grid is searched for the thresholds with the highest mean of mIoU and FwIoU; of equal
    ones the nearest to the start wins, so a gate that does not matter stays where it was.

    Parameters
    ----------
    num_classes : int
    """

    GRID = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        # Ranks that fit into one 63-bit code beside the truth; whoever is not among them is not the label.
        self._ranks = min(num_classes, int(62 / np.log2(num_classes + 1)) - 1)
        self._presence: list[Tensor] = []
        self._cases: list[NDArray[np.int64]] = []

    def add(self, logits: Tensor, presence: Tensor, truth: Tensor) -> None:
        """Count a batch: (N, C, H, W) logits, (N, C) probabilities, (N, H, W) labels, on any device."""
        order = logits.argsort(stable=True, dim=1, descending=True)[:, : self._ranks]
        codes = truth.long()
        for rank in order.unbind(1):
            codes = codes * self.num_classes + rank
        for own, code, labels in zip(presence, codes, truth, strict=True):
            found, counts = torch.unique(code[labels < self.num_classes], return_counts=True)
            image = torch.full_like(found, len(self._presence))
            self._cases.append(torch.stack([image, found, counts]).cpu().numpy())
            self._presence.append(own.float().cpu())

    def add_image(self, scores: NDArray[np.float32], presence: NDArray[np.float32], truth: Tensor) -> None:
        """Count an image gated by a field: (C, H, W) blended scores, (h, w, C) probabilities of squares, (H, W) labels.

        Each square of :data:`SQUARE` pixels is taken as an image of its own.
        """
        rows, columns = presence.shape[:2]
        below, beside = rows * SQUARE - truth.shape[0], columns * SQUARE - truth.shape[1]
        maps = functional.pad(torch.from_numpy(scores), (0, beside, 0, below))
        labels = functional.pad(truth, (0, beside, 0, below), value=self.num_classes)
        squares = maps.unfold(1, SQUARE, SQUARE).unfold(2, SQUARE, SQUARE).permute(1, 2, 0, 3, 4)
        self.add(
            squares.flatten(0, 1),
            torch.from_numpy(presence).flatten(0, 1),
            labels.unfold(0, SQUARE, SQUARE).unfold(1, SQUARE, SQUARE).flatten(0, 1),
        )

    def scores(self, thresholds: tuple[float, ...] | None) -> Scores:
        """Return the scores of val with these thresholds; None: gate off."""
        size = self.num_classes + 1
        if not self._cases:
            return scores_of(np.zeros((size, size)), self.num_classes)
        image, codes, counts = np.concatenate(self._cases, 1)
        is_open = open_classes(
            torch.stack(self._presence), -1.0 if thresholds is None else thresholds
        ).numpy()
        predicted = np.full(codes.shape, self.num_classes)
        for _ in range(self._ranks):  # from the last rank to the first, which so has the last word
            codes, rank = np.divmod(codes, self.num_classes)
            predicted = np.where(is_open[image, rank], rank, predicted)
        return scores_of(confusion(codes, predicted, size, counts), self.num_classes)

    def calibrate(self, start: float = 0.1) -> tuple[float, ...]:
        """Return one threshold per class.

        Parameters
        ----------
        start : float
            Where the search begins.
        """
        best = (start,) * self.num_classes
        if not self._cases:
            return best

        def value(thresholds: tuple[float, ...]) -> float:
            scores = self.scores(thresholds)
            return scores.miou + scores.fwiou

        best = max(((t,) * self.num_classes for t in self._near(start)), key=value)
        for _ in range(_ROUNDS):
            before = best
            for c in range(self.num_classes):
                best = max(((*best[:c], t, *best[c + 1 :]) for t in self._near(best[c])), key=value)
            if best == before:
                break
        return best

    def _near(self, start: float) -> list[float]:
        """Return the grid, nearest to ``start`` first."""
        return sorted(self.GRID, key=lambda t: abs(t - start))


def calibrate_gate(
    network: SegmentationNetwork,
    presence: Callable[[Tensor], Tensor],
    val: DataLoader[Any] | None,
    device: torch.device,
    start: tuple[float, ...],
    search: bool,
) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Choose the gate's thresholds on val and score the network there, gate off and on.

    With a search, images larger than a tile are gated as slides are: by the presence field.

    Parameters
    ----------
    network : SegmentationNetwork
        Moved to ``device``.
    presence : callable
        Images (N, 3, H, W) to stage 1's probabilities (N, C).
    val : DataLoader over an EvaluationSet, or None
    device : torch.device
        Where the run computes.
    start : tuple of float
        Thresholds without a search, one of all classes or one each; a search begins with the first.
    search : bool

    Returns
    -------
    thresholds : tuple of float
        One per class; ``start`` without val or search.
    metrics : dict
        JSON-ready scores; empty without val.
    """
    if val is None:
        return start, {}
    network = network.to(device).eval()
    calibrator = GateCalibrator(network.num_classes)
    windows = val.dataset
    assert isinstance(windows, EvaluationSet)

    def tiles(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        found = []
        for first in range(0, len(pixels), val.batch_size or 1):
            batch = torch.stack([to_input(tile) for tile in pixels[first : first + (val.batch_size or 1)]])
            x = batch.to(device, memory_format=torch.channels_last)
            found.append((network(x).float().softmax(1).cpu().numpy(), presence(x).float().cpu().numpy()))
        return np.concatenate([p for p, _ in found]), np.concatenate([p for _, p in found])

    with torch.no_grad():
        if search and any(max(pair.size) > windows.tile for pair in windows.pairs):
            for pair in windows.pairs:
                found = ungated_image(read_image(pair.image), tiles, windows.tile, SQUARE)
                calibrator.add_image(*found, torch.from_numpy(read_mask(pair.mask, network.num_classes)))
        else:
            for images, masks in val:
                x = images.to(device, memory_format=torch.channels_last)
                calibrator.add(network(x).float(), presence(x), masks.to(device))
    thresholds = calibrator.calibrate(start[0]) if search else start
    scores = {"gate_off": calibrator.scores(None), "gate_on": calibrator.scores(thresholds)}
    return thresholds, {"val": {name: score.to_dict() for name, score in scores.items()}}
