"""What the two trainees do with a batch, apart from files, loops and programs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from napari_wsss.models import build_stage1
from training.networks.classifier import ClassifierTrainee
from training.networks.losses import presence_loss
from training.networks.segmenter import ENOUGH, self_label_ramp, self_labels, unjudged_gate
from training.settings.presets import Stage1Settings
from training.settings.schedules import LearningRateSchedule


def test_several_devices_share_the_steps_of_an_epoch() -> None:
    settings = Stage1Settings(backbone="efficientnet-lite0")
    network = build_stage1("efficientnet-lite0", 3, width=0.1)
    trainee: Any = ClassifierTrainee(network, settings, LearningRateSchedule("cos", 4, 25), 0)
    trainee._trainer = SimpleNamespace(world_size=2)
    factor = trainee.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
    expected = LearningRateSchedule("cos", 4, 13).factor
    assert [factor(step) for step in (0, 13, 51)] == [expected(step) for step in (0, 13, 51)]
    assert trainee.schedule.total_steps == 4 * 13


def test_every_deep_head_has_its_share_of_the_loss() -> None:
    torch.manual_seed(0)
    settings = Stage1Settings(backbone="efficientnet-lite0", deep_heads=True)
    network: Any = build_stage1("efficientnet-lite0", 3, width=0.1, dropout=0.0, deep_heads=True)
    trainee = ClassifierTrainee(network, settings, LearningRateSchedule("constant", 1, 1), 0).eval()
    images, labels = torch.rand(2, 3, 48, 48), torch.tensor([[1.0, 0, 1], [0, 1.0, 0]])
    found = network.activations(images, network.cam_layers)
    weights = {"head": network.classifier_weights, **network.layer_weights}
    shares = {"stage6": 0.2, "stage7": 0.3, "head": 0.5}
    expected = sum(
        share
        * presence_loss(torch.einsum("nkhw,ck->nc", found[n], weights[n]) / found[n][0, 0].numel(), labels)
        for n, share in shares.items()
    )
    loss = trainee.loss((images, labels, torch.arange(2)))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert all(network.deep_classifiers[n].weight.grad.abs().max() > 0 for n in ("stage6", "stage7"))


def test_own_labels_stay_within_the_patch_label() -> None:
    logits = torch.zeros(3, 3, 1, 2)
    logits[:, 2] = 5.0  # the network says class 2 everywhere …
    logits[:, 0, 0, 0] = 1.0
    mask = torch.tensor([[[1, 3]], [[1, 1]], [[0, 0]]], dtype=torch.uint8)
    present = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])
    own = self_labels(logits, (mask,), present)
    assert own[0].tolist() == [[0, 3]]  # … but the patch holds 0 and 1; white stays ignored
    assert own[1].tolist() == [[1, 1]]  # exact masks stay
    assert own[2].tolist() == [[0, 0]]
    assert [self_label_ramp(p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_a_gate_that_nothing_judges_takes_only_well_known_classes_away() -> None:
    common, rare = (True, False), (False, True)
    assert unjudged_gate([common] * ENOUGH + [rare] * (ENOUGH - 1), 0.1) == (0.1, 0.0)
    assert unjudged_gate([(True, True)] * ENOUGH, 0.1) == (0.1,)
    assert unjudged_gate([common], 0.1) == (0.0, 0.0)
