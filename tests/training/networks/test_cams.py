from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_wsss.models import build_stage1, multilayer_gradcam
from tiling.errors import TrainingError
from training.networks.cams import (
    FUSED,
    at_stride,
    batch_masks,
    fuse_maps,
    layer_maps,
    smooth_maps,
    superpixel_majority,
)
from training.settings.presets import CamSettings

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_stage1("efficientnet-lite0", 3, width=0.1).eval()


def pixels(count: int = 2, side: int = 48) -> np.ndarray:
    return RNG.integers(0, 200, (count, side, side, 3), np.uint8)


def test_smoothing_is_a_residual_box_mean() -> None:
    maps = torch.zeros(1, 1, 5, 5)
    maps[0, 0, 2, 2] = 9.0
    smooth = smooth_maps(maps, 3, 1.5)
    assert smooth[0, 0, 2, 2] == pytest.approx(9 + 1.5)
    assert smooth[0, 0, 1, 1] == pytest.approx(1.5)
    assert smooth[0, 0, 0, 0] == 0
    assert torch.equal(smooth_maps(maps, 0, 1.5), maps)
    # A constant map stays constant up to the border.
    assert torch.allclose(smooth_maps(torch.ones(1, 2, 4, 6), 4, 0.5), torch.tensor(1.5))


def test_plain_settings_give_the_plain_maps(network: torch.nn.Module) -> None:
    x = torch.rand(2, 3, 48, 48)
    found = layer_maps(network, x, network.cam_layers, None, CamSettings())  # type: ignore[arg-type]
    for layer, raw in multilayer_gradcam(network, x).items():
        expected = torch.nn.functional.interpolate(raw, (48, 48), mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[layer], expected, rtol=1e-4, atol=1e-6)


def test_flip_makes_maps_symmetric(network: torch.nn.Module) -> None:
    x = torch.rand(1, 3, 48, 48)
    settings = CamSettings(flip=True)
    maps = layer_maps(network, x, ("head",), None, settings)["head"]
    mirrored = layer_maps(network, x.flip(3), ("head",), None, settings)["head"].flip(3)
    torch.testing.assert_close(maps, mirrored, rtol=1e-4, atol=1e-6)


def test_scales_are_averaged(network: torch.nn.Module) -> None:
    x = torch.rand(1, 3, 48, 48)
    one, two, both = (
        layer_maps(network, x, ("head",), None, CamSettings(scales=s))["head"]
        for s in ((1.0,), (1.5,), (1.0, 1.5))
    )
    torch.testing.assert_close(both, (one + two) / 2)


def test_only_present_classes_appear_and_one_class_needs_no_cam(
    network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pixels(4)
    present = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1]], bool)
    masks = batch_masks(network, images, present, network.cam_layers, CamSettings(), background=False)  # type: ignore[arg-type]
    assert set(masks) == {"stage6", "stage7", "head"}
    for mask in masks.values():
        assert [set(np.unique(m)) for m in mask[[0, 2]]] == [{0}, {1}]
        assert set(np.unique(mask[1])) <= {0, 2}
        assert set(np.unique(mask[3])) <= {1, 2}
    monkeypatch.setattr("training.networks.cams.layer_maps", lambda *_: pytest.fail("a CAM was computed"))
    batch_masks(network, images[:1], present[:1], ("head",), CamSettings(), background=False)


def test_white_pixels_are_background_by_schema_or_by_setting(network: torch.nn.Module) -> None:
    images = pixels(1)
    images[:, :10, :10] = 250
    images[:, 40, 40] = 250
    present = np.array([[1, 0, 0]])
    by_schema = batch_masks(network, images, present, ("head",), CamSettings(), background=True)["head"][0]
    by_setting = batch_masks(network, images, present, ("head",), CamSettings(ignore_white=210), False)[
        "head"
    ][0]
    assert (by_schema == 3).sum() == 100  # the lone pixel is too small for the reference's rule
    assert (by_setting == 3).sum() == 101


