from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from torch import nn

from napari_wsss.models import build_stage1, build_stage2
from tiling.classes import ClassSchema
from tiling.errors import DataError, TrainingError
from training.data.datasets import read_image, read_mask
from training.data.files import check_patches, check_pseudo_masks, pseudo_mask_path
from training.data.mosaic import EXACT, MosaicSettings, mix, window, write_mosaics
from training.networks.freezing import StillBatchNorm2d, freeze_encoder

SIDE = 40


def flat(value: int, side: int = SIDE) -> NDArray[np.uint8]:
    """A patch whose every pixel tells its class, whatever is cut, turned or magnified."""
    return np.full((side, side, 3), value, np.uint8)


SOURCES = [[flat(10 * c + 5), flat(10 * c + 5, SIDE // 2)] for c in range(5)]


def settings(**changes: object) -> MosaicSettings:
    plain = {"side": SIDE, "cell": (8.0, 30.0), "zoom": 0.5}
    return MosaicSettings(**{**plain, **changes})  # type: ignore[arg-type]


@given(seed=st.integers(0, 10**6), single=st.sampled_from([0.0, 0.5, 1.0]), most=st.integers(1, 5))
def test_the_mask_says_where_every_pixel_comes_from(seed: int, single: float, most: int) -> None:
    image, mask = mix(SOURCES, settings(single=single, classes=most), np.random.default_rng(seed))
    assert (image.shape, image.dtype) == ((SIDE, SIDE, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((SIDE, SIDE), np.uint8)
    assert np.array_equal(image[..., 0], 10 * mask + 5)
    assert 1 <= len(np.unique(mask)) <= most


@given(seed=st.integers(0, 10**6))
def test_classes_of_a_mosaic_take_up_their_least_share(seed: int) -> None:
    _, mask = mix(SOURCES, settings(single=0.0, classes=3, least=0.02), np.random.default_rng(seed))
    counts = np.bincount(mask.ravel(), minlength=5)
    assert 2 <= (counts > 0).sum() <= 3
    assert counts[counts > 0].min() >= 0.02 * mask.size


@given(
    height=st.integers(5, 60),
    width=st.integers(5, 60),
    side=st.integers(1, 50),
    factor=st.floats(0.5, 2.0),
    seed=st.integers(0, 99),
)
def test_window_has_its_size_and_shows_nothing_but_the_patch(
    height: int, width: int, side: int, factor: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(100, 120, (height, width, 3), np.uint8)
    found = window(image, side, factor, rng)
    assert found.shape == (side, side, 3)
    # Bicubic resampling overshoots by a part of the range.
    assert found.min() >= 95
    assert found.max() <= 124


def test_window_at_scale_one_is_a_cut() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    assert np.array_equal(window(image, 30, 1.0, np.random.default_rng(0)), image)
    cut = window(image, 12, 1.0, np.random.default_rng(0))
    places = [
        (y, x) for y in range(19) for x in range(19) if np.array_equal(image[y : y + 12, x : x + 12], cut)
    ]
    assert len(places) == 1


def test_classes_without_patches_are_left_out() -> None:
    sources = [[], [flat(15)], [], [flat(35)], []]
    seen = {
        int(v) for s in range(20) for v in np.unique(mix(sources, settings(), np.random.default_rng(s))[1])
    }
    assert seen == {1, 3}
    with pytest.raises(DataError, match="no patch that holds a single class"):
        mix([[], []], settings(), np.random.default_rng(0))


def test_stain_differs_between_pieces() -> None:
    image, mask = mix([[flat(150)], [flat(150)]], settings(single=0.0, stain=0.2), np.random.default_rng(1))
    assert len(np.unique(image[mask == 0], axis=0)) == len(np.unique(image[mask == 1], axis=0)) == 1
    assert not np.array_equal(image[mask == 0][0], image[mask == 1][0])


def write(root: Path, schema: ClassSchema, count: int = 12, **changes: object) -> None:
    write_mosaics(SOURCES[:3], schema, root, count, settings(**changes), seed=3, note="toy")


def test_written_root_is_one_for_the_programs(tmp_path: Path, schema: ClassSchema) -> None:
    write(tmp_path / "root", schema)
    patches, problems = check_patches(tmp_path / "root" / "train", 3)
    assert (len(patches), problems) == (12, [])
    masks = tmp_path / "root" / "train_PM"
    assert check_pseudo_masks(masks, [EXACT], patches, 3) == []
    for patch in patches:
        mask = read_mask(pseudo_mask_path(masks, EXACT, patch.path), 3)
        assert np.array_equal(read_image(patch.path)[..., 0], 10 * mask + 5)
        assert {c for c, present in enumerate(patch.label) if present} == set(np.unique(mask).tolist())
    assert any(p.single is None for p in patches)
    assert any(p.single is not None for p in patches)


def test_same_seed_same_files_and_whole_roots_are_kept(tmp_path: Path, schema: ClassSchema) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, schema)
    files = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in (tmp_path / "a").rglob("*.png")}
    assert files == {p.relative_to(tmp_path / "b"): p.read_bytes() for p in (tmp_path / "b").rglob("*.png")}
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*.png")}
    write(tmp_path / "a", schema)
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*.png")}
    write(tmp_path / "a", schema, count=5)
    assert len(list((tmp_path / "a" / "train").iterdir())) == 5


def test_a_killed_root_starts_over_and_a_foreign_folder_stays(tmp_path: Path, schema: ClassSchema) -> None:
    root = tmp_path / "root"
    write(root, schema)
    (root / "made.json").write_text("{}")
    next((root / "train").iterdir()).unlink()
    write(root, schema)
    assert len(list((root / "train").iterdir())) == 12
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="other files than mosaics"):
        write(tmp_path / "mine", schema)
    assert (tmp_path / "mine" / "thesis.txt").is_file()


def networks() -> list[nn.Module]:
    return [
        build_stage1("efficientnet-lite0", 3, width=0.1),
        build_stage2("deeplabv3plus", 3, backbone="efficientnet-lite0", width=0.1, head_channels=8),
    ]


@pytest.mark.parametrize("stage", [0, 1])
def test_frozen_stages_do_not_train(stage: int) -> None:
    network = networks()[stage]
    keys = list(network.state_dict())
    before = {k: v.clone() for k, v in network.state_dict().items()}
    x = torch.rand(2, 3, 32, 32)
    network.eval()
    with torch.no_grad():
        expected = network(x)
    freeze_encoder(network, 5)
    assert list(network.state_dict()) == keys
    with torch.no_grad():
        assert torch.equal(network(x), expected)
    network.train()
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(x).square().mean().backward()
    optimiser.step()
    encoder = "encoder." if stage == 0 else "backbone."
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    # Stages 2 to 5 of the table are the first eight blocks.
    early = (f"{encoder}_conv_stem", f"{encoder}_bn0", *(f"{encoder}_blocks.{i}." for i in range(8)))
    assert not {k for k in changed if k.startswith(early)}
    assert any(k.startswith(f"{encoder}_blocks.8.") for k in changed)
    assert not {k for k in changed if k.startswith(encoder) and "running" in k}
    # Batch norm of the new layers learns its statistics as always.
    assert stage == 0 or any("running_mean" in k for k in changed)


@pytest.mark.parametrize(("stages", "frozen"), [(1, 2), (9, None)])
def test_the_count_of_frozen_stages(stages: int, frozen: int | None) -> None:
    encoder = networks()[0].encoder
    assert isinstance(encoder, nn.Module)
    freeze_encoder(encoder, stages)
    still = [m for m in encoder.modules() if isinstance(m, StillBatchNorm2d)]
    assert len(still) == sum(isinstance(m, nn.BatchNorm2d) for m in encoder.modules())
    fixed = {n.split(".")[0] for n, p in encoder.named_parameters() if not p.requires_grad}
    if frozen is None:
        assert all(not p.requires_grad for p in encoder.parameters())
    else:
        assert fixed == {"_conv_stem", "_bn0"}


def test_only_the_light_encoder_can_be_frozen() -> None:
    with pytest.raises(TrainingError, match="Only the encoder efficientnet-lite0"):
        freeze_encoder(nn.Conv2d(1, 1, 1), 3)
