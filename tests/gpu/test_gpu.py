"""What a GPU must not change: the labels, the bytes after running out of memory, that training goes downhill.

They need torch with CUDA and nothing of napari or Qt:

    python -m pytest tests/gpu -p no:napari -p no:pytest-qt -p no:xvfb

``WSSS_CUDA_TESTS=cpu`` rehearses them on the processor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from wsss_toys import tree_bytes

from napari_wsss.models import build_stage1, build_stage2, load_bundle, save_bundle
from napari_wsss.pipeline import segment, segment_events
from napari_wsss.predictor import BundlePredictor
from napari_wsss.project.encoder import build_network, make_encoder, resolve_encoder
from napari_wsss.project.reduction import Reduction
from tiling.errors import DeviceError
from tiling.slides import Slide
from tiling.slides.readers.array import ArrayReader
from tiling.store import open_store, verify
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide, write_slide
from training.networks.classifier import ClassifierTrainee
from training.networks.segmenter import SegmenterTrainee
from training.settings import PRESETS, LearningRateSchedule, override

pytestmark = pytest.mark.cuda

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
Limit = Callable[[int], AbstractContextManager[None]]
PICTURES = ["synthetic", "cmu"]
BUNDLES = ["synthetic-demo", "crc-demo"]


# Labels -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, NDArray[np.uint8]], Any]:
    """Return the labels that torch finds on the processor in fp32; computed once for each picture and bundle."""
    known: dict[tuple[str, str], NDArray[np.uint8]] = {}

    def labels(name: str, bundle: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if (name, bundle) not in known:
            out = tmp_path_factory.mktemp("cpu") / f"{name}.zarr"
            with Slide(ArrayReader(picture, mpp=0.5)) as slide:
                result = segment(slide, bundle, out, device="cpu", backend="torch", precision="fp32")
                known[name, bundle] = np.asarray(result.labels[0][:])
        return known[name, bundle]

    return labels


@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("picture", PICTURES)
def test_a_gpu_labels_as_the_cpu_does(
    picture: str,
    bundle: str,
    precision: Any,
    device: str,
    on_cpu: Any,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    pixels = request.getfixturevalue(picture)
    predictor = BundlePredictor(load_bundle(bundle), device, precision, backend="torch")
    with Slide(ArrayReader(pixels, mpp=0.5)) as slide:
        found = np.asarray(segment(slide, predictor, tmp_path / "a.zarr").labels[0][:])
    wanted = on_cpu(picture, bundle, pixels)
    same = float(np.mean(found == wanted))
    assert same >= 0.995, f"{same:.3%} of the labels are equal in {predictor.precision}"


def test_maps_that_are_kept_are_those_of_the_cpu(
    synthetic: NDArray[np.uint8], device: str, tmp_path: Path
) -> None:
    stores = []
    for number, where in enumerate(("cpu", device)):
        with Slide(ArrayReader(synthetic[:600, :600], mpp=0.5)) as slide:
            options: dict[str, Any] = {"keep_cams": True, "keep_probabilities": True}
            out = tmp_path / f"{number}.zarr"
            segment(slide, "synthetic-demo", out, device=where, backend="torch", precision="fp32", **options)
            stores.append(open_store(out))
    for kind in ("cams", "probabilities"):
        first, second = (store.class_images(kind) for store in stores)
        assert first
        for name in first:
            one, two = (np.asarray(maps[name][0][:], np.int16) for maps in (first, second))
            apart = np.abs(one - two)
            assert np.mean(apart <= 3) > 0.995, f"{kind}, {name}: up to {apart.max()} of 255 apart"


# Memory -----------------------------------------------------------------------------------------------------


def heavy_bundle(folder: Path) -> Any:
    """Save full-size networks with fresh weights: what needs memory."""
    torch.manual_seed(0)
    backbone = {"backbone": "efficientnet-lite0"}
    return save_bundle(
        folder,
        name="heavy",
        schema=SYNTHETIC_SCHEMA,
        mpp=0.5,
        tile=224,
        stage1=build_stage1("efficientnet-lite0", 4),
        stage2=build_stage2("deeplabv3plus", 4, **backbone),
    )


def test_out_of_memory_halves_the_batch_and_changes_no_byte(
    synthetic: NDArray[np.uint8], device: str, limit: Limit, tmp_path: Path
) -> None:
    bundle = heavy_bundle(tmp_path / "bundle")
    pixels = synthetic[:450, :]

    def predictor() -> BundlePredictor:
        return BundlePredictor(bundle, device, "fp32", backend="torch")

    def run(loaded: BundlePredictor, name: str, batch: int) -> dict[str, bytes]:
        with Slide(ArrayReader(pixels, mpp=0.5)) as slide:
            segment(slide, loaded, tmp_path / name / "a.zarr", batch_size=batch, tissue=None, overlap=0)
        return tree_bytes(tmp_path / name / "a.zarr")

    wanted = run(predictor(), "halved", 3)
    starved = predictor()
    with limit(_between(starved, 3, 6, device)):
        found = run(starved, "starved", 6)
    assert starved._most == 3, "the batch of 6 was tried, did not fit, and was halved"
    different = [n for n in wanted if wanted[n] != found.get(n)]
    labels = [np.asarray(open_store(tmp_path / n / "a.zarr").labels()[0][:]) for n in ("halved", "starved")]
    equal = float(np.mean(labels[0] == labels[1]))
    assert not different, f"{different[:5]} differ; {equal:.4%} of the labels are equal"


def _between(predictor: BundlePredictor, fits: int, not_fits: int, device: str) -> int:
    """Return bytes in which the networks predict ``fits`` tiles and cannot predict ``not_fits``."""
    tiles = np.zeros((not_fits, 224, 224, 3), np.uint8)
    if device == "cpu":
        return (tiles[:fits].nbytes + tiles.nbytes) // 2
    peaks = []
    for count in (fits, not_fits):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        predictor(tiles[:count].copy(), None, gated=False)
        peaks.append(torch.cuda.max_memory_allocated())
    torch.cuda.empty_cache()
    # Above what the smaller batch needs by two thirds of the difference: the allocator rounds up.
    return peaks[0] + 2 * (peaks[1] - peaks[0]) // 3


def test_two_processes_share_a_gpu(device: str, tmp_path: Path) -> None:
    slide = tmp_path / "slide.tif"
    write_slide(slide, SyntheticSlide(1500, 1200, seed=5), compression="zlib")
    command = [sys.executable, "-m", "napari_wsss.cli", "run", str(slide), "--model", "synthetic-demo"]
    command += ["--device", device, "--backend", "torch", "--precision", "fp32", "--out"]
    outs = [tmp_path / "one", tmp_path / "two"]
    running = [
        subprocess.Popen([*command, str(out)], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        for out in outs
    ]
    errors = [process.communicate(timeout=240)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    stores = [out / "slide.zarr" for out in outs]
    assert all(verify(store).ok for store in stores)
    one, two = (np.asarray(open_store(store).labels()[0][:]) for store in stores)
    assert np.mean(one == two) >= 0.999


def test_a_gpu_without_room_for_a_tile_is_one_sentence(device: str, limit: Limit, tmp_path: Path) -> None:
    predictor = BundlePredictor(load_bundle("synthetic-demo"), device, "fp32", backend="torch")
    held = torch.cuda.memory_allocated() if device != "cpu" else 0
    with limit(held + 1), pytest.raises(DeviceError, match="too little memory for one tile"):
        predictor(np.zeros((4, predictor.tile, predictor.tile, 3), np.uint8))


def test_a_run_is_resumed_on_a_gpu(synthetic: NDArray[np.uint8], device: str, tmp_path: Path) -> None:
    predictor = BundlePredictor(load_bundle("synthetic-demo"), device, "fp32", backend="torch")
    outs = [tmp_path / "whole.zarr", tmp_path / "resumed.zarr"]
    with Slide(ArrayReader(synthetic, mpp=0.5)) as slide:
        segment(slide, predictor, outs[0])
        events = segment_events(slide, predictor, outs[1])
        for event in events:
            if getattr(event, "rows_done", 0) >= 2:
                break
        events.close()
        segment(slide, predictor, outs[1])
    one, two = (np.asarray(open_store(out).labels()[0][:]) for out in outs)
    assert np.mean(one == two) >= 0.9999


# Training ---------------------------------------------------------------------------------------------------


def steps(trainee: Any, batch: Any, device: str, amp: bool, count: int = 12) -> list[float]:
    """Take optimisation steps on one batch and return the losses."""
    trainee = trainee.to(device).train()
    optimiser = torch.optim.AdamW(trainee.network.parameters(), lr=1e-3)
    losses = []
    for _ in range(count):
        optimiser.zero_grad()
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=amp):
            loss = trainee.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainee.network.parameters(), 5.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("amp", [False, True], ids=["fp32", "amp"])
@pytest.mark.parametrize("stage", [1, 2])
def test_training_goes_downhill(stage: int, amp: bool, device: str) -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 3, 96, 96).to(device)
    labels = torch.randint(0, 2, (4, 4)).float().to(device)
    masks = torch.randint(0, 5, (4, 1, 12, 12)).repeat_interleave(8, 2).repeat_interleave(8, 3).to(device)
    schedule = LearningRateSchedule("poly", 1, 100)
    stage1 = build_stage1("efficientnet-lite0", 4, width=0.5)
    trainee: Any
    if stage == 1:
        trainee = ClassifierTrainee(stage1, PRESETS["recommended"].stage1, schedule, 1)
        batch: Any = (images, labels, torch.zeros(4))
    else:
        settings = override(PRESETS["recommended"].stage2, {"layer_weights": (1.0,)})
        network = build_stage2("deeplabv3plus", 4, backbone="efficientnet-lite0", width=0.5, head_channels=32)
        trainee = SegmenterTrainee(network, stage1, settings, schedule, 1)
        batch = (images, masks, labels.bool(), torch.zeros(4))
    losses = steps(trainee, batch, device, amp)
    assert np.isfinite(losses).all(), losses
    assert np.mean(losses[-3:]) < losses[0], losses


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_patches_become_a_model(precision: str, device: str, tmp_path: Path) -> None:
    """Both stages as their users start them, one epoch each, with the pseudo masks between."""
    root = _patches(tmp_path / "data")
    common = ["--dataset", str(root / "schema.json"), "--dataroot", str(root), "--restart"]
    training = ["--epochs", "1", "--batch-size", "4", "--no-pictures", "--weights", "none", "--workers", "0"]
    training += ["--width", "0.25", "--precision", precision, "--device", device]
    bundles = [tmp_path / "s1", tmp_path / "s2"]
    masks = tmp_path / "masks"
    first = ["--weights", str(bundles[0] / "bundle")]
    second = ["--stage1", str(bundles[0] / "bundle"), "--masks", str(masks)]
    programs = [
        ["training.stage1", *common, *training, "--out", str(bundles[0])],
        ["training.pseudo_masks", *common, *first, "--device", device, "--out", str(masks)],
        ["training.stage2", *common, *training, *second, "--out", str(bundles[1])],
    ]
    script = (
        "import importlib, json, sys\n"
        "for name, *words in json.loads(sys.argv[1]):\n"
        "    code = importlib.import_module(name).main(words)\n"
        "    assert not code, (name, code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(programs)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    bundle = load_bundle(bundles[1] / "bundle")
    assert BundlePredictor(bundle, device, "fp32").device.type == device


def _patches(root: Path) -> Path:
    """Write twelve patches of painted tissue, 64 px, with labels in their names, and two masks to validate with."""
    from PIL import Image

    for name in ("train", "val/img", "val/mask"):
        (root / name).mkdir(parents=True)
    slide = SyntheticSlide(1024, 256, mpp=0.5, seed=4, region_um=40)
    classes = len(SYNTHETIC_SCHEMA)
    for i in range(14):
        place = (64 * i, 64, 64, 64)
        truth = slide.truth(*place).astype(np.int16) - 1
        pixels = Image.fromarray(slide.render(*place))
        if i < 12:
            label = " ".join(str(int((truth == c).any())) for c in range(classes))
            pixels.save(root / "train" / f"p{i}-[{label}].png")
            continue
        pixels.save(root / "val" / "img" / f"v{i}.png")
        mask = Image.fromarray(np.where(truth < 0, classes, truth).astype(np.uint8), mode="P")
        mask.putpalette([0, 0, 0] * 256)
        mask.save(root / "val" / "mask" / f"v{i}.png")
    (root / "schema.json").write_text(json.dumps(SYNTHETIC_SCHEMA.to_dict()))
    return root


# Features ---------------------------------------------------------------------------------------------------


def test_the_features_of_a_project_are_those_of_the_cpu(device: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ref = resolve_encoder("crc-demo")
    raw = build_network(ref, 64).raw(torch.zeros(1, 3, 64, 64)).shape[1]
    reduction = Reduction(rng.standard_normal((8, raw), np.float32) / 10, np.zeros(8, np.float32))
    tiles = SyntheticSlide(512, 512, seed=3).render(0, 0, 256, 64).reshape(64, 4, 64, 3).swapaxes(0, 1).copy()
    one, two = (
        make_encoder(ref, 64, reduction, tmp_path, where, "torch")[0](tiles) for where in ("cpu", device)
    )
    np.testing.assert_allclose(one, two, atol=0.02 * float(np.abs(one).max()))
