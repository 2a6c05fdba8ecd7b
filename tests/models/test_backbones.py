from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_wsss.models import build_stage2
from napari_wsss.models.deeplab import BACKBONES
from napari_wsss.models.legacy import load_stage2_weights
from tiling.errors import BundleError

PARAMETERS = {"resnet50": 23_508_032, "mobilenet-v2": 1_811_712}
"""Of torchvision's networks without their last layers: 25,557,032 − 2,049,000 and 3,504,872 − 1,281,000 − 412,160."""


def backbone(name: str, stride: int = 16, width: float = 1.0) -> nn.Module:
    return BACKBONES[name].build(stride, width)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_networks_have_the_published_size(name: str) -> None:
    assert sum(p.numel() for p in backbone(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("stride", [8, 16])
def test_maps_have_the_promised_shapes(name: str, stride: int) -> None:
    network = backbone(name, stride, 0.25).eval()
    low, high = network(torch.rand(1, 3, 64, 96))
    assert low.shape == (1, network.low_channels, 16, 24)
    assert high.shape == (1, network.channels, 64 // stride, 96 // stride)


def test_dilation_gives_the_same_features_at_more_places() -> None:
    torch.manual_seed(0)
    coarse, fine = backbone("mobilenet-v2", 16, 0.25).eval(), backbone("mobilenet-v2", 8, 0.25).eval()
    fine.load_state_dict(coarse.state_dict())
    x = torch.rand(1, 3, 256, 256)
    a, b = coarse(x)[1], fine(x)[1][:, :, ::2, ::2]
    inner = (slice(None), slice(None), slice(6, 10), slice(6, 10))  # far from the padding
    assert torch.allclose(a[inner], b[inner], atol=1e-4)


def test_torchvision_files_fill_the_backbone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    donor = backbone("mobilenet-v2").state_dict()
    rest = {"features.18.0.weight": torch.zeros(1), "classifier.1.weight": torch.zeros(1000, 1280)}
    torch.save({**donor, **rest}, tmp_path / "mobilenet_v2.pth")
    network = build_stage2("deeplabv3plus", 3, backbone="mobilenet-v2")
    head = network.decoder.state_dict()  # type: ignore[operator,union-attr]
    before = {k: v.clone() for k, v in head.items()}
    assert load_stage2_weights(network, tmp_path / "mobilenet_v2.pth") is False
    assert all(torch.equal(v, donor[k]) for k, v in network.backbone.state_dict().items())  # type: ignore[operator,union-attr]
    assert all(torch.equal(v, before[k]) for k, v in head.items())
    torch.save({"features.0.0.weight": donor["features.0.0.weight"]}, tmp_path / "part.pth")
    with pytest.raises(BundleError, match="tensors are missing"):
        load_stage2_weights(network, tmp_path / "part.pth")


class Features(nn.Module):
    """What ``timm.create_model(…, features_only=True)`` returns, in small."""

    def __init__(self, output_stride: int) -> None:
        super().__init__()
        self.low = nn.Conv2d(3, 6, 4, 4)
        self.high = nn.Conv2d(6, 9, output_stride // 4, output_stride // 4)
        reductions = [4, output_stride]
        self.feature_info = SimpleNamespace(reduction=lambda: reductions, channels=lambda: [6, 9])

    def forward(self, x: Tensor) -> list[Tensor]:
        low = self.low(x)
        return [low, self.high(low)]


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    made: list[tuple[str, Any]] = []

    def create_model(name: str, **options: Any) -> nn.Module:
        made.append((name, options))
        if name == "nosuch":
            raise RuntimeError("Unknown model (nosuch)")
        return Features(options["output_stride"])

    module = ModuleType("timm")
    module.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", module)
    return made


def test_encoders_of_timm(timm: list[tuple[str, Any]]) -> None:
    network = build_stage2("deeplabv3plus", 3, backbone="timm:xception65", head_channels=8).eval()
    assert timm == [("xception65", {"features_only": True, "output_stride": 16, "pretrained": False})]
    assert network(torch.rand(1, 3, 32, 48)).shape == (1, 3, 32, 48)
    with pytest.raises(BundleError, match="nosuch at stride 16"):
        build_stage2("deeplabv3plus", 3, backbone="timm:nosuch")


def test_pretrained_encoders_of_timm_are_asked_for_in_training_only(timm: list[tuple[str, Any]]) -> None:
    from training.presets import Stage2Settings
    from training.weights import initial_segmenter

    settings = Stage2Settings(backbone="timm:xception65", head_channels=8)
    initial_segmenter(settings, 3, "none", 32)
    initial_segmenter(settings, 3, "imagenet", 32)
    assert [options["pretrained"] for _, options in timm] == [False, False, True]


def test_without_timm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BundleError, match=r"napari-wsss\[timm\]"):
        build_stage2("deeplabv3plus", 3, backbone="timm:xception65")


def test_the_reference_names_of_backbones_are_taken() -> None:
    from training import stage2

    options = ["--dataset", "bcss", "--dataroot", "d", "--stage1", "s", "--out", "o", "--backbone"]
    for word, (name, stride) in {
        "resnet": ("resnet101", 16),
        "mobilenet": ("mobilenet-v2", 16),
        "xception": ("timm:xception65", 16),
        "drn": ("resnet50", 8),
    }.items():
        args = stage2._parser().parse_args([*options, word])
        settings = stage2.settings_of(args, None)
        assert (settings.backbone, settings.output_stride) == (name, stride)
