"""Networks rewritten for tiles of one size compute what the originals do, with fewer multiplications."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from wsss_networks import shaken

from napari_wsss.backends.cheaper import EnlargedConv2d, cheaper
from napari_wsss.backends.graph import cut, simplified
from napari_wsss.backends.maps import Pair, Seer
from napari_wsss.models.registry import build_stage1, build_stage2

SIDES = st.integers(1, 9)


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def tiles(side: int, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)


@given(
    SIDES,
    SIDES,
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from([1, 3, 5]),
    st.booleans(),
    st.integers(1, 2),
)
def test_mixing_channels_before_enlarging_changes_nothing(
    height: int, width: int, taller: int, wider: int, taps: int, align: bool, count: int
) -> None:
    x, weight = noise(count, 3, height, width), noise(2, 3, taps, taps)
    size = (height + taller, width + wider)
    large = functional.interpolate(x, size, mode="bilinear", align_corners=align)
    found = EnlargedConv2d(weight, (height, width), size, align)(x)
    torch.testing.assert_close(found, functional.conv2d(large, weight, padding=taps // 2))


class Dilated(nn.Module):
    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.convolution(x)
        return found


@given(
    SIDES,
    SIDES,
    st.sampled_from([(1, 1), (3, 3), (5, 5), (3, 5)]),
    st.integers(1, 9),
    st.sampled_from([1, 2]),
    st.booleans(),
)
def test_taps_that_see_only_padding_go(
    height: int, width: int, kernel: tuple[int, int], dilation: int, groups: int, bias: bool
) -> None:
    padding = ((kernel[0] - 1) // 2 * dilation, (kernel[1] - 1) // 2 * dilation)
    dilated = nn.Conv2d(2, 4, kernel, 1, padding, dilation, groups, bias, dtype=torch.float64)
    x = noise(1, 2, height, width)
    wanted = dilated(x)
    network: Any = cheaper(fx.symbolic_trace(Dilated(dilated)), x)
    torch.testing.assert_close(network(x), wanted)
    (left,) = (m for m in network.modules() if isinstance(m, nn.Conv2d))
    for side, before, after in zip((height, width), kernel, left.kernel_size, strict=True):
        assert after == min(before, 2 * ((side - 1) // dilation) + 1)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(2, 2, 3, stride=2, padding=9, dilation=9),
        nn.Conv2d(2, 2, 3, padding=8, dilation=9),
        nn.Conv2d(2, 2, 2, padding=9, dilation=9),
        nn.Conv2d(2, 2, 3, padding=4, dilation=4, padding_mode="reflect"),
    ],
    ids=["stride", "less padding", "even kernel", "mirrored"],
)
def test_other_convolutions_stay(convolution: nn.Conv2d) -> None:
    x = noise(1, 2, 6, 6, dtype=torch.float32)
    wanted = convolution(x)
    network: Any = cheaper(fx.symbolic_trace(Dilated(convolution)), x)
    assert torch.equal(network(x), wanted)
    assert network.convolution is convolution


class Joined(nn.Module):
    """A convolution of maps of which some were enlarged; ``how`` says what is special."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        channels = {"alone": 16, "two more": 22}.get(how, 19)
        extra: dict[str, Any] = {
            "strided": {"stride": 2},
            "grouped": {"groups": 19},
            "no bias": {"bias": False},
        }.get(how, {})
        self.convolution = nn.Conv2d(channels, 19, 3, padding=1, **extra)

    def forward(self, x: Tensor, low: Tensor) -> Tensor:
        if self.how == "by a factor":
            large = functional.interpolate(x, scale_factor=4.0, mode="bilinear")
        elif self.how == "nearest":
            large = functional.interpolate(x, low.shape[2:])
        else:
            large = functional.interpolate(x, low.shape[2:], mode="bilinear", align_corners=True)
        if self.how == "alone":
            found: Tensor = self.convolution(large)
        elif self.how == "last":
            found = self.convolution(torch.cat((low, large), dim=1))
        elif self.how == "along rows":
            found = self.convolution(torch.cat((torch.cat((large, low), 1),) * 2, 2))
        elif self.how == "two more":
            found = self.convolution(torch.cat([large, low, low], dim=1))
        else:
            found = self.convolution(torch.cat((large, low), 1))
        return found + large.mean() if self.how == "read twice" else found


@pytest.mark.parametrize(
    ("how", "rewritten"),
    [
        *((how, True) for how in ("usual", "alone", "two more", "no bias", "read twice")),
        *((how, False) for how in ("last", "by a factor", "nearest", "strided", "grouped", "along rows")),
    ],
)
def test_a_convolution_comes_before_the_enlarging_where_that_is_the_same(how: str, rewritten: bool) -> None:
    x, low = noise(1, 16, 5, 5, dtype=torch.float32), noise(1, 3, 20, 20, dtype=torch.float32)
    plain = Joined(how).eval().requires_grad_(False)
    wanted = plain(x, low)
    network: Any = cheaper(fx.symbolic_trace(plain), x, low)
    torch.testing.assert_close(network(x, low), wanted, rtol=1e-4, atol=1e-5)
    assert any(isinstance(m, EnlargedConv2d) for m in network.modules()) == rewritten


def test_a_map_hardly_enlarged_is_left() -> None:
    x, low = noise(1, 16, 18, 18, dtype=torch.float32), noise(1, 3, 20, 20, dtype=torch.float32)
    network = cheaper(fx.symbolic_trace(Joined("usual").eval()), x, low)
    assert not any(isinstance(m, EnlargedConv2d) for m in network.modules())


@pytest.mark.parametrize(
    ("backbone", "stride"), [("efficientnet-lite0", 16), ("efficientnet-lite0", 32), ("resnet50", 8)]
)
@pytest.mark.parametrize("side", [48, 100])
def test_whole_networks_compute_the_same_with_less(backbone: str, stride: int, side: int) -> None:
    head = {"head_channels": 32, "low_channels": 4, "output_stride": stride}
    second = shaken(build_stage2("deeplabv3plus", 3, backbone=backbone, width=0.1, presence=True, **head))
    first = shaken(build_stage1("efficientnet-lite0", 3, width=0.1))
    for network in (Pair(first, second), Seer(second)):
        x = tiles(side, 2)
        wanted = network(x)
        found: Any = cheaper(simplified(network), x[:1])
        for value, original in zip(found(x), wanted, strict=True):
            torch.testing.assert_close(value, original, rtol=1e-3, atol=1e-4)
        assert multiplications(found, x) < 0.8 * multiplications(network, x)


def multiplications(network: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        network(x)
    return int(counter.get_total_flops())


def test_a_rewritten_network_can_be_cut_and_one_without_a_graph_stays() -> None:
    second = shaken(
        build_stage2("deeplabv3plus", 3, backbone="efficientnet-lite0", width=0.1, head_channels=8)
    )
    network = cheaper(
        simplified(Pair(shaken(build_stage1("efficientnet-lite0", 3, width=0.1)), second)), tiles(64)
    )
    first, rest = cut(network, tiles(64))
    for found, wanted in zip(rest(*first(tiles(64))), network(tiles(64)), strict=True):
        assert torch.equal(found, wanted)
    assert cheaper(second, tiles(64)) is second
