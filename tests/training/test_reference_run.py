"""Twenty steps of both stages with the reference preset equal a plain transcription of the released training loops.

The transcription below is the shortest loop that follows the rules (PDA, loss, parameter groups, momentum, learning
rates, batch division) with torch alone. Only the batches, the dropout seeds and the memory layout (in whose order
dropout draws) are taken from the package: they are random in the reference.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from napari_wsss.models import build_stage1, build_stage2
from tiling.classes import ClassSchema
from tiling.patch_files import write_mask
from training.data.datasets import EpochSampler, EvaluationSet, PatchSet, PseudoMaskSet
from training.data.files import check_pairs, check_patches, pseudo_mask_path
from training.loop.fit import fit_trainee
from training.loop.run_folder import RunFolder
from training.networks.classifier import ClassifierTrainee
from training.networks.segmenter import SegmenterTrainee
from training.settings.loop_options import LoopOptions
from training.settings.presets import PRESETS
from training.settings.schedules import LearningRateSchedule

SEED = 3
REFERENCE = PRESETS["reference"]


def dropout_seed(step: int) -> int:
    return (SEED * 1_000_003 + step) * 1009


def fresh(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.open({})
    return folder


def close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    for key, value in theirs.items():
        np.testing.assert_allclose(
            ours[key].detach().numpy(), value.detach().numpy(), rtol=1e-4, atol=1e-5, err_msg=key
        )


def recorded(trainee: Any) -> list[float]:
    losses: list[float] = []
    original = trainee.loss

    def loss(batch: Any) -> torch.Tensor:
        value: torch.Tensor = original(batch)
        losses.append(float(value.detach()))
        return value

    trainee.loss = loss
    return losses


def test_stage1(tiny_root: Path, tmp_path: Path) -> None:
    epochs, batch = 5, 6  # 24 patches: 4 steps an epoch; PDA is on in the last two epochs
    patches, _ = check_patches(tiny_root / "train", 3)
    settings = replace(REFERENCE.stage1, epochs=epochs, batch_size=batch)
    loader = DataLoader(
        PatchSet(patches, settings.augment, SEED), batch, sampler=EpochSampler(24, SEED), drop_last=True
    )
    torch.manual_seed(0)
    network = build_stage1("resnet38", 3, width=0.05)
    # A fresh network answers almost 0 everywhere; here PDA must have something to hide.
    torch.nn.init.constant_(network.bn7.weight, 300.0)  # type: ignore[union-attr, arg-type]
    torch.nn.init.uniform_(network.fc8.weight, 0.0, 0.1)  # type: ignore[union-attr, arg-type]
    theirs: Any = build_stage1("resnet38", 3, width=0.05)
    theirs.load_state_dict(network.state_dict())
    theirs.to(memory_format=torch.channels_last)

    schedule = LearningRateSchedule("poly", epochs, 4)
    trainee = ClassifierTrainee(network, settings, schedule, SEED)
    losses = recorded(trainee)
    fit_trainee(trainee, loader, None, fresh(tmp_path / "run"), epochs, LoopOptions(seed=SEED, device="cpu"))

    # -- the transcription ---------------------------------------------------------------------------------------------
    frozen = ("conv1a.", "b2.", "b2_1.", "b2_2.")
    convolutions = [
        p
        for n, p in theirs.named_parameters()
        if p.ndim == 4 and not n.startswith(frozen) and not n.startswith("fc8")
    ]
    optimiser = torch.optim.SGD(
        [
            {"params": convolutions, "lr": 0.01, "weight_decay": 5e-4},
            {"params": [theirs.fc8.weight], "lr": 0.1, "weight_decay": 5e-4},
        ],
        lr=0.01,
        momentum=5e-4,
    )
    base, step, gamma, expected = [0.01, 0.1], 0, 1.0, []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        theirs.train()
        for images, labels, _ in loader:
            for group, lr in zip(optimiser.param_groups, base, strict=True):
                group["lr"] = lr * (1 - step / (4 * epochs)) ** 0.9
            torch.manual_seed(dropout_seed(step))
            x = theirs.features(images.contiguous(memory_format=torch.channels_last))
            if epoch > 2:
                activation = F.relu(F.conv2d(x, theirs.fc8.weight))
                peak = activation.flatten(2).max(2).values[:, :, None, None]
                activation = torch.where(activation > peak * gamma, torch.zeros_like(activation), activation)
                x = x * (activation.sum(1, keepdim=True) / 3)
            x = F.dropout2d(x, 0.5)
            logits = F.conv2d(x.mean((2, 3), keepdim=True), theirs.fc8.weight).flatten(1)
            loss = F.multilabel_soft_margin_loss(logits, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            expected.append(float(loss.detach()))
            step += 1
        if gamma > 0.65:
            gamma *= 0.98
    assert len(losses) == 20
    assert all(abs(loss - np.log(2)) > 1e-5 for loss in losses[12:])  # PDA has not silenced the patches
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    close(trainee.network.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("loss_type", ["ce", "focal"])
def test_stage2(tiny_root: Path, tmp_path: Path, schema: ClassSchema, loss_type: Any) -> None:
    epochs, batch, layers = 4, 5, ("deep", "middle", "shallow")
    patches, _ = check_patches(tiny_root / "train", 3)
    patches = patches[:22]  # 5 steps an epoch; the last batch holds 2
    rng = np.random.default_rng(0)
    for layer in layers:
        (tiny_root / "train_PM" / f"PM_{layer}").mkdir(parents=True)
        for patch in patches:  # 3 is background
            mask = np.repeat(np.repeat(rng.integers(0, 4, (4, 4), np.uint8), 8, 0), 8, 1)
            write_mask(pseudo_mask_path(tiny_root / "train_PM", layer, patch.path), mask, schema)
    settings = replace(REFERENCE.stage2, epochs=epochs, batch_size=batch, loss_type=loss_type)
    samples = PseudoMaskSet(patches, tiny_root / "train_PM", layers, 3, settings.augment, SEED)
    loader = DataLoader(samples, batch, sampler=EpochSampler(22, SEED), drop_last=settings.drop_last)
    pairs, _ = check_pairs(tiny_root / "val", 3)
    val = DataLoader(EvaluationSet(pairs, 3, 32), batch)
    torch.manual_seed(0)
    options = {"backbone": "efficientnet-lite0", "width": 0.1, "head_channels": 8}
    network, theirs = build_stage2("deeplabv3plus", 3, **options), build_stage2("deeplabv3plus", 3, **options)
    theirs.load_state_dict(network.state_dict())
    theirs.to(memory_format=torch.channels_last)
    stage1 = build_stage1("efficientnet-lite0", 3, width=0.1)

    trainee = SegmenterTrainee(network, stage1, settings, LearningRateSchedule("poly", epochs, 5), SEED)
    losses = recorded(trainee)
    history = fit_trainee(
        trainee, loader, val, fresh(tmp_path / "run"), epochs, LoopOptions(seed=SEED, device="cpu")
    )

    # -- the transcription ---------------------------------------------------------------------------------------------
    head = [*theirs.aspp.parameters(), *theirs.decoder.parameters()]  # type: ignore[union-attr, operator]
    optimiser = torch.optim.SGD(
        [{"params": list(theirs.backbone.parameters()), "lr": 0.01}, {"params": head, "lr": 0.1}],  # type: ignore[union-attr, operator]
        momentum=0.9,
        weight_decay=5e-4,
    )

    def criterion(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        mean = F.cross_entropy(logits, target.long())
        if loss_type == "focal":
            mean = (1 - torch.exp(-mean)) ** 2 * 0.5 * mean
        return mean / len(logits)

    best, best_epoch, expected = 0.0, 0, []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        theirs.train()
        for i, (images, masks, _) in enumerate(loader):
            step = epoch * 5 + i
            lr = 0.01 * (1 - step / (5 * epochs)) ** 0.9
            optimiser.param_groups[0]["lr"], optimiser.param_groups[1]["lr"] = lr, 10 * lr
            optimiser.zero_grad()
            torch.manual_seed(dropout_seed(step))
            output = theirs(images.contiguous(memory_format=torch.channels_last))
            target, target_a, target_b = masks[:, 0], masks[:, 1], masks[:, 2]
            output = torch.cat([output, 100.0 * (target == 3).unsqueeze(1)], 1)
            loss = (
                0.6 * criterion(output, target)
                + 0.2 * criterion(output, target_a)
                + 0.2 * criterion(output, target_b)
            )
            loss.backward()
            optimiser.step()
            expected.append(float(loss.detach()))
        theirs.eval()
        confusion = np.zeros((3, 3))
        with torch.no_grad():
            for images, masks in val:
                for t, p in zip(
                    masks.flatten().tolist(), theirs(images).argmax(1).flatten().tolist(), strict=True
                ):
                    if t < 3:
                        confusion[t, p] += 1
        with np.errstate(invalid="ignore"):
            iou = np.diag(confusion) / (confusion.sum(0) + confusion.sum(1) - np.diag(confusion))
        if np.nanmean(iou) > best:
            best, best_epoch = float(np.nanmean(iou)), epoch + 1
    assert len(losses) == 20
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    close(trainee.network.state_dict(), theirs.state_dict())
    assert history.best_epoch == best_epoch
    assert history.best_score == pytest.approx(best)
