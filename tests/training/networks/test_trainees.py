"""What the two trainees do with a batch, apart from files, loops and programs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from napari_wsss.models import build_stage1, build_stage2
from training.networks.classifier import ClassifierTrainee
from training.networks.losses import partial_label_loss, presence_loss
from training.networks.segmenter import (
    ENOUGH,
    SegmenterTrainee,
    self_label_ramp,
    self_labels,
    unjudged_gate,
)
from training.settings.presets import Stage1Settings, Stage2Settings
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


def test_a_gate_closes_as_far_as_held_out_patches_allow() -> None:
    labels = [(True, True, False)] * 50 + [(False, True, False)] * 50 + [(False, False, True)] * (ENOUGH - 1)
    presence = torch.full((len(labels), 3), 0.9)
    presence[0, 0] = (
        0.3  # one of fifty is doubted: more than two of a hundred, so the gate stays below it nearly
    )
    presence[:50, 1] = torch.linspace(0.01, 0.02, 50)  # half of the patches that hold it would lose it
    first, second, third = unjudged_gate(labels, 0.1, presence)
    assert 0.3 < first <= 0.5
    assert second < 0.011
    assert third == 0  # too few to say
    assert unjudged_gate(labels, 0.1, torch.full((len(labels), 3), 0.9)) == (0.5, 0.5, 0.0)


def test_of_a_patch_of_several_classes_any_will_do() -> None:
    logits = torch.zeros(3, 3, 2, 2)
    logits[:, 2] = 4.0
    target = torch.tensor([[[0, 1], [0, 3]], [[1, 1], [1, 1]], [[2, 2], [2, 2]]])
    label = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])
    logits.requires_grad_(True)
    loss = partial_label_loss(logits, target, label)
    either = -torch.log(2 / (2 + torch.e ** torch.tensor(4.0)))
    assert loss.item() == pytest.approx(
        3 * either.item() / 11, rel=1e-5
    )  # three pixels of eleven that are labelled
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[1:] == 0).all()  # what one class fills, or nobody has labelled, is left to the masks
    assert (logits.grad[0, :, 1, 1] == 0).all()
    assert torch.equal(logits.grad[0, 0], logits.grad[0, 1])  # neither of the two is preferred
    nothing = partial_label_loss(logits, torch.full_like(target, 3), label)
    assert nothing.item() == 0


@pytest.mark.parametrize("partial", [0.0, 1.0])
def test_masks_of_several_classes_lose_their_say_to_the_label(partial: float) -> None:
    torch.manual_seed(0)
    network = build_stage2(
        "deeplabv3plus", 3, backbone="efficientnet-lite0", width=0.1, head_channels=8, low_channels=4
    )
    stage1 = build_stage1("efficientnet-lite0", 3, width=0.1)
    settings = Stage2Settings(
        backbone="efficientnet-lite0", layer_weights=(1.0,), partial_labels=partial, noise_weights=True
    )
    trainee: Any = SegmenterTrainee(
        network, stage1, settings, LearningRateSchedule("constant", 1, 4), 0
    ).eval()
    trainee._trainer = SimpleNamespace(global_step=4)  # the end of the run
    trainee._fabric = None
    images, label = torch.rand(2, 3, 32, 32), torch.tensor([[True, True, False], [True, False, False]])

    def loss(mask_of_several: int) -> float:
        masks = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
        masks[0] = mask_of_several
        return float(trainee.loss((images, masks, label, torch.arange(2))).detach())

    same = loss(0) == pytest.approx(loss(1), rel=1e-6)
    assert same == (partial == 1.0)
