"""Folded and cut networks compute what the originals do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_wsss.backends.graph import cut, fold_batch_norms
from napari_wsss.backends.maps import Pair
from napari_wsss.models.deeplab import BACKBONES
from napari_wsss.models.registry import STAGE1_ARCHITECTURES, build_stage1, build_stage2
from tiling.errors import DeviceError

PIXELS = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def shaken(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Variances near those of the signal keep deep random networks from exploding.
            module.running_mean.uniform_(-0.1, 0.1, generator=generator)
            module.weight.data.uniform_(0.5, 1.0, generator=generator)
            module.bias.data.uniform_(-0.1, 0.1, generator=generator)
        if isinstance(module, nn.Conv2d):
            module.weight.data.normal_(0, module.weight[0].numel() ** -0.5, generator=generator)
    return network.eval().requires_grad_(False)


def pair(stage1: str, **options: Any) -> Pair:
    backbone = {"resnet38": "resnet101"}.get(stage1, stage1 if stage1 in BACKBONES else "efficientnet-lite0")
    head = {"head_channels": 8, "low_channels": 4}
    second = build_stage2("deeplabv3plus", 3, backbone=backbone, width=0.1, **head, **options)
    return Pair(shaken(build_stage1(stage1, 3, width=0.1, **options)), shaken(second))


@pytest.mark.parametrize(
    ("stage1", "options"),
    [
        *(
            (name, {}) for name in sorted(STAGE1_ARCHITECTURES) if name != "encoder"
        ),  # takes a file of weights
        ("efficientnet-lite0", {"enlarge": 160 / 112, "colour_smoothing": 5}),
    ],
)
def test_every_registered_network_can_be_folded_and_cut(stage1: str, options: dict[str, Any]) -> None:
    network = pair(stage1, **options)
    expected = network(PIXELS)
    folded = fold_batch_norms(network)
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in n.modules()) for n in (network, folded)]
    assert norms[1] < norms[0] / 2
    for found, wanted in zip(folded(PIXELS), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    for found, wanted in zip(network(PIXELS), expected, strict=True):
        assert torch.equal(found, wanted), "the original must not change"
    first, rest = cut(folded, PIXELS)
    handed_over = first(PIXELS)
    assert all(isinstance(tensor, Tensor) and tensor.ndim == 4 for tensor in handed_over)
    for found, wanted in zip(rest(*handed_over), folded(PIXELS), strict=True):
        assert torch.equal(found, wanted)


def test_the_cut_is_before_the_small_maps() -> None:
    first, rest = cut(fold_batch_norms(pair("efficientnet-lite0")), PIXELS)
    convolutions = [sum(isinstance(m, nn.Conv2d) for m in part.modules()) for part in (first, rest)]
    assert 10 < convolutions[0] < convolutions[1]
    assert rest(*first(PIXELS))[1].shape == (1, 3, 16, 16)


class _TwoReaders(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x)
        return self.norm(y) + y


class _Shared(_TwoReaders):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x)) + self.convolution(x * 2)


@pytest.mark.parametrize("kind", [_TwoReaders, _Shared])
def test_a_convolution_with_other_readers_is_not_folded(kind: type[nn.Module]) -> None:
    network = shaken(kind())
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(fold_batch_norms(network)(x), network(x))


class _DependsOnData(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_network_that_cannot_be_traced_runs_as_it_is_but_cannot_be_cut() -> None:
    network = _DependsOnData()
    assert fold_batch_norms(network) is network
    with pytest.raises(DeviceError, match="--precision fp32 or bf16"):
        cut(network, PIXELS)
