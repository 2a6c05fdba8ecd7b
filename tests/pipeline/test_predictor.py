"""BundlePredictor: what the networks say, gated and summed up as documented, on whatever device was asked for."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_wsss.backends.maps import Maps
from napari_wsss.models.bundle import Bundle, Gate, load_bundle
from napari_wsss.models.cam import class_activation, resize_maps
from napari_wsss.models.gate import apply_gate
from napari_wsss.predictor import BundlePredictor, choose_device
from tiling.errors import BundleError, DeviceError

Tiles = NDArray[np.uint8]


def plain(bundle: Bundle, **options: Any) -> BundlePredictor:
    return BundlePredictor(bundle, **({"device": "cpu", "precision": "fp32", "backend": "torch"} | options))


@torch.no_grad()
def by_hand(bundle: Bundle, tiles: Tiles) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return activation, presence and scores of the networks as they are."""
    x = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
    stage1: Any = bundle.build_stage1()
    stage2 = bundle.build_stage2()
    activation = class_activation(stage1.features(x), stage1.classifier_weights)
    scores = resize_maps(activation, (bundle.tile, bundle.tile)) if stage2 is None else stage2(x)
    return activation, stage1(x).sigmoid(), scores


@pytest.mark.parametrize("mode", ["mask", "reference"])
def test_gated_probabilities_are_those_of_apply_gate(bundle: Bundle, tiles: Tiles, mode: Any) -> None:
    bundle = dataclasses.replace(bundle, gate=Gate(bundle.gate.thresholds, mode))
    found = plain(bundle)(tiles)
    _, presence, scores = by_hand(bundle, tiles)
    closed = presence <= torch.tensor(bundle.gate.thresholds)
    assert bool(closed.any()) != bool(closed.all()), "the fixture must open some classes and close others"
    expected = apply_gate(scores, presence, bundle.gate.thresholds, mode).softmax(1)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(found.presence, presence, atol=1e-6)
    if mode == "mask":
        assert not found.probabilities[closed.numpy() & (closed.numpy().sum(1, keepdims=True) < 4)].any()


def test_without_gate_every_class_may_appear(bundle: Bundle, tiles: Tiles) -> None:
    found = plain(bundle, gate=False)(tiles)
    _, _, scores = by_hand(bundle, tiles)
    np.testing.assert_allclose(found.probabilities, scores.softmax(1), atol=1e-5)
    assert (found.probabilities > 0).all()


def test_prediction_is_float32_contiguous_and_of_the_tiles_size(bundle: Bundle, tiles: Tiles) -> None:
    found = plain(bundle)(tiles)
    assert found.probabilities.shape == (5, 4, 64, 64)
    assert found.probabilities.dtype == np.float32
    assert found.probabilities.flags.c_contiguous
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-5)
    assert found.cams is None


def test_confidence_and_shares_summarise_the_probabilities(bundle: Bundle, tiles: Tiles) -> None:
    found = plain(bundle)(tiles)
    assert found.confidence is not None
    assert found.shares is not None
    np.testing.assert_allclose(found.confidence, found.probabilities.max(1).mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(found.shares, found.probabilities.mean((2, 3)), atol=1e-5)


def test_without_stage_2_the_activations_are_the_scores(first_only: Bundle, tiles: Tiles) -> None:
    found = plain(first_only)(tiles)
    _, presence, scores = by_hand(first_only, tiles)
    expected = apply_gate(scores, presence, first_only.gate.thresholds).softmax(1)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("side", [4, 16, 64])
def test_cams_have_the_side_asked_for(bundle: Bundle, tiles: Tiles, side: int) -> None:
    found = plain(bundle)(tiles, cam_side=side).cams
    activation, _, _ = by_hand(bundle, tiles)
    assert found is not None
    assert found.shape == (5, 4, side, side)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, resize_maps(activation, (side, side)).sigmoid(), atol=1e-5)


def test_own_threshold_replaces_the_bundles(bundle: Bundle, tiles: Tiles) -> None:
    strict = plain(bundle, gate_threshold=1.0)
    found = strict(tiles)
    assert strict.identity["gate"] == {"on": True, "thresholds": [1.0], "mode": "mask"}
    # Nothing passes, so the most probable class is all there is.
    top = found.presence.argmax(1)
    assert (found.probabilities.argmax(1) == top[:, None, None]).all()
    _, _, scores = by_hand(bundle, tiles)
    np.testing.assert_allclose(
        plain(bundle, gate_threshold=0.0)(tiles).probabilities, scores.softmax(1), atol=1e-5
    )


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_threshold_must_be_a_probability(bundle: Bundle, threshold: float) -> None:
    with pytest.raises(BundleError, match="probability from 0 to 1"):
        plain(bundle, gate_threshold=threshold)


