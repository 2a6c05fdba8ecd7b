from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image

from training.data.datasets import EpochSampler, PatchSet, balance_weights
from training.data.files import Patch, check_patches
from training.settings.presets import AugmentSettings

STILL = AugmentSettings(horizontal_flip=0.0)


@pytest.fixture(scope="module")
def root(make_root: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("patches") / "data", val=1)


def test_patches_come_with_their_label(root: Path) -> None:
    patches, _ = check_patches(root / "train", 3)
    image, label, index = PatchSet(patches, STILL)[0, 3]
    assert image.shape == (3, 32, 32)
    assert label.tolist() == [float(v) for v in patches[3].label]
    assert index == 3


def test_exact_masks_know_single_label_patches_only(root: Path) -> None:
    patches, _ = check_patches(root / "train", 3)
    samples = PatchSet(patches, STILL, exact=True)
    for i, patch in enumerate(patches):
        mask = samples[0, i][2]
        assert mask.unique().tolist() == [3 if patch.single is None else patch.single]


def test_white_has_no_class(root: Path, tmp_path: Path) -> None:
    image = np.full((32, 32, 3), 90, np.uint8)
    image[:, 16:] = 250
    (tmp_path / "train").mkdir()
    Image.fromarray(image).save(tmp_path / "train" / "half[0 1 0].png")
    patches, _ = check_patches(tmp_path / "train", 3)
    for white, expected in ((True, 3), (False, 1)):
        mask = PatchSet(patches, STILL, exact=True, white=white)[0, 0][2]
        assert mask[:, :16].unique().tolist() == [1]
        assert mask[:, 16:].unique().tolist() == [expected]


def test_mosaics_are_labelled_by_what_they_hold(root: Path) -> None:
    patches, _ = check_patches(root / "train", 3)
    samples = PatchSet(patches, STILL, mosaic_share=1.0, exact=True)
    for i in range(12):
        image, label, mask, index = samples[0, i]
        assert index == i
        assert [c for c, v in enumerate(label) if v] == sorted(set(mask.unique().tolist()) - {3})
        assert (label > 0).sum() > 1
        again = samples[0, i]
        assert torch.equal(image, again[0])
        assert torch.equal(mask, again[2])
    assert len(PatchSet(patches, STILL, mosaic_share=1.0)[0, 0]) == 3


def test_one_class_alone_makes_no_mosaic(root: Path) -> None:
    patches, _ = check_patches(root / "train", 3)
    alone = [p for p in patches if p.single == 0]
    samples = PatchSet(alone, STILL, mosaic_share=1.0, exact=True)
    assert samples.mosaic_share == 0
    assert samples[0, 0][2].unique().tolist() == [0]


@given(
    weights=st.lists(st.floats(0.01, 10), min_size=1, max_size=40),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
)
def test_a_weighted_epoch_holds_every_sample_as_often_as_it_should(
    weights: list[float], seed: int, epoch: int
) -> None:
    length = len(weights)
    sampler = EpochSampler(length, seed, weights=np.array(weights))
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert drawn == list(sampler)
    assert len(drawn) == len(set(drawn)) == length  # a repeated sample carries another epoch number
    assert all(e % (1 << 20) == epoch for e, _ in drawn)
    counts = np.bincount([i for _, i in drawn], minlength=length)
    assert (np.abs(counts - np.array(weights) * length / sum(weights)) < 1 + 1e-6).all()


def test_balance_makes_combinations_meet_half_way() -> None:
    labels = [(True, True)] * 64 + [(True, False)] * 16
    patches = [Patch(Path(f"{i}.png"), label, (8, 8)) for i, label in enumerate(labels)]
    assert np.allclose(balance_weights(patches, 0), 1)
    half, full = (balance_weights(patches, power) for power in (0.5, 1.0))
    assert half[64:].sum() / half[:64].sum() == pytest.approx((16 / 64) ** 0.5)
    assert full[64:].sum() == pytest.approx(full[:64].sum())
    rare = balance_weights([*patches, *patches, Patch(Path("x.png"), (False, True), (8, 8))], 1.0)
    assert rare[-1] / rare[0] == pytest.approx(128 / 1.61)  # one of 161 weighs as one in a hundred
