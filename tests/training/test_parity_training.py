"""Losses, learning rates and metrics against what the released reference computes (../shared/parity)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from training.networks.classifier import classifier_groups
from training.networks.losses import reference_loss
from training.scores.metrics import SegmentationScores
from training.settings.presets import PRESETS
from training.settings.schedules import LearningRateSchedule

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def parity(shared_dir: Path) -> Any:
    return np.load(shared_dir / "parity" / "parity.npz")


@pytest.fixture(scope="module")
def loss_inputs() -> tuple[torch.Tensor, list[torch.Tensor]]:
    rng = np.random.default_rng(1)
    rng.standard_normal((2, 16, 7, 7))
    rng.standard_normal((4, 16, 1, 1))
    logits = torch.from_numpy(rng.standard_normal((3, 4, 224, 224)).astype(np.float32))
    return logits, [torch.from_numpy(rng.integers(0, 5, (3, 224, 224))) for _ in range(3)]


def test_stage2_loss(parity: Any, loss_inputs: Any) -> None:
    logits, targets = loss_inputs
    weights = PRESETS["reference"].stage2.layer_weights
    total, terms = reference_loss(logits, targets, weights)
    np.testing.assert_allclose([*map(float, terms), float(total)], parity["loss_terms"], rtol=1e-5)


def test_focal_loss(parity: Any, loss_inputs: Any) -> None:
    logits, targets = loss_inputs
    _, terms = reference_loss(logits, targets, (0.6, 0.2, 0.2), "focal")
    np.testing.assert_allclose([float(t) for t in terms], parity["focal_terms"], rtol=1e-5)


class TwoLayers(nn.Module):
    """A network with one parameter for each of the four groups."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 1)
        self.head = nn.Conv2d(4, 4, 1)

    def head_parameters(self) -> Any:
        return self.head.parameters()


def test_stage1_learning_rates_and_optimiser(parity: Any) -> None:
    settings = PRESETS["reference"].stage1.optimiser
    groups = classifier_groups(TwoLayers(), settings)
    optimiser = torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    schedule = LearningRateSchedule(settings.schedule, epochs=5, steps_per_epoch=10)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule.factor)
    rates = []
    for _ in range(50):
        rates.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        scheduler.step()
    np.testing.assert_allclose(rates, parity["stage1_lr_50steps"], rtol=1e-9)
    assert [g["lr"] for g in optimiser.param_groups] == rates[-1]  # stays there after the last step
    defaults = [optimiser.defaults[k] for k in ("lr", "momentum", "weight_decay", "dampening")]
    np.testing.assert_allclose(defaults, parity["stage1_sgd_defaults"])
    assert [g["weight_decay"] for g in groups] == [5e-4, 0.0, 5e-4, 0.0]


@pytest.mark.parametrize("name", ["poly", "cos"])
def test_stage2_learning_rates(parity: Any, name: Any) -> None:
    settings = PRESETS["reference"].stage2.optimiser
    schedule = LearningRateSchedule(name, epochs=5, steps_per_epoch=10)
    rates = [
        (settings.lr * schedule.factor(i), settings.lr * settings.head_lr * schedule.factor(i))
        for i in range(50)
    ]
    np.testing.assert_allclose(rates, parity[f"stage2_lr_{name}_5x10"], rtol=1e-9)


def test_metrics(parity: Any) -> None:
    confusion = SegmentationScores(4)
    for prediction, truth in zip(parity["metric_pred"], parity["metric_gt"], strict=True):
        confusion.update(prediction, truth)
    scores = confusion.compute()
    found = [scores.pixel_accuracy, scores.mean_accuracy, scores.miou, scores.fwiou, *scores.iou]
    np.testing.assert_allclose(found, parity["stage2_metrics"], rtol=1e-9)
    np.testing.assert_allclose(found, parity["stage1_metrics"], rtol=1e-9)
