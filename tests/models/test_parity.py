"""Every number of the reference that the models own, reproduced through public names at full size.

Training-only arrays of the same file (losses, learning rates, metrics) are in tests/training.
"""

from __future__ import annotations

import gc
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_wsss.models import (
    DeepLabV3Plus,
    ResNet38,
    apply_gate,
    class_activation,
    multilayer_gradcam,
    open_classes,
    plain_cam,
    progressive_dropout_attention,
    pseudo_mask,
    resize_maps,
    white_background,
)
from napari_wsss.models.legacy import read_mxnet_params, resnet38_from_mxnet

pytestmark = [pytest.mark.shared, pytest.mark.slow]

LAYERS = ("b4_5", "b5_2", "bn7")
Arrays = Mapping[str, NDArray[np.generic]]


def assert_close(found: Tensor, expected: NDArray[np.generic]) -> None:
    """1e-4 relative to the largest absolute value: what holds across CPUs."""
    array = found.detach().numpy()
    assert array.shape == expected.shape
    difference = np.abs(array - expected).max() / np.abs(expected).max()
    assert difference <= 1e-4, difference


def assert_same_labels(found: NDArray[np.generic], expected: NDArray[np.generic]) -> None:
    assert found.shape == expected.shape
    assert (found == expected).mean() >= 0.999


@pytest.fixture(scope="module")
def parity(shared_dir: Path) -> Arrays:
    with np.load(shared_dir / "parity" / "parity.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def x(parity: Arrays) -> Tensor:
    return torch.from_numpy(parity["patch"]).permute(2, 0, 1)[None].float() / 255


def seeded(network: nn.Module, folder: Path, manifest: str) -> nn.Module:
    """Check the network's keys against the manifest of the published checkpoint and fill it with seed 1."""
    spec = importlib.util.spec_from_file_location("seeded_weights", folder / "seeded_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shapes = json.loads((folder / manifest).read_text())
    own = network.state_dict()
    assert list(own) == list(shapes)
    assert {key: list(value.shape) for key, value in own.items()} == shapes
    state = module.seeded_state(shapes, 1)
    network.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in state.items()})
    return network.eval()


@dataclass(frozen=True)
class Stage1:
    features: Tensor
    weights: Tensor
    logits: Tensor
    logits_with_attention: Tensor
    cam: Tensor
    maps: dict[str, Tensor]
    parameters: int
    trainable: int


@pytest.fixture(scope="module")
def stage1(shared_dir: Path, x: Tensor) -> Stage1:
    network = seeded(ResNet38(num_classes=4), shared_dir / "parity", "stage1_state_dict.json")
    assert isinstance(network, ResNet38)
    with torch.no_grad():
        features = network.features(x)
        result = Stage1(
            features,
            network.classifier_weights.detach().clone(),
            network(x),
            network(x, pda_gamma=0.8),
            plain_cam(network, x),
            multilayer_gradcam(network, x),
            sum(p.numel() for p in network.parameters()),
            sum(p.numel() for p in network.parameters() if p.requires_grad),
        )
    del network
    gc.collect()  # 420 MB: the other network comes next
    return result


@pytest.fixture(scope="module")
def stage2_logits(shared_dir: Path, x: Tensor) -> Tensor:
    network = seeded(DeepLabV3Plus(num_classes=4), shared_dir / "parity", "stage2_state_dict.json")
    assert isinstance(network, DeepLabV3Plus)
    assert len(list(network.backbone_parameters())) == 312
    assert len(list(network.head_parameters())) == 29
    with torch.no_grad():
        logits: Tensor = network(x)
    return logits


def test_stage1_size(stage1: Stage1) -> None:
    assert (round(stage1.parameters / 1e6, 2), round(stage1.trainable / 1e6, 2)) == (105.09, 104.22)


def test_stage1_logits(stage1: Stage1, parity: Arrays) -> None:
    assert_close(stage1.logits[0], parity["stage1_logits"])
    assert_close(stage1.logits[0].sigmoid(), parity["stage1_probabilities"])
    assert_close(stage1.logits_with_attention[0], parity["stage1_logits_pda_gamma0.8"])


def test_stage1_cam(stage1: Stage1, parity: Arrays) -> None:
    assert_close(stage1.cam[0], parity["stage1_cam_28x28"])


@pytest.mark.parametrize("layer", LAYERS)
def test_gradcam(stage1: Stage1, parity: Arrays, layer: str) -> None:
    assert_close(
        resize_maps(stage1.maps[layer], (224, 224))[0, :, ::8, ::8], parity[f"gradcam_{layer}_224_every8"]
    )


def test_the_last_layer_is_the_class_activation(stage1: Stage1) -> None:
    expected = class_activation(stage1.features, stage1.weights) / (28 * 28)
    assert_close(stage1.maps["bn7"], expected.numpy())


@pytest.mark.parametrize("label", ["1101", "1000", "0111"])
@pytest.mark.parametrize("schema", ["bcss", "luad"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("mode", ["clean", "reference"])
def test_pseudo_masks(stage1: Stage1, parity: Arrays, layer: str, schema: str, label: str, mode: str) -> None:
    maps = resize_maps(stage1.maps[layer], (224, 224))[0]
    present = np.array([digit == "1" for digit in label])
    found = pseudo_mask(maps, present, parity["patch"], background=schema == "luad", mode=mode)  # type: ignore[arg-type]
    assert_same_labels(found, parity[f"pseudo_mask_{layer}_{schema}_{label}"])


def test_background(parity: Arrays) -> None:
    assert np.array_equal(white_background(parity["patch"]), parity["background_mask"])


@pytest.mark.parametrize("gamma", ["1.0", "0.9", "0.65"])
def test_attention(parity: Arrays, gamma: str) -> None:
    features, weights = (torch.from_numpy(parity[f"pda_{name}"]) for name in ("features", "weights"))
    found = progressive_dropout_attention(features, weights, float(gamma))
    assert_close(found, parity[f"pda_out_gamma{gamma}"])


def test_stage2(stage2_logits: Tensor, parity: Arrays) -> None:
    assert_close(stage2_logits[0, :, ::4, ::4], parity["stage2_logits_every4"])
    assert_same_labels(stage2_logits.argmax(1)[0].numpy(), parity["stage2_argmax"])


def test_gate(stage1: Stage1, stage2_logits: Tensor, parity: Arrays) -> None:
    probabilities = stage1.logits.sigmoid()
    assert np.array_equal(open_classes(probabilities, 0.1)[0].numpy(), parity["gate_open"])
    gated = apply_gate(stage2_logits, probabilities, 0.1, mode="reference")
    assert_same_labels(gated.argmax(1)[0].numpy(), parity["stage2_gated_argmax_reference"])


def test_mxnet_params_are_read_exactly(shared_dir: Path) -> None:
    path = shared_dir / "parity" / "tiny_mxnet.params"
    state = resnet38_from_mxnet(read_mxnet_params(path), path)
    with np.load(shared_dir / "parity" / "tiny_mxnet_expected.npz") as expected:
        assert set(state) == set(expected.files)
        for key in expected.files:
            assert state[key].numpy().dtype == expected[key].dtype
            assert np.array_equal(state[key].numpy(), expected[key]), key
