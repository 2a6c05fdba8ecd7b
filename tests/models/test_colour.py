"""Colour at a lower resolution than brightness: what it keeps, and that networks use it."""

from __future__ import annotations

import pytest
import torch

from napari_wsss.models import build_stage1, build_stage2
from napari_wsss.models.colour import smooth_colour


def luma(x: torch.Tensor) -> torch.Tensor:
    return 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]


def test_brightness_stays_and_colour_is_smooth() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 20, 17)
    found = smooth_colour(x, 5)
    torch.testing.assert_close(luma(found), luma(x))
    before, after = (v - luma(v)[:, None] for v in (x, found))
    assert float(after.std()) < 0.4 * float(before.std())
    torch.testing.assert_close(smooth_colour(torch.full((1, 3, 9, 9), 0.3), 3), torch.full((1, 3, 9, 9), 0.3))
    assert smooth_colour(x, 0) is x


@pytest.mark.parametrize("side", [-3, 4])
def test_impossible_sides(side: int) -> None:
    with pytest.raises(ValueError, match="odd number"):
        smooth_colour(torch.rand(1, 3, 8, 8), side)


def test_two_compressions_give_more_similar_answers() -> None:
    """Noise in colour alone, as compression makes it, must reach a network with the argument much less."""
    torch.manual_seed(0)
    x = torch.rand(1, 3, 64, 64)
    noise = 0.1 * torch.randn(1, 3, 64, 64)
    other = x + noise - luma(noise)[:, None]
    builds = {
        "stage 1": lambda side: build_stage1("efficientnet-lite0", 3, width=0.1, colour_smoothing=side),
        "stage 2": lambda side: build_stage2(
            "deeplabv3plus",
            3,
            backbone="efficientnet-lite0",
            width=0.1,
            head_channels=8,
            colour_smoothing=side,
        ),
    }
    for build in builds.values():
        plain, smooth = build(0).eval(), build(5).eval()
        smooth.load_state_dict(plain.state_dict())
        with torch.no_grad():
            change = [(n(x) - n(other)).abs().mean() for n in (plain, smooth)]
        assert float(change[1]) < 0.5 * float(change[0])
        assert smooth.arguments["colour_smoothing"] == 5  # type: ignore[index]


@pytest.mark.parametrize(("height", "width", "side"), [(40, 33, 9), (5, 70, 17), (1, 1, 3)])
def test_two_matrices_do_what_two_boxes_do(height: int, width: int, side: int) -> None:
    x = torch.rand(2, 3, height, width, dtype=torch.float64)
    smooth = x
    for _ in range(2):
        smooth = torch.nn.functional.avg_pool2d(smooth, side, 1, side // 2, count_include_pad=False)
    detail = x - smooth
    luma = 0.299 * detail[:, :1] + 0.587 * detail[:, 1:2] + 0.114 * detail[:, 2:]
    torch.testing.assert_close(smooth_colour(x, side), smooth + luma, atol=1e-6, rtol=0)