def test_superpixels_vote() -> None:
    pytest.importorskip("skimage")
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 255
    mask = np.zeros((32, 32), np.uint8)
    mask[:, 16:] = 2
    noisy = mask.copy()
    noisy[5, 5], noisy[20, 25] = 2, 0
    assert np.array_equal(superpixel_majority(noisy, image, 8), mask)


def test_finer_cams_hold_the_coarse_ones() -> None:
    network = build_stage1("efficientnet-lite0", 3, width=0.25).eval()
    x = torch.rand(1, 3, 64, 64)
    fine = at_stride(network, 8)
    with torch.no_grad():
        coarse, dense = network.features(x), fine.features(x)  # type: ignore[operator]
    assert dense.shape[2:] == (8, 8)
    # A strided convolution padded at the end looks at every second place, beginning with the second.
    torch.testing.assert_close(dense[:, :, 1::2, 1::2], coarse, rtol=1e-4, atol=1e-5)
    assert at_stride(network, 0) is network
    assert at_stride(network, 16) is network


@pytest.mark.parametrize(("name", "width"), [("resnet38", 0.1), ("efficientnet-lite0", 0.1)])
def test_a_network_that_has_one_stride_says_so(name: str, width: float) -> None:
    with pytest.raises(TrainingError, match="--cam-stride"):
        at_stride(build_stage1(name, 2, width=width), 8)


def test_turns_make_maps_turn_with_the_patch(network: torch.nn.Module) -> None:
    x = torch.rand(1, 3, 48, 48)
    settings = CamSettings(flip=True, turns=True)
    found = layer_maps(network, x, network.cam_layers, None, settings)  # type: ignore[arg-type]
    turned = layer_maps(network, torch.rot90(x, 1, (2, 3)), network.cam_layers, None, settings)  # type: ignore[arg-type]
    plain = layer_maps(network, x, network.cam_layers, None, CamSettings())  # type: ignore[arg-type]
    for layer, maps in found.items():
        scale = float(maps.abs().max())
        assert torch.allclose(torch.rot90(maps, 1, (2, 3)), turned[layer], atol=1e-4 * scale)
        assert not torch.allclose(maps, plain[layer], atol=1e-2 * scale)
    oblong = layer_maps(network, torch.rand(1, 3, 32, 48), network.cam_layers, None, settings)  # type: ignore[arg-type]
    assert oblong["head"].shape == (1, 3, 32, 48)


def test_fused_maps_weigh_layers_alike_whatever_their_size() -> None:
    left = torch.zeros(1, 3, 4, 4)
    left[0, 0, :, :2] = 1.0
    top = torch.zeros(1, 3, 4, 4)
    top[0, 0, :2] = 1.0
    present = torch.tensor([[True, True, False]])
    found = fuse_maps([left, top], present)
    assert torch.allclose(found, fuse_maps([1e6 * left + 3.0, 1e-6 * top], present), atol=1e-4)
    assert found[0, 0, 0, 0] > 0 == found[0, 0, 3, 3]
    assert (found[0, 2] == 0).all()
    assert torch.allclose(found[0, 0, 0, 3], found[0, 0, 3, 0])
    assert torch.isfinite(fuse_maps([torch.zeros(1, 3, 4, 4)], present)).all()
    ignored = left.clone()
    ignored[0, 2] = 1e9  # what an absent class says does not count
    assert torch.allclose(fuse_maps([ignored], present), fuse_maps([left], present))


def test_a_fused_mask_is_one_layer(network: torch.nn.Module) -> None:
    present = np.array([[True, True, False], [False, True, False]])
    masks = batch_masks(
        network, pixels(), present, network.cam_layers, CamSettings(fuse=True), background=False
    )  # type: ignore[arg-type]
    assert tuple(masks) == (FUSED,)
    assert set(np.unique(masks[FUSED][0])) <= {0, 1}
    assert (masks[FUSED][1] == 1).all()
