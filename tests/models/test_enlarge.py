from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from napari_wsss.models import build_stage1, build_stage2
from napari_wsss.models.enlarge import enlarged

BUILD: dict[str, Callable[[float], nn.Module]] = {
    "stage 1": lambda factor: build_stage1("efficientnet-lite0", 3, width=0.1, enlarge=factor),
    "stage 2": lambda factor: build_stage2(
        "deeplabv3plus", 3, backbone="efficientnet-lite0", width=0.1, head_channels=8, enlarge=factor
    ),
}


def test_sides_are_whole_pixels() -> None:
    x = torch.rand(1, 3, 112, 30)
    assert enlarged(x, 160 / 112).shape == (1, 3, 160, 43)
    assert enlarged(x, 1.0) is x
    torch.testing.assert_close(enlarged(torch.full((1, 3, 4, 4), 0.3), 2.5), torch.full((1, 3, 10, 10), 0.3))


@pytest.mark.parametrize("factor", [0.5, 0.0, -1.0, 9.0])
def test_impossible_factors(factor: float) -> None:
    with pytest.raises(ValueError, match="enlarge"):
        enlarged(torch.rand(1, 3, 8, 8), factor)


@pytest.mark.parametrize("stage", sorted(BUILD))
def test_an_enlarging_network_is_the_plain_one_on_larger_input(stage: str) -> None:
    torch.manual_seed(0)
    plain, large = BUILD[stage](1.0).eval(), BUILD[stage](2.0).eval()
    large.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        if stage == "stage 1":
            torch.testing.assert_close(large(x), plain(enlarged(x, 2.0)))
            assert large.features(x).shape[2:] == (4, 4)  # type: ignore[operator]
        else:
            torch.testing.assert_close(large.coarse(x), plain.coarse(enlarged(x, 2.0)))  # type: ignore[operator]
            assert large(x).shape == (2, 3, 32, 32)
    assert large.arguments["enlarge"] == 2.0  # type: ignore[index]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_backends_can_trace_it() -> None:
    network = BUILD["stage 2"](1.5).eval()
    x = torch.rand(1, 3, 32, 32)
    traced = torch.jit.trace(network, (x,), check_trace=False)
    torch.testing.assert_close(traced(x), network(x))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("enlarge", value) for value in (None, "2", float("nan"), 10**400, -1, [])),
        *(("colour_smoothing", value) for value in (None, "x", 2, -3, 1e99, 3.0, 10**9 + 1, {})),
    ],
)
def test_a_bundle_may_say_anything(name: str, value: object) -> None:
    """Refused when the network is built, where a bundle's sentence is made of it, not at the first tile."""
    for build, more in ((build_stage1, {}), (build_stage2, {"backbone": "efficientnet-lite0"})):
        which = "efficientnet-lite0" if build is build_stage1 else "deeplabv3plus"
        with pytest.raises(ValueError, match=name):
            build(which, 3, width=0.1, **more, **{name: value})
