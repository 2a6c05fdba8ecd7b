"""Stage 2's own word on what an image holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_wsss.models import build_stage2
from training.networks.presence_head import fit_linear, held_out, with_presence


def test_the_fit_finds_a_linear_rule_and_ignores_what_never_varies() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3, [0.1, 5, 0, 2], (400, 4)).astype(np.float32)
    y = np.stack([x[:, 0] > 3, x[:, 1] + x[:, 3] > 5], 1).astype(np.float32)
    weight, bias = fit_linear(torch.from_numpy(x), torch.from_numpy(y), 1e-3)
    assert weight.dtype == bias.dtype == torch.float32
    assert (weight[:, 2] == 0).all()
    said = (torch.from_numpy(x) @ weight.T + bias > 0).numpy()
    assert (said == y).mean(0).min() > 0.97


def test_a_class_that_is_in_every_patch_or_in_none_stays_finite() -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    y = torch.stack([torch.ones(50), torch.zeros(50)], 1)
    weight, bias = fit_linear(x, y)
    assert torch.isfinite(weight).all()
    assert torch.isfinite(bias).all()
    probability = (x @ weight.T + bias).sigmoid()
    assert (probability[:, 0] > 0.9).all()
    assert (probability[:, 1] < 0.1).all()


@pytest.mark.parametrize("stages", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_the_network_segments_as_before_and_sees(again: bool, stages: bool) -> None:
    torch.manual_seed(0)
    network = build_stage2(
        "deeplabv3plus", 2, backbone="efficientnet-lite0", width=0.1, head_channels=8, low_channels=4
    ).eval()
    # Class 1 is where it is dark.
    bright, dark = 0.7 + 0.3 * torch.rand(16, 3, 32, 32), 0.3 * torch.rand(16, 3, 32, 32)
    images = torch.cat((bright, dark))
    labels = torch.eye(2).repeat_interleave(16, 0)
    seer = with_presence(network, [(images[::2], labels[::2]), (images[1::2], labels[1::2])], stages=stages)
    if again:  # what was there before is replaced
        seer = with_presence(seer, [(images, labels)], stages=stages)
    with torch.no_grad():
        assert torch.equal(seer(images), network(images))
        assert ((seer.sees(images) > 0.5) == (labels > 0.5)).all()
    assert seer.arguments["presence"] == ("stages" if stages else True)
    assert "presence" not in network.arguments


def test_only_the_light_encoder_shows_its_stages() -> None:
    with pytest.raises(ValueError, match="has stages"):
        build_stage2(
            "deeplabv3plus", 2, backbone="mobilenet-v2", width=0.1, head_channels=8, presence="stages"
        )
    with pytest.raises(ValueError, match="'stages', not 'all'"):
        build_stage2("deeplabv3plus", 2, backbone="efficientnet-lite0", width=0.1, presence="all")


def test_who_is_held_out_is_not_asked_about_itself() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 200, generator=generator)  # so wide that a fit knows every patch by heart
    by_chance = (torch.rand(60, 1, generator=generator) > 0.5).float()
    weight, bias = fit_linear(x, by_chance)
    heart = ((x @ weight.T + bias > 0) == (by_chance > 0.5)).float().mean()
    told = held_out(x, by_chance)
    assert heart == 1
    assert 0.3 < ((told > 0.5) == (by_chance > 0.5)).float().mean() < 0.7
    assert torch.equal(told, held_out(x, by_chance))
    plain = held_out(x, (x[:, :1] > 0).float() * torch.ones(1, 2))
    assert plain.shape == (60, 2)
    assert torch.isfinite(held_out(x[:3], by_chance[:3])).all()
