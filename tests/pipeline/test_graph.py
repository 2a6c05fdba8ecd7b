"""Folded and cut networks compute what the originals do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from wsss_networks import shaken

from napari_wsss.backends.graph import cut, simplified
from napari_wsss.backends.maps import Pair
from napari_wsss.models.deeplab import BACKBONES
from napari_wsss.models.efficientnet_lite import EfficientNetLite0
from napari_wsss.models.registry import STAGE1_ARCHITECTURES, build_stage1, build_stage2
from tiling.errors import DeviceError

PIXELS = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


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
    folded = simplified(network)
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
    first, rest = cut(simplified(pair("efficientnet-lite0")), PIXELS)
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
    torch.testing.assert_close(simplified(network)(x), network(x))


class _DependsOnData(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_network_that_cannot_be_traced_runs_as_it_is_but_cannot_be_cut() -> None:
    network = _DependsOnData()
    assert simplified(network) is network
    with pytest.raises(DeviceError, match="--precision fp32 or bf16"):
        cut(network, PIXELS)


def lookalikes(stages: int) -> Pair:
    """A pair whose encoders have the same weights in their first stages; 1 is the stem, 0 is nothing."""
    both = pair("efficientnet-lite0")
    one, other = both.stage1.encoder, both.stage2.backbone
    assert isinstance(one, EfficientNetLite0)
    assert isinstance(other, EfficientNetLite0)
    shaken(other)
    for module in other.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.mul_(1.01)
    for mine, theirs in zip(one.stages(stages), other.stages(stages), strict=True):
        theirs.load_state_dict(mine.state_dict())
    return both


def convolutions(network: nn.Module) -> int:
    return sum(isinstance(m, nn.Conv2d) for m in network.modules())


@pytest.mark.parametrize("stages", [0, 1, 3, 6, 8])
def test_what_two_networks_begin_with_alike_is_computed_once(stages: int) -> None:
    network = lookalikes(stages)
    expected = network(PIXELS)
    merged = simplified(network)
    assert isinstance(network.stage1.encoder, EfficientNetLite0)
    shared = sum(convolutions(part) for part in network.stage1.encoder.stages(stages))
    assert (
        convolutions(merged) == convolutions(network.stage1.encoder) + convolutions(network.stage2) - shared
    )
    for found, wanted in zip(merged(PIXELS), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    first, rest = cut(merged, PIXELS)
    for found, wanted in zip(rest(*first(PIXELS)), merged(PIXELS), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("changed", ["weight", "bias", "running_mean", "running_var"])
def test_one_number_that_differs_keeps_layers_apart(changed: str) -> None:
    network = lookalikes(3)
    alike = convolutions(simplified(network))
    norm = network.stage2.backbone.stages(2)[1]
    tensor = norm.state_dict()[changed]
    tensor[0] += 1e-3
    merged = simplified(network)
    assert convolutions(merged) > alike
    for found, wanted in zip(merged(PIXELS), network(PIXELS), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


class _InPlace(nn.Module):
    """Two equal convolutions, of which one reader writes into its input and another reads it later."""

    def __init__(self, module: bool) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 1)
        self.other = nn.Conv2d(3, 4, 1)
        self.other.load_state_dict(self.one.state_dict())
        self.rectify = nn.ReLU(inplace=True) if module else None

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.one(x), self.other(x)
        positive = functional.relu(one, inplace=True) if self.rectify is None else self.rectify(one)
        return positive + 10 * other


@pytest.mark.parametrize("module", [False, True])
def test_a_merged_step_is_not_overwritten(module: bool) -> None:
    network = _InPlace(module).eval().requires_grad_(False)
    x = torch.randn(1, 3, 8, 8)
    merged = simplified(network)
    assert convolutions(merged) == 1
    torch.testing.assert_close(merged(x), network(x))
    assert network.rectify is None or network.rectify.inplace, "the original must not change"


class _Meanwhile(nn.Module):
    """A network; while its Python is read, somebody does something else."""

    def __init__(self, something: Callable[[], None]) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self._something = something

    def forward(self, x: Tensor) -> Tensor:
        self._something()
        result: Tensor = self.layer(x)
        return result


def test_what_other_threads_compute_is_not_traced() -> None:
    other, found = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval(), []

    def compute() -> None:
        thread = threading.Thread(target=lambda: found.append(other(torch.ones(1, 2))))
        thread.start()
        thread.join()

    traced = simplified(_Meanwhile(compute).eval())
    assert torch.equal(found[0], other(torch.ones(1, 2)))
    assert isinstance(traced, fx.GraphModule)
    assert [node.op for node in traced.graph.nodes] == ["placeholder", "call_module", "output"]


def test_two_threads_do_not_trace_at_once() -> None:
    call, begun, threads = nn.Module.__call__, threading.Event(), []

    def trace_another() -> None:
        threads.append(threading.Thread(target=simplified, args=(_Meanwhile(begun.set).eval(),)))
        threads[0].start()
        assert not begun.wait(0.3)  # what it waits for ends with this

    simplified(_Meanwhile(trace_another).eval())
    threads[0].join()
    assert begun.is_set()
    assert nn.Module.__call__ is call
    assert simplified(_Meanwhile(lambda: None).eval())(torch.ones(1, 2)).shape == (1, 2)
