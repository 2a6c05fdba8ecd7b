"""Encoders by name: shapes, published weights and their refusal, other packages' encoders, both stages on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_wsss.models import build_stage1, build_stage2, encoders, multilayer_gradcam
from napari_wsss.models.encoder_weights import load_encoder_weights
from napari_wsss.models.encoders import EncoderRecipe, encoder_names, find_encoder, register_encoder
from napari_wsss.models.vit import VisionTransformer
from tiling.errors import BundleError

TINY = {"dim": 16, "depth": 4, "heads": 2, "side": 64}


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of this test alone, with a tiny encoder in it."""
    known = {recipe.name: recipe for recipe in encoders._OWN}
    known["tiny"] = EncoderRecipe("tiny", VisionTransformer, TINY, licence="MIT", restricted=True)
    monkeypatch.setattr(encoders, "_known", lambda: known)


def vit(**more: Any) -> VisionTransformer:
    torch.manual_seed(0)
    network = VisionTransformer(**{**TINY, **more})
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.mark.parametrize("side", [(64, 64), (48, 80), (70, 61)])
def test_tokens_of_four_layers_become_maps(side: tuple[int, int]) -> None:
    network = vit(registers=2, swiglu=True, scaled=True, hidden=48)
    maps = network(torch.rand(2, 3, *side))
    assert network.layers == (0, 1, 2, 3)
    assert [tuple(m.shape) for m in maps] == [(2, 16, round(side[0] / 16), round(side[1] / 16))] * 4


def test_tokens_keep_their_places() -> None:
    """A map that is turned or mixed up would still have the right shape."""
    network = vit()
    image = torch.full((1, 3, 64, 64), 0.5)
    changed = image.clone()
    changed[:, :, 32:48, 16:32] = 1.0  # row 2, column 1 of the patches
    difference = (network(changed)[0] - network(image)[0]).abs().sum(1)[0]
    assert divmod(int(difference.argmax()), 4) == (2, 1)


def test_published_names_are_shapes_without_weights() -> None:
    assert {"gigapath-flash", "hibou-b", "uni", "virchow2", "conch"} <= set(encoder_names())
    with torch.device("meta"):
        networks: dict[str, Any] = {n: find_encoder(n).make() for n in encoder_names()}  # type: ignore[union-attr]
    sizes = {n: sum(p.numel() for p in e.parameters()) / 1e6 for n, e in networks.items()}
    expected = {"gigapath-flash": 21.7, "hibou-b": 85.7, "uni": 303.3, "virchow2": 631.2, "conch": 86.2}
    assert {n: round(sizes[n], 1) for n in expected} == pytest.approx(expected, abs=0.15)
    assert networks["virchow2"].pos_embed.shape == (1, 261, 1280)
    assert networks["hibou-b"].pos_embed.shape == (1, 257, 768)
    for name in expected:
        recipe = find_encoder(name)
        assert recipe is not None
        assert recipe.licence in recipe.card
        assert ("do not pass this bundle on" in recipe.card) is recipe.restricted is (name != "hibou-b")


@pytest.mark.parametrize("prefix", ["", "module.", "visual.trunk."])
def test_weights_of_a_file_arrive_whatever_stands_before_their_names(tmp_path: Path, prefix: str) -> None:
    donor, network = vit(), VisionTransformer(**TINY).eval()
    state = {prefix + k: v.contiguous() for k, v in donor.state_dict().items()}
    state |= {prefix + "head.weight": torch.zeros(2, 16), "text.other": torch.zeros(1)} if prefix else {}
    save_file(state, tmp_path / "w.safetensors")
    load_encoder_weights(network, tmp_path / "w.safetensors")
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(network(image)[-1], donor(image)[-1])


