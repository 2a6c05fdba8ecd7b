from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_wsss.models import (
    LiteClassifier,
    ResNet38,
    class_activation,
    multilayer_gradcam,
    plain_cam,
    resize_maps,
)

Model = LiteClassifier | ResNet38


@pytest.fixture(scope="module", params=["resnet38", "efficientnet-lite0"])
def model(request: pytest.FixtureRequest) -> Model:
    torch.manual_seed(0)
    network: Model = ResNet38(4, width=0.05) if request.param == "resnet38" else LiteClassifier(4, width=0.2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.2)
    return network.eval()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 48, 64, generator=torch.Generator().manual_seed(1))


def one_pass_per_map(model: Model, x: Tensor) -> dict[str, Tensor]:
    """Grad-CAM by its definition: a forward and a full backward pass for every image, layer and class."""
    maps: dict[str, list[Tensor]] = {}
    for name in model.cam_layers:
        rows = []
        for image in x:
            for category in range(model.num_classes):
                found = model.activations(image[None], [name])
                found[name].retain_grad()
                model.zero_grad()
                model.classify(found[model.cam_layers[-1]])[0, category].backward()
                gradient = found[name].grad
                assert gradient is not None
                rows.append((gradient.mean((2, 3), keepdim=True) * found[name]).sum(1)[0].detach())
        maps[name] = rows
    model.zero_grad()
    return {name: torch.stack(rows).unflatten(0, (len(x), -1)) for name, rows in maps.items()}


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5 * b.abs().max())


def test_one_pass_equals_twelve(model: Model, x: Tensor) -> None:
    expected = one_pass_per_map(model, x)
    found = multilayer_gradcam(model, x)
    assert tuple(found) == model.cam_layers
    for name in model.cam_layers:
        assert expected[name].abs().max() > 0
        assert close(found[name], expected[name]), name


def test_the_last_layer_in_closed_form(model: Model, x: Tensor) -> None:
    last = model.cam_layers[-1]
    maps = multilayer_gradcam(model, x, layers=(last,))
    assert tuple(maps) == (last,)
    assert close(maps[last].sum((2, 3)), model(x).detach())


def test_no_parameter_gets_a_gradient_and_nothing_changes(model: Model, x: Tensor) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    maps = multilayer_gradcam(model, x)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not any(m.requires_grad for m in maps.values())
    assert not model.training


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_gradient_mode(model: Model, x: Tensor, mode: type) -> None:
    expected = multilayer_gradcam(model, x)
    with mode():
        inside = multilayer_gradcam(model, x + 0)
        assert torch.is_grad_enabled() == (mode is torch.enable_grad)
    for name, value in inside.items():
        assert close(value, expected[name])


def test_chosen_classes(model: Model, x: Tensor) -> None:
    expected = multilayer_gradcam(model, x)
    some = multilayer_gradcam(model, x, classes=[2, 0])
    mask = torch.tensor(
        [[True, False, True, True], [False, False, False, False], [False, True, False, False]]
    )
    masked = multilayer_gradcam(model, x, classes=mask)
    for name in model.cam_layers:
        assert close(some[name], expected[name][:, [2, 0]])
        assert masked[name].shape == expected[name].shape
        assert close(masked[name], expected[name] * mask[:, :, None, None])
        assert (masked[name][1] == 0).all()
    nothing = multilayer_gradcam(model, x, classes=torch.zeros(3, 4, dtype=torch.bool))
    assert all((value == 0).all() and value.shape == expected[name].shape for name, value in nothing.items())
    empty = multilayer_gradcam(model, x, classes=[])
    assert all(value.shape[:2] == (3, 0) for value in empty.values())


def test_misuse_is_refused(model: Model, x: Tensor) -> None:
    with pytest.raises(ValueError, match="unknown CAM layer 'b9'"):
        multilayer_gradcam(model, x, layers=("b9",))
    with pytest.raises(ValueError, match="classes must be"):
        multilayer_gradcam(model, x, classes=[4])
    with pytest.raises(ValueError, match="class mask must be"):
        multilayer_gradcam(model, x, classes=torch.ones(2, 4, dtype=torch.bool))
    model.train()
    with pytest.raises(ValueError, match="eval mode"):
        multilayer_gradcam(model, x)
    model.eval()


def test_plain_cam(model: Model, x: Tensor) -> None:
    maps = plain_cam(model, x, relu=False)
    assert close(maps.mean((2, 3)), model(x).detach())
    assert torch.equal(plain_cam(model, x), maps.clamp(min=0))
    assert torch.equal(class_activation(model.features(x), model.classifier_weights).detach(), maps)
    assert not maps.requires_grad


def test_resizing_keeps_constants_and_orientation() -> None:
    maps = torch.arange(4.0).reshape(1, 1, 2, 2)
    large = resize_maps(maps, (4, 6))
    assert large.shape == (1, 1, 4, 6)
    assert np.allclose(large[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]], [0, 1, 2, 3])


def test_deep_heads_give_their_layers_maps_without_a_gradient(
    x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = LiteClassifier(4, width=0.2, deep_heads=True).eval()
    plain = LiteClassifier(4, width=0.2).eval()
    state = network.state_dict()
    plain.load_state_dict({k: v for k, v in state.items() if not k.startswith("deep_classifiers")})
    assert torch.equal(network(x), plain(x))
    found = network.activations(x, network.cam_layers)
    expected = {
        n: class_activation(found[n], w) / found[n][0, 0].numel() for n, w in network.layer_weights.items()
    }
    assert tuple(expected) == network.cam_layers[:-1]
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("a backward pass"))
    maps = multilayer_gradcam(network, x, classes=[3, 1])
    for name, value in expected.items():
        assert close(maps[name], value[:, [3, 1]])
    assert any(p is network.deep_classifiers["stage6"].weight for p in network.head_parameters())
