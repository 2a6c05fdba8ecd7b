from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from napari_wsss.models import Gate, apply_gate, build_stage1, build_stage2, save_bundle
from tiling.confusion import confusion, scores_of
from training import evaluate as program
from training.data import EvaluationSet, MaskedImage
from training.data.files import check_pairs
from training.evaluate import Evaluation, TilePredictor, bootstrap, evaluate, presence_gated, report
from training.networks.gate_search import SQUARE, GateCalibrator, calibrate_gate
from training.scores import SegmentationScores
from training.scores.tiled import Ungated, blend_image, ungated_image

RNG = np.random.default_rng(0)


def one_hot(labels: np.ndarray, classes: int = 3) -> np.ndarray:
    return np.moveaxis(np.eye(classes, dtype=np.float32)[labels], -1, 1)


def by_colour(tiles: np.ndarray) -> dict[str, np.ndarray]:
    """A predictor that reads the class from the red channel; white (padding) is class 2."""
    return {"plain": one_hot(np.minimum(tiles[..., 0], 2))}


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 9), (70, 33), (64, 129)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_images_of_any_size(height: int, width: int, overlap: float) -> None:
    truth = RNG.integers(0, 3, (height, width)).astype(np.uint8)
    image = np.dstack([truth] * 3)
    assert np.array_equal(blend_image(image, by_colour, 32, overlap, batch_size=2)["plain"], truth)


def test_gate_on_probabilities_equals_gate_on_logits() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, 5, 5) * 4
    presence = torch.tensor([[0.9, 0.05, 0.5], [0.01, 0.02, 0.03], [0.9, 0.9, 0.9], [0.2, 0.1, 0.4]])
    thresholds = (0.1, 0.1, 0.45)
    expected = apply_gate(logits, presence, thresholds).softmax(1).numpy()
    found = presence_gated(logits.softmax(1).numpy(), presence.numpy(), thresholds)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, schema: Any) -> Any:
    torch.manual_seed(0)
    return save_bundle(
        tmp_path_factory.mktemp("bundle") / "b",
        name="tiny",
        schema=schema,
        mpp=1.0,
        tile=32,
        stage1=build_stage1("efficientnet-lite0", 3, width=0.1),
        stage2=build_stage2("deeplabv3plus", 3, backbone="efficientnet-lite0", width=0.1, head_channels=8),
        gate=Gate((0.45, 0.5, 0.5)),
    )


def test_han_protocol_ignores_background_and_the_variant_keeps_it(bundle: Any, tiny_root: Path) -> None:
    path = tiny_root / "val" / "mask" / "v0.png"
    with Image.open(path) as image:
        mask = np.array(image)
    mask[:8] = 3
    Image.fromarray(mask).save(path)
    pairs, _ = check_pairs(tiny_root / "val", 3)
    result = evaluate(TilePredictor(bundle, "cpu"), pairs)
    assert set(result.matrices) == {"gate_off", "gate_on"}
    assert result.scores("gate_off").pixels == 4 * 32 * 32 - 8 * 32
    assert result.scores("gate_off", keep_background=True).pixels == 4 * 32 * 32
    assert result.scores("gate_off", keep_background=True).miou <= result.scores("gate_off").miou
    data = report(result, rounds=20)
    low, high = data["variants"]["gate_on"]["interval_95"]["miou"]
    assert low <= data["variants"]["gate_on"]["miou"] <= high or low <= high
    json.dumps(data)


def test_bootstrap_resamples_groups() -> None:
    good, bad = np.diag([50, 50, 0]), np.array([[0, 50, 0], [50, 0, 0], [0, 0, 0]])
    alone = Evaluation(2, ("a", "b", "c", "d"), {"v": (good, good, bad, bad)})
    assert bootstrap(alone, "v", 200)["miou"] == pytest.approx((0.0, 1.0), abs=0.35)
    together = Evaluation(2, ("a", "b", "a", "b"), {"v": (good, good, bad, bad)})
    low, high = bootstrap(together, "v", 200)["miou"]
    assert low == high == pytest.approx(1 / 3)


