"""Stage 1 in training: a patch classifier, its loss with progressive dropout attention, and its CAMs on val."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from napari_wsss.models import Gate, PatchClassifier, class_activation, open_classes, resize_maps
from training.data import PatchSet
from training.loop import Stage, Trainee
from training.networks.losses import masked_loss, presence_loss
from training.networks.weights import initial_classifier
from training.scores import SegmentationScores, presence_accuracy
from training.settings import LearningRateSchedule, OptimiserSettings, Stage1Settings

__all__ = ["ClassifierStage", "ClassifierTrainee", "cam_labels", "classes_in", "classifier_groups"]

CAM_THRESHOLD = 0.25
"""Probability above which stage 1's own CAMs show a class (the reference's test mode)."""

DEEP_SHARES = (0.5, 0.2, 0.3)
"""Weights of the losses with deep heads: the last layer, then the others, shallowest first (ESFAN, MICCAI 2025)."""


def classifier_groups(
    network: PatchClassifier, settings: OptimiserSettings, bias_factor: float = 2.0
) -> list[dict[str, Any]]:
    """Split the trainable parameters of a stage-1 network as the reference does.

    Parameters
    ----------
    network : PatchClassifier
    settings : OptimiserSettings
    bias_factor : float
        Learning-rate factor of vectors (biases, batch-norm affine), which get no weight decay.

    Returns
    -------
    list of dict
        Four groups, some maybe empty: weights (1 ×), vectors (``bias_factor`` ×), head weights (``head_lr`` ×), head
        vectors (``head_lr`` · ``bias_factor`` ×).
    """
    head = {id(p) for p in network.head_parameters()}
    groups: list[list[nn.Parameter]] = [[], [], [], []]
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups[2 * (id(parameter) in head) + (parameter.ndim <= 1)].append(parameter)
    factors = (1.0, bias_factor, settings.head_lr, settings.head_lr * bias_factor)
    decays = (settings.weight_decay, 0.0, settings.weight_decay, 0.0)
    return [
        {"params": p, "lr": settings.lr * f, "weight_decay": d}
        for p, f, d in zip(groups, factors, decays, strict=True)
    ]


def classes_in(masks: Tensor, num_classes: int) -> Tensor:
    """Tell which classes a truth mask holds: (N, H, W) int -> (N, C) float. For scores only, never for prediction."""
    classes = torch.arange(num_classes, device=masks.device).view(1, -1, 1)
    return (masks.flatten(1).unsqueeze(1) == classes).any(2).float()


def cam_labels(network: PatchClassifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Segment with the closed-form CAM of the last layer; the most probable class always may appear.

    Parameters
    ----------
    network : PatchClassifier
    images : (N, 3, H, W) float

    Returns
    -------
    labels : (N, H, W) int64
    probabilities : (N, C) float32
    """
    features = network.features(images.contiguous(memory_format=torch.channels_last))
    maps = class_activation(features.float(), network.classifier_weights.float())
    probabilities = torch.sigmoid(network.classify(features).float())
    allowed = open_classes(probabilities, CAM_THRESHOLD)[:, :, None, None]
    maps = F.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)
    return maps.masked_fill(~allowed, -torch.inf).argmax(1), probabilities


@dataclass(frozen=True)
class ClassifierStage(Stage):
    """Stage 1: patch labels to a classifier."""

    program = "stage1"

    settings: Stage1Settings

    def samples(self) -> PatchSet:
        """Return patches with their labels."""
        s = self.settings
        return PatchSet(
            self.data.train,
            s.augment,
            self.options.seed,
            s.crop,
            s.mosaic,
            s.exact > 0,
            self.data.schema.white_background,
        )

    def trainee(self, schedule: LearningRateSchedule) -> ClassifierTrainee:
        """Build the classifier."""
        network = initial_classifier(self.settings, self.data.schema, self.weights, self.data.side)
        return ClassifierTrainee(network, self.settings, schedule, self.options.seed)

    def finished(
        self, trainee: Trainee, val: DataLoader[Any] | None, row: Mapping[str, float]
    ) -> dict[str, Any]:
        """Return the classifier and its scores in the chosen epoch."""
        scores = {k: v for k, v in row.items() if k not in {"epoch", "seconds", "lr", "loss", "score"}}
        stage1 = trainee.network.cpu().eval()
        return {"stage1": stage1, "gate": Gate((CAM_THRESHOLD,)), "metrics": {"val": scores}}


class ClassifierTrainee(Trainee):
    """Stage 1 in training.

    Parameters
    ----------
    network : PatchClassifier
    settings : Stage1Settings
    schedule : LearningRateSchedule
    seed : int
    """

    network: PatchClassifier

    def __init__(
        self, network: PatchClassifier, settings: Stage1Settings, schedule: LearningRateSchedule, seed: int
    ) -> None:
        super().__init__(network, settings.optimiser, schedule, seed)
        self.stage = settings
        self._confusion = SegmentationScores(network.num_classes)
        self._seen: list[tuple[Tensor, Tensor]] = []

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the reference's four groups; AdamW needs no faster vectors."""
        return classifier_groups(self.network, self.settings, 2.0 if self.settings.name == "sgd" else 1.0)

    def loss(self, batch: Any) -> Tensor:
        """Multi-label loss of every head, with PDA once its schedule starts; per pixel where the label is exact."""
        images, labels, *masks, _ = batch
        gamma = None if self.stage.pda is None else self.stage.pda.gamma(self.current_epoch)
        images = images.contiguous(memory_format=torch.channels_last)
        model = self.network
        heads = model.layer_weights if self.stage.deep_heads else {}
        found = model.activations(images, tuple(heads))
        features = found[model.cam_layers[-1]]
        loss = presence_loss(model.classify(features, gamma, self.stage.pda_normalised), labels)
        maps = [class_activation(features, model.classifier_weights)]
        if heads:
            maps += [
                class_activation(model.last_dropout(found[name]), weights) for name, weights in heads.items()
            ]
            sides = [presence_loss(m.mean((2, 3)), labels) for m in maps[1:]]
            loss = DEEP_SHARES[0] * loss + sum(w * s for w, s in zip(DEEP_SHARES[1:], sides, strict=True))
        if not self.stage.exact:
            return loss
        shares = DEEP_SHARES if heads else (1.0,)
        for share, raw in zip(shares, maps, strict=True):
            sized = resize_maps(raw, images.shape[2:])
            loss = loss + share * self.stage.exact * masked_loss(sized, masks, (1.0,))[0]
        return loss

    def label_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return the map of the last layer's CAM."""
        return {"CAM": cam_labels(self.network, images)[0]}

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._confusion.reset()
        self._seen = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Compare the CAMs with the masks, and the probabilities with what the masks hold."""
        images, masks = batch
        labels, probabilities = cam_labels(self.network, images)
        self._confusion.update(labels, masks)
        present = classes_in(masks, self._confusion.num_classes)
        scored = present.any(1)
        self._seen.append((probabilities[scored].cpu(), present[scored].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Sum up: CAM mIoU and FwIoU, share of windows whose classes are all right."""
        scores = self._confusion.compute()
        probabilities, present = (torch.cat(part) for part in zip(*self._seen, strict=True))
        exact, _ = presence_accuracy(probabilities, present)
        self.scores = {
            "cam_miou": scores.miou,
            "cam_fwiou": scores.fwiou,
            "exact": exact,
            "score": (scores.miou + scores.fwiou) / 2,
        }