def test_a_tile_does_not_depend_on_its_batch(bundle: Bundle, tiles: Tiles) -> None:
    predictor = plain(bundle)
    together = predictor(tiles).probabilities
    alone = np.concatenate([predictor(tiles[i : i + 1]).probabilities for i in range(len(tiles))])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_pixels_are_left_alone(bundle: Bundle, tiles: Tiles) -> None:
    before = tiles.copy()
    plain(bundle)(tiles)
    np.testing.assert_array_equal(tiles, before)


def test_identity_names_what_is_in_use(bundle: Bundle) -> None:
    identity = plain(bundle).identity
    assert identity["backend"] == "torch"
    assert identity["precision"] == "fp32"
    assert identity["hashes"] == bundle.hashes
    assert plain(bundle, precision="bf16").identity != identity
    assert plain(bundle, gate=False).identity != identity


@pytest.mark.parametrize("precision", ["mixed", "bf16"])
def test_lower_precision_stays_near(bundle: Bundle, tiles: Tiles, precision: str) -> None:
    exact = plain(bundle, gate=False)(tiles).probabilities
    found = plain(bundle, gate=False, precision=precision)(tiles).probabilities
    assert 0 < np.abs(found - exact).max() < 0.1


def test_mixed_is_nearer_than_bf16(bundle: Bundle, tiles: Tiles) -> None:
    exact = plain(bundle, gate=False)(tiles).probabilities
    error = {
        p: np.abs(plain(bundle, gate=False, precision=p)(tiles).probabilities - exact).mean()
        for p in ("mixed", "bf16")
    }
    assert error["mixed"] < error["bf16"]


@pytest.mark.parametrize("device", ["gpu", "tpu:0", "cpu:x", ""])
def test_unknown_device(device: str) -> None:
    with pytest.raises(DeviceError, match="use auto, cpu, cuda"):
        choose_device(device)


def test_devices_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="no CUDA GPU; use --device cpu"):
        choose_device("cuda")


def test_devices_with_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(DeviceError, match=r"sees 2 GPU"):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16"}, "fp16 needs a GPU"),
        ({"precision": "fp8"}, "There is no precision 'fp8'"),
        ({"backend": "tensorrt"}, "There is no backend 'tensorrt'"),
    ],
)
def test_what_is_not_there_is_one_sentence(bundle: Bundle, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        plain(bundle, **options)


# One encoder ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seer", ["seer", "stages"], indirect=True)
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_stage_2_says_what_is_present(seer: Bundle, tiles: NDArray[np.uint8], backend: Any) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    stage2: Any = seer.build_stage2()
    x = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        logits, presence = stage2.segment_and_see(x)
        assert torch.equal(logits, stage2.coarse(x))
        assert torch.allclose(presence, stage2.presence(stage2.pooled(x)))
    found = BundlePredictor(seer, "cpu", "fp32", backend=backend)(tiles)
    np.testing.assert_allclose(found.presence, presence.sigmoid().numpy(), atol=1e-5)
    gated = apply_gate(stage2(x), presence.sigmoid(), seer.gate.thresholds).softmax(1).detach()
    np.testing.assert_allclose(found.probabilities, gated.numpy(), atol=1e-4)


def test_stage_1_is_loaded_only_for_cams(
    seer: Bundle, bundle: Bundle, tiles: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    build = Bundle.build_stage1
    monkeypatch.setattr(Bundle, "build_stage1", lambda self: built.append(self.name) or build(self))
    predictor = BundlePredictor(seer, "cpu", "fp32", backend="torch")
    assert predictor(tiles).cams is None
    assert built == []
    found = predictor(tiles, cam_side=8).cams
    predictor(tiles, cam_side=8)
    assert built == ["seer"]
    # The two bundles have the same stage 1.
    expected = BundlePredictor(bundle, "cpu", "fp32", backend="torch")(tiles, cam_side=8).cams
    np.testing.assert_array_equal(found, expected)


def test_the_identity_says_who_speaks_of_presence(seer: Bundle, bundle: Bundle) -> None:
    said = [BundlePredictor(b, "cpu", "fp32", backend="torch").identity["presence"] for b in (seer, bundle)]
    assert said == ["stage2", "stage1"]


@pytest.mark.parametrize("value", ["stage3", None, 1, "stage2"])
def test_a_bundle_whose_presence_nobody_can_tell_is_refused(bundle: Bundle, value: object) -> None:
    path = bundle.path / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "presence": value}))
    with pytest.raises(BundleError, match="presence"):
        load_bundle(bundle.path)