def test_tta_is_the_mean_over_views_put_back(bundle: Any) -> None:
    tiles = RNG.integers(0, 256, (2, 32, 32, 3), np.uint8)
    d4, plain = TilePredictor(bundle, "cpu", "d4"), TilePredictor(bundle, "cpu")
    found = d4(tiles)
    np.testing.assert_allclose(found["gate_off"], plain(tiles)["gate_off"], atol=1e-5)
    # The mean is symmetric: turning the tile turns the answer.
    turned = d4(np.ascontiguousarray(np.rot90(tiles, 1, (1, 2))))
    np.testing.assert_allclose(turned["gate_off_tta"], np.rot90(found["gate_off_tta"], 1, (2, 3)), atol=1e-5)
    mirrored = d4(np.ascontiguousarray(tiles[:, :, ::-1]))
    np.testing.assert_allclose(mirrored["gate_on_tta"], found["gate_on_tta"][..., ::-1], atol=1e-5)
    assert np.abs(found["gate_off_tta"] - found["gate_off"]).max() > 1e-4


def test_command(bundle: Any, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "--bundle",
        str(bundle.path),
        "--dataroot",
        str(tiny_root),
        "--device",
        "cpu",
        "--bootstrap",
        "10",
        "--quiet",
    ]
    files = ["--json", str(tmp_path / "scores.json"), "--pictures", str(tmp_path / "out" / "page.png")]
    program.main([*argv, *files, "--group", "v", "--tta", "flip"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["mIoU", "FwIoU", "mDice"]
    assert [line[:12].strip() for line in lines[1:]] == ["gate off", "gate on", "gate off tta", "gate on tta"]
    with Image.open(tmp_path / "out" / "page.png") as page:
        assert page.size[0] > 5 * 32
    data = json.loads((tmp_path / "scores.json").read_text())
    assert (data["images"], data["groups"], data["split"]) == (4, 1, "val")


def test_calibration_opens_and_closes_classes() -> None:
    """Class 0 is everywhere with low presence, class 1 never there with high presence: only thresholds tell."""
    truth = torch.zeros(8, 16, 16, dtype=torch.uint8)
    logits = torch.zeros(8, 2, 16, 16)
    logits[:, 1] = 1.0
    presence = torch.tensor([[0.15, 0.35]]).repeat(8, 1)
    calibrator = GateCalibrator(2)
    calibrator.add(logits, presence, truth)
    first, second = calibrator.calibrate(0.1)
    assert first < 0.15
    assert second >= 0.35
    assert calibrator.scores((first, second)).miou == 1.0
    assert calibrator.scores(None).miou == 0.0
    assert GateCalibrator(2).calibrate(0.2) == (0.2, 0.2)


@pytest.mark.parametrize("classes", [1, 3, 40])
def test_the_cases_of_the_calibration_stand_for_all_pixels(classes: int) -> None:
    torch.manual_seed(classes)
    calibrator, direct, off = (
        GateCalibrator(classes),
        SegmentationScores(classes),
        SegmentationScores(classes),
    )
    thresholds = tuple(float(t) for t in np.linspace(0.1, 0.6, classes))
    for _ in range(2):
        logits, presence = torch.randn(3, classes, 6, 7), torch.rand(3, classes)
        truth = torch.randint(0, classes + 2, (3, 6, 7))
        calibrator.add(logits, presence, truth)
        direct.update(apply_gate(logits, presence, thresholds).argmax(1), truth)
        off.update(logits.argmax(1), truth)
    assert calibrator.scores(thresholds) == direct.compute()
    assert calibrator.scores(None) == off.compute()


def test_calibration_by_the_field_scores_as_evaluate_does() -> None:
    """A large image: blended scores and the field say what gating each pixel says, up to the squares' borders."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 255, (150, 203, 3), np.uint8)
    thresholds = (0.3, 0.5, 0.6)

    def answers(tiles: Any) -> tuple[Any, Any]:
        seeds = [int(tile.astype(np.int64).sum()) % 1000 for tile in tiles]
        draws = [np.random.default_rng(seed) for seed in seeds]
        return (
            np.stack([d.dirichlet([1, 1, 1], (4, 4)).repeat(16, 0).repeat(16, 1) for d in draws])
            .transpose(0, 3, 1, 2)
            .astype(np.float32),
            np.stack([d.random(3) for d in draws]).astype(np.float32),
        )

    def gated(tiles: Any) -> dict[str, Any]:
        return {"field": Ungated(*answers(tiles), thresholds), "off": answers(tiles)[0]}

    labels = blend_image(image, gated, 64, 0.25)
    calibrator = GateCalibrator(3)
    calibrator.add_image(*ungated_image(image, answers, 64, SQUARE), torch.from_numpy(labels["field"]))
    off, on = calibrator.scores(None), calibrator.scores(thresholds)
    assert off == scores_of(confusion(labels["field"], labels["off"], 4), 3)
    assert off.pixels == labels["field"].size
    assert off.fwiou < 0.7, "the gate matters here"
    assert on.fwiou > 0.97
    # Whole tiles have another gate.
    tiles = blend_image(image, lambda t: {"": presence_gated(*answers(t), thresholds)}, 64, 0.25)
    assert scores_of(confusion(labels["field"], tiles[""], 4), 3).fwiou < 0.9


class Undecided(torch.nn.Module):
    """A network that prefers class 0 a little, everywhere."""

    num_classes = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), 2, *x.shape[2:])
        logits[:, 0] = 0.1
        return logits


def darkness(x: torch.Tensor) -> torch.Tensor:
    """Class 0 is present in dark tiles, class 1 in all."""
    return torch.stack([1 - x.mean((1, 2, 3)), torch.ones(len(x))], 1)


def test_large_val_images_are_calibrated_as_slides_are_gated(tmp_path: Path) -> None:
    """The border lies within a tile, where only the field can put it."""
    image, mask = np.zeros((32, 80, 3), np.uint8), np.zeros((32, 80), np.uint8)
    image[:, 48:], mask[:, 48:] = 255, 1
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    pair = MaskedImage(tmp_path / "a.png", tmp_path / "mask.png", (80, 32))
    found = {}
    for search in (True, False):
        val: Any = DataLoader(EvaluationSet([pair], 2, 32), 2)
        network: Any = Undecided()
        _, metrics = calibrate_gate(network, darkness, val, torch.device("cpu"), (0.6,), search)
        found[search] = metrics["val"]["gate_on"]
        assert found[search]["pixels"] == 32 * 80
    assert found[True]["miou"] > 0.95
    assert found[False]["miou"] < 0.85


def test_calibration_leaves_a_gate_alone_that_does_not_matter() -> None:
    calibrator = GateCalibrator(2)
    truth = torch.zeros(2, 8, 8, dtype=torch.uint8)
    logits = torch.zeros(2, 2, 8, 8)
    logits[:, 0] = 5.0
    calibrator.add(logits, torch.tensor([[0.9, 0.9], [0.8, 0.9]]), truth)
    assert calibrator.calibrate(0.1) == (0.1, 0.1)


def test_an_image_of_several_tiles_is_gated_as_slides_are() -> None:
    image = np.zeros((32, 80, 3), np.uint8)
    image[:, 40:] = 255

    def predict(tiles: Any) -> dict[str, Any]:
        white = tiles.mean((1, 2, 3)) / 255
        probabilities = np.zeros((len(tiles), 2, 32, 32), np.float32)
        probabilities[:, 0], probabilities[:, 1] = 0.6, 0.4
        presence = np.stack([1 - white, np.full_like(white, 0.5)], 1).astype(np.float32)
        return {"field": Ungated(probabilities, presence, (0.3,)), "off": probabilities}

    found = blend_image(image, predict, 32, 0.25)
    assert (found["off"] == 0).all()
    # Black tiles hold class 0, white ones do not; between their centres it ends once.
    assert (found["field"][:, :20] == 0).all()
    assert (found["field"][:, 70:] == 1).all()
    assert (np.count_nonzero(np.diff(found["field"].astype(int), axis=1), axis=1) == 1).all()


def test_the_field_is_asked_for_in_the_blend_only(bundle: Any) -> None:
    tiles = RNG.integers(0, 256, (2, 32, 32, 3), np.uint8)
    found = TilePredictor(bundle, "cpu", "flip", "field").ungated(tiles)
    assert {name for name, v in found.items() if isinstance(v, Ungated)} == {"gate_on", "gate_on_tta"}
    assert found["gate_on_tta"].probabilities is found["gate_off_tta"]
    whole = TilePredictor(bundle, "cpu", "flip", "tile").ungated(tiles)
    assert not any(isinstance(v, Ungated) for v in whole.values())
