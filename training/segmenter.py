"""Stage 2 in training: a segmentation network on pseudo masks, validated with and without the gate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_wsss.models import apply_gate
from training.loop.trainee import Trainee
from training.losses import masked_loss, noise_weights, reference_loss
from training.metrics import Scores, SegmentationScores, scores_of
from training.presets import Stage2Settings
from training.schedules import LearningRateSchedule

__all__ = ["GateCalibrator", "SegmenterTrainee", "calibrate_gate", "self_label_ramp", "self_labels"]


def self_label_ramp(progress: float) -> float:
    """Return the say of a network's own labels: 0 in the first quarter of a run, 1 from three quarters on.

    A network learns what most labels agree on before it learns the wrong ones by heart (Liu et al., CVPR 2022), so it
    may correct them when it has learned the one and not yet the other.

    Parameters
    ----------
    progress : float
        0 at the start of the run, 1 at the end.
    """
    return min(max((progress - 0.25) / 0.5, 0.0), 1.0)


def self_labels(logits: Tensor, targets: Sequence[Tensor], present: Tensor) -> Tensor:
    """Label patches of several classes by the network itself, among the classes that they hold.

    Parameters
    ----------
    logits : (N, C, H, W) float
    targets : sequence of (N, H, W) int
        Pseudo masks; what is ignored in the first stays ignored.
    present : (N, C) bool
        Patch labels; a patch with fewer than two classes keeps its first target, which is exact.

    Returns
    -------
    (N, H, W) int64
    """
    classes = logits.shape[1]
    first = targets[0].long()
    with torch.no_grad():
        own = logits.masked_fill(~present[:, :, None, None], -torch.inf).argmax(1)
    unsure = (present.sum(1) > 1)[:, None, None] & (first < classes)
    return torch.where(unsure, own, first)


class SegmenterTrainee(Trainee):
    """Stage 2 in training.

    Parameters
    ----------
    network : nn.Module
        Of :func:`napari_wsss.models.build_stage2`.
    stage1 : nn.Module
        Trained patch classifier; only its probabilities on val are used.
    settings : Stage2Settings
    schedule : LearningRateSchedule
    seed : int
    """

    def __init__(
        self,
        network: nn.Module,
        stage1: nn.Module,
        settings: Stage2Settings,
        schedule: LearningRateSchedule,
        seed: int,
    ) -> None:
        if settings.freeze_bn:
            for module in _batch_norms(network):
                module.requires_grad_(False)
        super().__init__(network, settings.optimiser, schedule, seed)
        self.stage = settings
        classes: int = network.num_classes  # type: ignore[assignment]
        self.num_classes = classes
        # In a tuple, so that Lightning neither trains nor saves it.
        stage1 = stage1.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._gatekeeper = (stage1.eval().requires_grad_(False),)
        self._presence: dict[int, Tensor] = {}
        self._plain = SegmentationScores(classes)
        self._gated = SegmentationScores(classes)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return backbone (1 ×) and head (``head_lr`` ×), both with weight decay, as the reference has them."""
        s, model = self.settings, self.network
        parts = (model.backbone_parameters(), model.head_parameters())
        rates = (s.lr, s.lr * s.head_lr)
        return [
            {"params": list(p), "lr": lr, "weight_decay": s.weight_decay}
            for p, lr in zip(parts, rates, strict=True)
        ]

    def on_train_epoch_start(self) -> None:
        """Keep batch norm still when asked to."""
        super().on_train_epoch_start()
        if self.stage.freeze_bn:
            for module in _batch_norms(self.network):
                module.eval()

    def loss(self, batch: Any) -> Tensor:
        """Weighted loss over the pseudo masks of all layers, and later in the run over the network's own labels."""
        images, masks, *known, _ = batch
        logits = self.network(images.contiguous(memory_format=torch.channels_last))
        targets = masks.unbind(1)
        weights = self.stage.layer_weights
        share = self.stage.self_labels * self_label_ramp(self.global_step / self.schedule.total_steps)
        if share and known:
            own = self_labels(logits, targets, known[0])
            targets = (*targets, own)
            weights = (*(w * (1.0 - share) for w in weights), share * sum(weights))
        if self.stage.loss == "reference":
            return reference_loss(logits, targets, weights, self.stage.loss_type)[0]
        trust = [noise_weights(logits, t) for t in targets] if self.stage.noise_weights else None
        return masked_loss(logits, targets, weights, self.stage.loss_type, trust)[0]

    def presence(self, images: Tensor) -> Tensor:
        """Return stage 1's probabilities, (N, C) float32."""
        stage1 = self._gatekeeper[0].to(images.device)
        return torch.sigmoid(stage1(images.contiguous(memory_format=torch.channels_last)).float())

    def label_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return the label map before and after the gate."""
        logits = self.network(images.contiguous(memory_format=torch.channels_last)).float()
        gated = apply_gate(logits, self.presence(images), self.stage.gate_threshold)
        return {"stage 2": logits.argmax(1), "gated": gated.argmax(1)}

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._plain.reset()
        self._gated.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Score the label map before and after the gate."""
        images, masks = batch
        if batch_idx not in self._presence:
            self._presence[batch_idx] = self.presence(images)
        logits = self.network(images.contiguous(memory_format=torch.channels_last)).float()
        self._plain.update(logits.argmax(1), masks)
        gated = apply_gate(logits, self._presence[batch_idx], self.stage.gate_threshold)
        self._gated.update(gated.argmax(1), masks)

    def on_validation_epoch_end(self) -> None:
        """Sum up; the score is that of the gated map if the settings say so."""
        plain, gated = self._plain.compute(), self._gated.compute()
        chosen = gated if self.stage.gated_selection else plain
        self.scores = {
            "miou": plain.miou,
            "fwiou": plain.fwiou,
            "gated_miou": gated.miou,
            "gated_fwiou": gated.fwiou,
            "score": chosen.miou if self.stage.select == "miou" else (chosen.miou + chosen.fwiou) / 2,
        }


def _batch_norms(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]


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