def test_a_bundle_from_before_reads_as_before(bundle: Bundle) -> None:
    path = bundle.path / "model.json"
    content = json.loads(path.read_text())
    del content["presence"]
    path.write_text(json.dumps(content))
    assert load_bundle(bundle.path).presence == "stage1"


def test_ungated_probabilities_keep_the_table_of_tiles(bundle: Bundle, tiles: NDArray[np.uint8]) -> None:
    predictor = BundlePredictor(bundle, "cpu", "fp32", backend="torch")
    gated, open_ = predictor(tiles), predictor(tiles, gated=False)
    assert not np.array_equal(gated.probabilities, open_.probabilities)
    np.testing.assert_allclose(open_.shares, gated.shares, atol=1e-5)
    np.testing.assert_allclose(open_.confidence, gated.confidence, atol=1e-5)
    assert predictor.thresholds == pytest.approx((0.45, 0.5, 0.55, 0.5))
    assert BundlePredictor(bundle, "cpu", "fp32", gate=False, backend="torch").thresholds is None


# Stage 1 at a stride of its own ---------------------------------------------------------------------------


def with_stride(bundle: Bundle, value: object) -> Bundle:
    path = bundle.path / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "presence_stride": value}))
    return load_bundle(bundle.path)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_stage_1_opens_the_gate_at_its_stride_and_explains_at_the_other(
    bundle: Bundle, tiles: NDArray[np.uint8], backend: Any
) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    before = BundlePredictor(bundle, "cpu", "fp32", backend="torch")
    coarse = with_stride(bundle, 32)
    predictor = BundlePredictor(coarse, "cpu", "fp32", backend=backend)
    assert predictor.identity != before.identity
    assert load_bundle(coarse.path).to_dict()["presence_stride"] == 32
    x = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        gatekeeper = coarse.build_gatekeeper()
        assert gatekeeper.features(x).shape[2:] == (2, 2)
        expected = gatekeeper(x).sigmoid().numpy()
    found, fine = predictor(tiles, cam_side=8), before(tiles, cam_side=8)
    np.testing.assert_allclose(found.presence, expected, atol=1e-5)
    assert not np.allclose(found.presence, fine.presence, atol=1e-3)
    np.testing.assert_allclose(found.cams, fine.cams, atol=1e-5)


@pytest.mark.parametrize("value", [0, 4, 64, "32", 32.0, True, [32]])
def test_a_stride_that_is_none_is_refused(bundle: Bundle, value: object) -> None:
    with pytest.raises(BundleError, match="presence_stride"):
        with_stride(bundle, value)


def test_a_stride_is_for_a_light_stage_1_that_opens_a_gate(seer: Bundle, first_only: Bundle) -> None:
    for other in (seer, first_only):
        with pytest.raises(BundleError, match="leave it out"):
            with_stride(other, 32)
        assert "presence_stride" not in with_stride(other, None).to_dict()


# Memory of a GPU ------------------------------------------------------------------------------------------


class Small:
    """A backend that holds few tiles at a time; a stand-in for a GPU."""

    def __init__(self, inner: Any, holds: int) -> None:
        self.inner, self.holds, self.asked = inner, holds, []

    def __call__(self, pixels: NDArray[np.uint8]) -> Maps:
        self.asked.append(len(pixels))
        if len(pixels) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        one = [self.inner(pixels[i : i + 1]) for i in range(len(pixels))]
        return Maps(torch.cat([m.activation for m in one]), torch.cat([m.logits for m in one]))


def test_a_batch_that_a_gpu_cannot_hold_is_halved_now_and_later(
    bundle: Bundle, tiles: NDArray[np.uint8]
) -> None:
    predictor = plain(bundle)
    inner = predictor._run
    predictor._run = Small(inner, 100)
    expected = predictor(tiles, cam_side=8)
    predictor._run = small = Small(inner, 1)
    found = predictor(tiles, cam_side=8)
    for field in dataclasses.fields(found):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name))
    assert small.asked[:3] == [5, 2, 1]
    small.asked.clear()
    predictor(tiles)
    assert small.asked == [1, 1, 1, 1, 1], "not tried again in full"


def test_a_gpu_without_room_for_one_tile_is_one_sentence(bundle: Bundle, tiles: NDArray[np.uint8]) -> None:
    predictor = plain(bundle)
    predictor._run = Small(predictor._run, 0)
    with pytest.raises(DeviceError, match="too little memory for one tile"):
        predictor(tiles)
