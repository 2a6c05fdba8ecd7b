from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_wsss.models import ResNet38, progressive_dropout_attention


@pytest.fixture
def model() -> ResNet38:
    torch.manual_seed(0)
    return ResNet38(3, width=0.05)


@pytest.mark.parametrize("size", [(64, 64), (40, 72), (33, 47)])
def test_any_size_at_stride_8(model: ResNet38, size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    features = model.eval().features(x)
    assert features.shape == (2, model.fc8.in_channels, -(-size[0] // 8), -(-size[1] // 8))
    assert (features >= 0).all()
    assert model(x).shape == (2, 3)


def test_batch_norm_never_trains(model: ResNet38) -> None:
    assert model.train() is model
    assert model.training
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(m.training for m in norms)
    assert not any(p.requires_grad for m in norms for p in m.parameters())
    assert model.dropout7.training
    before = [m.running_mean.clone() for m in norms if m.running_mean is not None]
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    after = [m.running_mean for m in norms if m.running_mean is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert model.eval() is model


def test_only_later_convolutions_train(model: ResNet38) -> None:
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("conv" in name or name == "fc8.weight" for name in trained)
    assert not any(name.startswith(("conv1a", "b2.", "b2_1.", "b2_2.")) for name in trained)
    groups = [*model.backbone_parameters(), *model.head_parameters()]
    assert {id(p) for p in groups} == {id(p) for p in model.parameters() if p.requires_grad}


def test_forward_hooks_run(model: ResNet38) -> None:
    seen: list[tuple[int, ...]] = []
    for name in ("b2", "b4_5", "b7", "bn7"):
        model.get_submodule(name).register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape)))
    model.eval()(torch.rand(1, 3, 32, 32))
    assert [shape[2:] for shape in seen] == [(16, 16), (4, 4), (4, 4), (4, 4)]


def test_attention_hides_the_peaks() -> None:
    features = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 1, 1, 3)
    weights = torch.ones(2, 1, 1, 1)
    assert progressive_dropout_attention(features, weights, 0.6).flatten().tolist() == [1.0, 4.0, 0.0]
    assert progressive_dropout_attention(features, weights, 1.0).flatten().tolist() == [1.0, 4.0, 16.0]
    bounded = progressive_dropout_attention(features, weights, 1.0, normalise=True)
    assert bounded.flatten().tolist() == [0.25, 1.0, 4.0]


def test_attention_does_not_silence_an_image_when_normalised() -> None:
    features, weights = torch.ones(1, 2, 3, 3), -torch.ones(3, 2, 1, 1)
    assert (progressive_dropout_attention(features, weights, 0.8) == 0).all()
    weights.requires_grad_()
    kept = progressive_dropout_attention(features, weights, 0.8, normalise=True)
    assert torch.equal(kept, features)
    kept.sum().backward()
    assert weights.grad is not None
    assert weights.grad.isfinite().all()


def test_gradients_flow_through_the_attention(model: ResNet38) -> None:
    model.eval()
    features = torch.rand(2, model.fc8.in_channels, 4, 4)
    model.classify(features, pda_gamma=0.8).sum().backward()
    with_attention = model.fc8.weight.grad
    assert with_attention is not None
    fixed = progressive_dropout_attention(features, model.fc8.weight, 0.8).detach()
    model.zero_grad()
    model.classify(fixed).sum().backward()
    assert model.fc8.weight.grad is not None
    assert not torch.allclose(with_attention, model.fc8.weight.grad)
