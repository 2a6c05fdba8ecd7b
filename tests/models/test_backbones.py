from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_wsss.models import build_stage2
from napari_wsss.models.deeplab import BACKBONES
from napari_wsss.models.legacy import load_stage2_weights
from tiling.classes import ClassSchema, TissueClass
from tiling.errors import BundleError

SCHEMA = ClassSchema("three", tuple(TissueClass(n, n, f"#{n * 6}") for n in "abc"))
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


class NormAct(nn.BatchNorm2d):
    """Batch norm and activation in one, as timm has them."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))


class Network(nn.Module):
    """What ``timm.create_model`` returns, in small: maps of strides 4 and 16 come by ``forward_intermediates``."""

    feature_info = ({"num_chs": 6, "reduction": 4}, {"num_chs": 9, "reduction": 16})

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Conv2d(3, 6, 4, 4)
        self.norm = NormAct(6)
        self.high = nn.Conv2d(6, 9, 4, 4)
        self.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.25,) * 3}

    def forward_intermediates(self, x: Tensor, indices: list[int], **options: Any) -> list[Tensor]:
        assert options == {"intermediates_only": True, "output_fmt": "NCHW"}
        low = self.norm(self.low(x))
        return [[low, self.high(low)][i] for i in indices]


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    made: list[tuple[str, Any]] = []

    def create_model(name: str, **options: Any) -> nn.Module:
        made.append((name, options))
        if name == "nosuch":
            raise RuntimeError("Unknown model (nosuch)")
        return Network()

    module = ModuleType("timm")
    module.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", module)
    return made


def test_encoders_of_timm(timm: list[tuple[str, Any]]) -> None:
    network = build_stage2("deeplabv3plus", 3, backbone="timm:xception65", head_channels=8).eval()
    assert timm == [("xception65", {"pretrained": False, "num_classes": 0})]
    assert network(torch.rand(1, 3, 32, 48)).shape == (1, 3, 32, 48)
    with pytest.raises(BundleError, match="timm cannot build nosuch"):
        build_stage2("deeplabv3plus", 3, backbone="timm:nosuch")


@pytest.mark.usefixtures("timm")
def test_encoders_of_timm_stay_whole_when_networks_are_folded(tmp_path: Path) -> None:
    from napari_wsss.backends.graph import cut, simplified
    from napari_wsss.backends.maps import Pair
    from napari_wsss.models import build_stage1, load_bundle, resolve_schema, save_bundle
    from tiling.errors import DeviceError

    torch.manual_seed(0)
    second = build_stage2("deeplabv3plus", 4, backbone="timm:xception65", head_channels=8).eval()
    first = build_stage1("efficientnet-lite0", 4, width=0.1).eval()
    folder = tmp_path / "b"
    save_bundle(
        folder, name="b", schema=resolve_schema("bcss"), mpp=1.0, tile=64, stage1=first, stage2=second
    )
    bundle = load_bundle(folder)
    loaded = bundle.build_stage2()
    assert loaded is not None
    pair = Pair(bundle.build_stage1(), loaded)
    folded = simplified(pair)
    pixels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        for found, wanted in zip(folded(pixels), Pair(first, second)(pixels), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
        backbone: Any = loaded.backbone
        images = torch.rand(1, 3, 64, 64)
        network = backbone.encoder.network
        assert torch.allclose(backbone(images)[0], network.norm(network.low((images - 0.5) / 0.25)))
    with pytest.raises(DeviceError, match="mixed"):
        cut(folded, pixels)


def test_encoders_that_lose_constants_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, **options: Any) -> nn.Module:
        network = Network()
        network.register_buffer("filter", torch.ones(3), persistent=False)
        return network

    module = ModuleType("timm")
    module.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", module)
    with pytest.raises(BundleError, match="constants"):
        build_stage2("deeplabv3plus", 3, backbone="timm:resnetblur18")


def test_imagenet_weights_of_other_backbones_come_from_a_file() -> None:
    from tiling.errors import TrainingError
    from training.networks.weights import initial_segmenter
    from training.settings.presets import Stage2Settings

    with pytest.raises(TrainingError, match="--weights FILE"):
        initial_segmenter(Stage2Settings(backbone="mobilenet-v2", width=0.25), SCHEMA, "imagenet", 224)
    made: Any = initial_segmenter(
        Stage2Settings(backbone="mobilenet-v2", width=0.25, least_side=160), SCHEMA, "none", 80
    )
    assert made.enlarge == 2.0
    assert made.backbone.channels == 80


def test_encoders_of_timm_take_a_file_and_stay_as_published(
    timm: list[tuple[str, Any]], tmp_path: Path
) -> None:
    from tiling.errors import TrainingError
    from training.networks import initial_classifier, initial_segmenter
    from training.settings import Stage1Settings, Stage2Settings

    donor = Network()
    torch.save(donor.state_dict(), tmp_path / "w.pth")
    first: Any = initial_classifier(Stage1Settings(backbone="timm:x"), SCHEMA, str(tmp_path / "w.pth"), 32)
    second: Any = initial_segmenter(
        Stage2Settings(backbone="timm:x", head_channels=8), SCHEMA, str(tmp_path / "w.pth"), 32
    )
    for encoder in (first.encoder, second.backbone.encoder):
        assert torch.equal(encoder.network.high.weight, donor.high.weight)
        assert not any(p.requires_grad for p in encoder.parameters())
        assert not encoder.train().training
    for weights in (None, "imagenet", "none"):
        with pytest.raises(TrainingError, match="comes without weights"):
            initial_classifier(Stage1Settings(backbone="timm:x"), SCHEMA, weights, 32)
    free: Any = initial_classifier(Stage1Settings(backbone="timm:x", train_encoder=True), SCHEMA, "none", 32)
    assert all(p.requires_grad for p in free.parameters())
    assert [options["pretrained"] for _, options in timm] == [False] * len(timm)


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
        settings = stage2.settings_of(args)
        assert (settings.backbone, settings.output_stride) == (name, stride)