def test_weights_under_the_names_of_transformers(tmp_path: Path) -> None:
    donor = vit(registers=4, placed=1, scaled=True)
    names = (
        ("cls_token", "embeddings.cls_token"),
        ("reg_token", "embeddings.register_tokens"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("blocks.", "encoder.layer."),
        ("ls1.gamma", "layer_scale1.lambda1"),
        ("ls2.gamma", "layer_scale2.lambda1"),
        ("attn.proj", "attention.output.dense"),
    )
    state: dict[str, Tensor] = {"embeddings.mask_token": torch.zeros(1, 16)}
    for key, value in donor.state_dict().items():
        name = key
        for old, new in names:
            name = name.replace(old, new)
        name = "layernorm." + name.removeprefix("norm.") if name.startswith("norm.") else name
        if "attn.qkv" in name:
            for part, chunk in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[name.replace("attn.qkv", f"attention.attention.{part}")] = chunk
        else:
            state[name] = value
    torch.save(state, tmp_path / "pytorch_model.bin")
    network = VisionTransformer(**TINY, registers=4, placed=1, scaled=True).eval()
    load_encoder_weights(network, tmp_path / "pytorch_model.bin")
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(network(image)[-1], donor(image)[-1])
    del state["encoder.layer.1.attention.attention.key.bias"]
    torch.save(state, tmp_path / "part.bin")
    with pytest.raises(BundleError, match=r"1 tensors are missing \(such as blocks.1.attn.qkv.bias\)"):
        load_encoder_weights(network, tmp_path / "part.bin")


def test_other_files_are_refused_and_nothing_stays_random(tmp_path: Path) -> None:
    donor, network = vit(), VisionTransformer(**TINY)
    path = tmp_path / "w.pth"
    whole = donor.state_dict()

    def refused(state: dict[str, Tensor], match: str) -> None:
        torch.save(state, path)
        with pytest.raises(BundleError, match=match):
            load_encoder_weights(network, path)

    refused({k: v for k, v in whole.items() if k != "blocks.3.norm2.bias"}, "1 tensors are missing")
    refused({**whole, "blocks.4.norm1.bias": torch.zeros(16)}, "1 are unknown")
    refused({**whole, "pos_embed": torch.zeros(1, 5, 16)}, "another shape")
    refused({"conv1.weight": torch.zeros(3)}, "not this network")
    refused({f"{w}.{k}": v for w in ("a", "b") for k, v in whole.items()}, "several networks")


def test_names_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = EncoderRecipe("mine", VisionTransformer, TINY)
    register_encoder(mine)
    register_encoder(mine)  # twice the same is no harm
    assert find_encoder("mine") is mine
    for name in ("uni", "timm:resnet50"):
        with pytest.raises(ValueError, match="under another name"):
            register_encoder(EncoderRecipe(name, VisionTransformer))
    with pytest.raises(ValueError, match="unknown encoder 'nosuch'"):
        build_stage1("encoder", 2, encoder="nosuch")


def test_stage1_on_an_encoder() -> None:
    network: Any = build_stage1("encoder", 3, encoder="tiny", deep_heads=True).eval()
    images = torch.rand(2, 3, 64, 64)
    maps = multilayer_gradcam(network, images)
    assert {n: tuple(m.shape) for n, m in maps.items()} == dict.fromkeys(
        ("map2", "map3", "head"), (2, 3, 4, 4)
    )
    means = maps["head"].sum((2, 3))
    assert torch.allclose(means, network(images), atol=1e-5)
    plain: Any = build_stage1("encoder", 3, encoder="tiny")
    assert plain.cam_layers == ("head",)
    plain.encoder.freeze()
    plain.train()
    assert not plain.encoder.training
    assert list(plain.backbone_parameters()) == []
    assert [p.shape for p in plain.head_parameters()] == [(3, 16, 1, 1)]


@pytest.mark.parametrize("side", [64, 96])
def test_stage2_on_an_encoder(side: int) -> None:
    network: Any = build_stage2("deeplabv3plus", 3, backbone="tiny", head_channels=8).eval()
    low, deep = network.backbone(torch.rand(1, 3, side, side))
    assert (low.shape[2:], deep.shape[2:]) == ((side // 4, side // 4), (side // 16, side // 16))
    assert network(torch.rand(2, 3, side, side)).shape == (2, 3, side, side)
    with pytest.raises(ValueError, match="unknown backbone 'nosuch'"):
        build_stage2("deeplabv3plus", 3, backbone="nosuch")
