"""A published encoder from a file, through both stages to labels on a slide; and everything that is no such file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_wsss import segment
from napari_wsss.models import find_encoder, load_bundle
from tiling.errors import BundleError, TrainingError
from tiling.slides.open import open_slide
from tiling.synthetic import SyntheticSlide
from tiling.synthetic.write import write_slide
from training import pseudo_masks, stage1, stage2

pytestmark = pytest.mark.slow

COMMON = ["--batch-size", "8", "--epochs", "2", "--device", "cpu", "--quiet", "--no-pictures", "--mpp", "0.5"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT-S/16 with random numbers, as its makers would give it."""
    recipe = find_encoder("vit-small-16")
    assert recipe is not None
    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    save_file({k: v.contiguous() for k, v in recipe.make().state_dict().items()}, path)
    return path


def data(root: Path) -> list[str]:
    return ["--dataset", str(root / "schema.json"), "--dataroot", str(root)]


def test_a_vit_from_a_file_segments_a_slide(weights: Path, tmp_path: Path, make_root: Any) -> None:
    root = make_root(tmp_path / "data")
    encoder = ["--backbone", "vit-small-16", "--weights", str(weights)]
    stage1.main([*data(root), "--out", str(tmp_path / "s1"), *encoder, *COMMON, "--deep-heads"])
    first = tmp_path / "s1" / "bundle"
    pseudo_masks.main([*data(root), "--weights", str(first), "--device", "cpu", "--quiet"])
    options = ["--stage1", str(first), "--head-channels", "8", "--mosaic", "0"]
    stage2.main([*data(root), "--out", str(tmp_path / "s2"), *options, *encoder, *COMMON])
    bundle = load_bundle(tmp_path / "s2" / "bundle")
    assert "Encoder vit-small-16" in bundle.training_data
    published = load_file(weights)
    for network in (bundle.build_stage1(), bundle.build_stage2()):
        assert network is not None
        state = network.state_dict()
        prefix = next(k.removesuffix("cls_token") for k in state if k.endswith("cls_token"))
        assert all(
            torch.equal(state[prefix + k], v) for k, v in published.items()
        )  # frozen to the last number
    write_slide(tmp_path / "slide.tif", SyntheticSlide(200, 150, mpp=0.5, seed=3, region_um=40))
    with open_slide(tmp_path / "slide.tif") as slide:
        result = segment(slide, bundle, out=tmp_path / "a.zarr", device="cpu", backend="torch", tissue=None)
    assert np.asarray(result.labels[0][...]).max() > 0


def test_what_is_no_such_file_is_refused_before_anything_is_trained(
    weights: Path, tmp_path: Path, make_root: Any
) -> None:
    root = make_root(tmp_path / "data", val=0)
    (root / "val" / "img").rmdir()
    (root / "val" / "mask").rmdir()
    (root / "val").rmdir()

    def run(*options: str) -> None:
        stage1.main([*data(root), "--out", str(tmp_path / "out"), "--restart", *COMMON, *options])

    with pytest.raises(TrainingError, match=r"comes without weights.*huggingface.co/MahmoodLab/UNI"):
        run("--backbone", "uni")
    with pytest.raises(TrainingError, match="unknown stage-1 architecture 'unni'"):
        run("--backbone", "unni", "--weights", str(weights))
    with pytest.raises(BundleError, match="another shape"):
        run("--backbone", "vit-base-16", "--weights", str(weights))
    state = load_file(weights)
    del state["blocks.7.attn.qkv.bias"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(BundleError, match=r"1 tensors are missing \(such as blocks.7.attn.qkv.bias\)"):
        run("--backbone", "vit-small-16", "--weights", str(tmp_path / "part.safetensors"))
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(BundleError, match="cannot be read as safetensors"):
        run("--backbone", "vit-small-16", "--weights", str(tmp_path / "cut.safetensors"))
    assert not list((tmp_path / "out").glob("**/*.ckpt"))
