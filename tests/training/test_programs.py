"""The three programs on a tiny data root: end to end, repeatable, resumable, and clear when something is wrong."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_wsss.backends.graph import simplified
from napari_wsss.backends.maps import networks_of
from napari_wsss.models import build_stage1, load_bundle, resolve_schema, save_bundle
from tiling.errors import DataError, TrainingError
from training import pseudo_masks, stage1, stage2
from training.data import read_data, recorded_layers
from training.networks.classifier import ClassifierTrainee
from training.networks.segmenter import SegmenterTrainee
from training.settings.console import run_command

EPOCHS = 3
COMMON = [
    "--width",
    "0.1",
    "--least-side",
    "0",
    "--batch-size",
    "8",
    "--weights",
    "none",
    "--epochs",
    str(EPOCHS),
    "--device",
    "cpu",
    "--quiet",
]


def data(root: Path) -> list[str]:
    return ["--dataset", str(root / "schema.json"), "--dataroot", str(root)]


def run_stage1(root: Path, out: Path, *more: str) -> None:
    stage1.main([*data(root), "--out", str(out), *COMMON, *more])


def run_masks(root: Path, bundle: Path, *more: str) -> None:
    pseudo_masks.main([*data(root), "--weights", str(bundle), "--device", "cpu", "--quiet", *more])


def run_stage2(root: Path, bundle: Path, out: Path, *more: str) -> None:
    options = ["--stage1", str(bundle), "--head-channels", "8", "--out", str(out)]
    stage2.main([*data(root), *options, *COMMON, *more])


def weights(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (out / "bundle").glob("*.safetensors")}


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, make_root: Any) -> Path:
    """A data root with stage 1, pseudo masks and stage 2 trained once for all tests of this module."""
    base: Path = tmp_path_factory.mktemp("trained")
    root = make_root(base / "data")
    run_stage1(root, base / "s1", "--mpp", "0.5", "--name", "tiny")
    run_masks(root, base / "s1" / "bundle", "--no-fuse")
    run_stage2(root, base / "s1" / "bundle", base / "s2", "--mpp", "0.5", "--half", "--mosaic", "0.3")
    return base


def test_stage1_writes_a_bundle_with_stage1_only(trained: Path) -> None:
    bundle = load_bundle(trained / "s1" / "bundle")
    assert (bundle.name, bundle.mpp, bundle.tile, bundle.stage2) == ("tiny", 0.5, 32, None)
    assert bundle.provenance["stage1"]["settings"]["epochs"] == EPOCHS
    log = rows(trained / "s1")
    assert [row["epoch"] for row in log] == ["1", "2", "3"]
    assert 0 <= float(log[-1]["cam_miou"]) <= 1


def test_masks_are_palette_files_of_the_reference(trained: Path) -> None:
    names = {p.name for p in (trained / "data" / "train").iterdir()}
    for layer in ("stage6", "stage7", "head"):
        folder = trained / "data" / "train_PM" / f"PM_{layer}"
        assert {p.name for p in folder.iterdir()} == names
        for path in folder.iterdir():
            with Image.open(path) as image:
                assert (image.mode, image.size) == ("P", (32, 32))
                assert image.getpalette()[:12] == [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]
                found = set(np.unique(np.asarray(image)))
            present = {i for i, d in enumerate(path.name.split("[")[1].split("]")[0].split()) if d == "1"}
            assert found <= present
            if len(present) == 1:
                assert found == present


def test_stage2_finds_the_layers_that_masks_were_made_for(trained: Path, tmp_path: Path) -> None:
    root, first, masks = trained / "data", trained / "s1" / "bundle", tmp_path / "PM"
    run_masks(root, first, "--out", str(masks))
    assert [p.name for p in masks.glob("PM_*")] == ["PM_fused"]
    run_stage2(root, first, tmp_path / "s2", "--mpp", "0.5", "--masks", str(masks), "--epochs", "1")
    for out, layers, weights in (
        (tmp_path / "s2", ["fused"], [1.0]),
        (trained / "s2", ["head", "stage7", "stage6"], [0.6, 0.2, 0.2]),
    ):
        facts = load_bundle(out / "bundle").provenance["stage2"]
        assert (facts["layers"], list(facts["settings"]["layer_weights"])) == (layers, weights)


def test_stage2_writes_a_bundle_with_both(trained: Path) -> None:
    bundle = load_bundle(trained / "s2" / "bundle")
    assert bundle.stage2 is not None
    assert bundle.stage2.dtype == "float16"
    assert len(bundle.gate.thresholds) == 3
    assert set(bundle.metrics["val"]) == {"gate_off", "gate_on"}
    assert (
        bundle.provenance["stage2"]["stage1"]["sha256"]
        == load_bundle(trained / "s1" / "bundle").stage1.sha256
    )
    network = bundle.build_stage2()
    assert network is not None
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("words", "stride", "shares"),
    [
        ((), 32, True),
        (("--shared-stages", "0", "--gate-stride", "0"), None, False),
        (("--weights", "none"), 32, False),
        (("--one-encoder",), None, False),
    ],
)
def test_two_encoders_begin_alike_unless_told_otherwise(
    trained: Path, tmp_path: Path, words: tuple[str, ...], stride: int | None, shares: bool
) -> None:
    network = build_stage1("efficientnet-lite0", 3, width=0.5)
    schema = load_bundle(trained / "s1" / "bundle").schema
    save_bundle(tmp_path / "s1", name="half", schema=schema, mpp=0.5, tile=32, stage1=network)
    options = [
        "--stage1",
        str(tmp_path / "s1"),
        "--out",
        str(tmp_path / "s2"),
        "--width",
        "0.5",
        "--head-channels",
        "8",
    ]
    rest = ["--least-side", "0", "--batch-size", "8", "--epochs", "1", "--device", "cpu", "--quiet"]
    stage2.main([*data(trained / "data"), *options, *rest, *words])
    made = load_bundle(tmp_path / "s2" / "bundle")
    assert made.presence_stride == stride
    assert made.stage1.arguments["output_stride"] == 16, "its class activations are as fine as before"
    first: Any = made.build_stage1()
    second: Any = made.build_stage2()
    ours, theirs = (n.state_dict() for n in (second.backbone, first.encoder))
    held = [f"_blocks.{end}." for end in range(8)]
    equal = {k: torch.equal(v, theirs[k]) for k, v in ours.items() if v.is_floating_point()}
    assert all(equal[k] for k in equal if k.startswith(("_conv_stem", *held))) == shares
    assert not all(equal.values())
    assert len(merged(networks_of(made))) == (
        1 + 8 * 3 - 1 if shares else 0
    )  # the first block expands nothing


def merged(network: Any) -> set[str]:
    """Return the convolutions that only one of two networks still computes."""
    kept = [
        n
        for n, m in simplified(network.requires_grad_(False)).named_modules()
        if isinstance(m, torch.nn.Conv2d)
    ]
    had = {n for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d) and "_conv" in n}
    return had - set(kept)


@pytest.mark.parametrize("program", ["stage1", "stage2"])
def test_same_seed_same_weights(trained: Path, tmp_path: Path, program: str) -> None:
    root, first = trained / "data", trained / program.replace("stage", "s")
    if program == "stage1":
        run_stage1(root, tmp_path / "again", "--mpp", "0.5")
        run_stage1(root, tmp_path / "other", "--seed", "2")
    else:
        bundle = trained / "s1" / "bundle"
        run_stage2(root, bundle, tmp_path / "again", "--half", "--mosaic", "0.3")
        run_stage2(root, bundle, tmp_path / "other", "--half", "--mosaic", "0.3", "--seed", "2")
    assert weights(first) == weights(tmp_path / "again")
    assert rows(first) == rows(tmp_path / "again")
    assert weights(first) != weights(tmp_path / "other")


class Killed(Exception):
    pass


@pytest.mark.parametrize("options", [[], ["--ema", "0.9", "--gradient-clip", "1", "--optimiser", "sgd"]])
@pytest.mark.parametrize("program", ["stage1", "stage2"])
def test_interrupted_run_continues_to_the_same_result(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, options: list[str]
) -> None:
    trainee = ClassifierTrainee if program == "stage1" else SegmenterTrainee

    def run(out: Path) -> None:
        if program == "stage1":
            run_stage1(trained / "data", out, *options)
        else:
            run_stage2(trained / "data", trained / "s1" / "bundle", out, "--mosaic", "0.3", *options)

    run(tmp_path / "whole")
    original, steps = trainee.loss, []

    def dies(self: Any, batch: Any) -> Any:
        steps.append(self.current_epoch)
        if steps.count(1) == 2:
            raise Killed
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(trainee, "loss", dies)
        with pytest.raises(Killed):
            run(tmp_path / "killed")
    assert not (tmp_path / "killed" / "bundle").exists()
    assert len(rows(tmp_path / "killed")) == 1
    run(tmp_path / "killed")
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_complete_run_is_not_repeated_and_not_mixed(trained: Path) -> None:
    before = (trained / "s1" / "bundle" / "model.json").stat().st_mtime_ns
    run_stage1(trained / "data", trained / "s1")
    assert (trained / "s1" / "bundle" / "model.json").stat().st_mtime_ns == before
    with pytest.raises(DataError, match=r"optimiser\.lr: 0\.0006 → 0\.5.*--restart"):
        run_stage1(trained / "data", trained / "s1", "--lr", "0.5")


def test_foreign_folder_is_left_alone(tiny_root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="not empty and holds no run"):
        run_stage1(tiny_root, tmp_path / "out")


def test_masks_continue_where_they_stopped_and_never_mix(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "PM"
    bundle = trained / "s1" / "bundle"
    run_masks(trained / "data", bundle, "--out", str(out))
    whole = {p: p.read_bytes() for p in out.rglob("*.png")}
    removed = sorted(whole)[::3]
    for path in removed:
        path.unlink()
    stamps = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    run_masks(trained / "data", bundle, "--out", str(out))
    assert {p: p.read_bytes() for p in out.rglob("*.png")} == whole
    # A patch is redone in all its layers; patches whose masks are all there are not touched.
    untouched = {p for p in stamps if not any(r.name == p.name for r in removed)}
    assert untouched
    assert all(p.stat().st_mtime_ns == stamps[p] for p in untouched)
    with pytest.raises(DataError, match="other weights or settings"):
        run_masks(trained / "data", bundle, "--out", str(out), "--no-flip")
    (out / "masks.json").unlink()
    with pytest.raises(DataError, match="another program"):
        run_masks(trained / "data", bundle, "--out", str(out))


def test_masks_made_anew_leave_no_old_ones_behind(trained: Path, tmp_path: Path) -> None:
    root, bundle, out = trained / "data", trained / "s1" / "bundle", tmp_path / "PM"
    run_masks(root, bundle, "--out", str(out), "--no-fuse", "--layers", "head,stage6,stage7")
    assert recorded_layers(out) == ("head", "stage7", "stage6")  # whatever order was typed
    run_masks(root, bundle, "--out", str(out), "--restart", "--no-turns")
    assert [p.name for p in out.glob("PM_*")] == ["PM_fused"]
    (tmp_path / "theirs" / "PM_bn7").mkdir(parents=True)
    with pytest.raises(DataError, match="another program"):
        run_masks(root, bundle, "--out", str(tmp_path / "theirs"))


def test_balance_reaches_both_programs(trained: Path, tmp_path: Path) -> None:
    run_stage1(trained / "data", tmp_path / "s1", "--balance", "0.5", "--epochs", "1")
    options = ["--balance", "0.5", "--epochs", "1"]
    run_stage2(trained / "data", trained / "s1" / "bundle", tmp_path / "s2", *options)
    plain = rows(trained / "s1")[0]["loss"]
    assert rows(tmp_path / "s1")[0]["loss"] != plain
    for out in ("s1", "s2"):
        assert json.loads((tmp_path / out / "run.json").read_text())["settings"]["balance"] == 0.5


def test_a_loss_that_is_no_number_names_the_patches(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ClassifierTrainee.loss
    monkeypatch.setattr(ClassifierTrainee, "loss", lambda self, batch: original(self, batch) * float("nan"))
    with pytest.raises(
        TrainingError, match=r"became nan in epoch 1, batch 1 \(patches: p\d+.*\); lower --lr"
    ):
        run_stage1(tiny_root, tmp_path / "out")


def exit_code(main: Any, argv: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        run_command(main, argv)
    return int(caught.value.code or 0)


def test_exit_codes(tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*data(tiny_root), "--out", str(tmp_path / "out"), *COMMON]
    assert exit_code(stage1.main, [*options, "--epochs", "0"]) == 2
    assert exit_code(stage1.main, ["--out", "x"]) == 2
    capsys.readouterr()
    (tiny_root / "train" / "stray.txt").write_text("x")
    assert exit_code(stage1.main, options) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "stray.txt: stray file" in captured.err
    assert not (tmp_path / "out").exists()
    assert exit_code(stage1.main, [*options, "--skip-bad", "--epochs", "1"]) == 0
    assert exit_code(stage1.main, [*data(tiny_root / "nowhere")[2:], "--dataset", "bcss", "--out", "x"]) == 1
    assert exit_code(stage1.main, ["--dataset", "nosuch", "--dataroot", str(tiny_root), "--out", "x"]) == 1
    assert "nosuch" in capsys.readouterr().err


def test_missing_pseudo_masks_are_found_before_training(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="72 bad files") as caught:
        run_stage2(
            trained / "data", trained / "s1" / "bundle", tmp_path / "out", "--masks", str(tmp_path / "none")
        )
    assert "run python -m training.pseudo_masks" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_names_of_the_reference_are_understood(tiny_root: Path, tmp_path: Path) -> None:
    run_stage1(
        tiny_root, tmp_path / "out", "--batch_size", "4", "--max_epoches=1", "--wt_dec", "0.01", "--no-cuda"
    )
    settings = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]
    assert (settings["batch_size"], settings["epochs"], settings["optimiser"]["weight_decay"]) == (4, 1, 0.01)


def test_gate_is_a_real_boolean(trained: Path, tmp_path: Path) -> None:
    for i, (words, expected) in enumerate(
        [
            (["--Is_GM", "False"], False),
            (["--no-gate"], False),
            (["--gate"], True),
            (["--Is_GM", "True"], True),
        ]
    ):
        out = tmp_path / str(i)
        run_stage2(trained / "data", trained / "s1" / "bundle", out, "--epochs", "1", *words)
        assert json.loads((out / "run.json").read_text())["settings"]["gated_selection"] is expected
    assert load_bundle(tmp_path / "0" / "bundle").gate.thresholds == (0.1,)


def test_frozen_batch_norm_does_not_move(trained: Path, tmp_path: Path) -> None:
    def means(out: Path) -> torch.Tensor:
        network = load_bundle(out / "bundle").build_stage2()
        assert network is not None
        norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        return torch.cat([v for m in norms for v in (m.running_mean, m.bias)])  # type: ignore[misc]

    bundle = trained / "s1" / "bundle"
    run_stage2(trained / "data", bundle, tmp_path / "frozen", "--epochs", "1", "--freeze-bn")
    run_stage2(trained / "data", bundle, tmp_path / "free", "--epochs", "1", "--no-freeze-bn")
    assert not means(tmp_path / "frozen").any()
    assert means(tmp_path / "free").any()


def test_validation_at_an_interval_and_tensorboard(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--eval-interval", "2", "--tensorboard", "--select"]
    run_stage2(trained / "data", trained / "s1" / "bundle", out, *options, "mean")
    log = rows(out)
    assert [row["miou"] != "" for row in log] == [False, True, False]
    assert load_bundle(out / "bundle").provenance["stage2"]["epoch"] == 2
    assert (
        load_bundle(trained / "s2" / "bundle").provenance["stage2"]["epoch"] == EPOCHS
    )  # the last, by default
    assert list((out / "tensorboard").glob("events.*"))


def test_training_without_val(trained: Path, tmp_path: Path, make_root: Any) -> None:
    root = make_root(tmp_path / "data", val=0)
    for folder in ("img", "mask"):
        (root / "val" / folder).rmdir()
    (root / "val").rmdir()
    run_stage1(root, tmp_path / "s1")
    run_masks(root, tmp_path / "s1" / "bundle")
    run_stage2(root, tmp_path / "s1" / "bundle", tmp_path / "s2", "--mosaic", "0")
    bundle = load_bundle(tmp_path / "s2" / "bundle")
    assert set(bundle.gate.thresholds) == {0.0}, "a handful of patches, and nothing that judges the gate"
    assert bundle.metrics == {}
    assert bundle.provenance["stage2"]["epoch"] == EPOCHS
    # The page shows training patches with what stage 2 is taught about them; stage 1 has nothing to compare with.
    page, *_ = sorted((tmp_path / "s2" / "samples").iterdir())
    with Image.open(page) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50
    assert not (tmp_path / "s1" / "samples").exists()


def test_training_continues_from_a_bundle(trained: Path, tmp_path: Path) -> None:
    first = trained / "s1" / "bundle"
    stage1.main(
        [
            *data(trained / "data"),
            "--out",
            str(tmp_path / "s1"),
            *COMMON,
            "--weights",
            str(first),
            "--lr",
            "1e-9",
        ]
    )
    start = load_bundle(first).build_stage1().state_dict()
    end = load_bundle(tmp_path / "s1" / "bundle").build_stage1().state_dict()
    assert all(torch.allclose(start[k], end[k], atol=1e-5) for k in start if "weight" in k)


def test_pictures(trained: Path) -> None:
    for out in (trained / "s1", trained / "s2"):
        with Image.open(out / "curves.png") as curves:
            assert curves.size == (700, 600)
        pages = sorted(p.name for p in (out / "samples").iterdir())
        assert pages == ["epoch_001.png", "epoch_002.png", "epoch_003.png"]
        with Image.open(out / "samples" / pages[-1]) as page:
            assert len(page.convert("RGB").getcolors(1 << 24)) > 50


def test_pda_switches(tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float | None, bool]] = []
    from napari_wsss.models import LiteClassifier

    original = LiteClassifier.classify

    def classify(self: Any, x: Any, pda_gamma: float | None = None, pda_normalise: bool = False) -> Any:
        if self.training:
            seen.append((pda_gamma, pda_normalise))
        return original(self, x, pda_gamma, pda_normalise)

    monkeypatch.setattr(LiteClassifier, "classify", classify)
    run_stage1(tiny_root, tmp_path / "a", "--pda", "--pda-normalised", "--epochs", "5")
    assert seen[::3] == [(None, True)] * 3 + [(pytest.approx(0.985), True), (pytest.approx(0.985**2), True)]
    seen.clear()
    run_stage1(tiny_root, tmp_path / "b", "--no-pda", "--epochs", "5")
    assert set(seen) == {(None, False)}


def test_progress_bar(tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    import training.loop.fit as loop
    from training.loop.progress import TrainingBar

    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    monkeypatch.setattr(loop, "wants_bar", lambda: True)
    monkeypatch.setattr(loop, "TrainingBar", lambda epochs: TrainingBar(epochs, console))
    run_stage1(tiny_root, tmp_path / "out")
    shown = text.getvalue()
    for words in ("epoch 1/3", "epoch 3/3 val", "3/3", "loss 0."):
        assert words in shown
    assert shown.endswith("\x1b[?25h\r\x1b[1A\x1b[2K") or "\x1b[?25h" in shown[-40:]  # the cursor is back


def test_small_patches_are_enlarged(tiny_root: Path, tmp_path: Path) -> None:
    run_stage1(tiny_root, tmp_path / "a", "--least-side", "48", "--epochs", "1")
    model = json.loads((tmp_path / "a" / "bundle" / "model.json").read_text())
    assert model["stage1"]["arguments"]["enlarge"] == 1.5
    run_stage1(tiny_root, tmp_path / "b", "--least-side", "24", "--epochs", "1")
    model = json.loads((tmp_path / "b" / "bundle" / "model.json").read_text())
    assert model["stage1"]["arguments"]["enlarge"] == 1.0


def test_exact_pixels_take_part_in_the_loss(tiny_root: Path, tmp_path: Path) -> None:
    for name, flags in (("a", ()), ("b", ("--exact", "1")), ("c", ("--exact", "1", "--mosaic", "0.5"))):
        run_stage1(tiny_root, tmp_path / name, "--least-side", "0", "--exact", "0", "--epochs", "1", *flags)
    losses = [float(rows(tmp_path / name)[0]["loss"]) for name in "abc"]
    assert losses[1] > losses[0] + 0.1
    assert losses[2] not in losses[:2]


def test_deep_heads_train_and_their_maps_become_masks(trained: Path, tmp_path: Path) -> None:
    root = trained / "data"
    run_stage1(root, tmp_path / "s1", "--deep-heads", "--exact", "1", "--mosaic", "0.3", "--epochs", "1")
    bundle = load_bundle(tmp_path / "s1" / "bundle")
    network = bundle.build_stage1()
    assert tuple(network.layer_weights) == network.cam_layers[:-1]  # type: ignore[operator,arg-type]
    run_masks(root, tmp_path / "s1" / "bundle", "--no-fuse", "--out", str(tmp_path / "PM"))
    assert {p.name for p in tmp_path.glob("PM/PM_*")} == {f"PM_{n}" for n in network.cam_layers}  # type: ignore[union-attr]


def test_self_labels_change_the_second_half_of_a_run(trained: Path, tmp_path: Path) -> None:
    bundle = trained / "s1" / "bundle"
    run_stage2(trained / "data", bundle, tmp_path / "plain", "--mpp", "0.5")
    run_stage2(trained / "data", bundle, tmp_path / "own", "--mpp", "0.5", "--self-labels", "1")
    run_stage2(trained / "data", bundle, tmp_path / "any", "--mpp", "0.5", "--partial-labels", "1")
    plain, own, any_will_do = (rows(tmp_path / name) for name in ("plain", "own", "any"))
    assert plain[0]["loss"] == own[0]["loss"] == any_will_do[0]["loss"]
    assert len({run[2]["loss"] for run in (plain, own, any_will_do)}) == 3


def test_partial_labels_need_the_masked_loss(trained: Path, tmp_path: Path) -> None:
    words = ("--partial-labels", "1", "--loss", "reference", "--mpp", "0.5")
    with pytest.raises(DataError, match="--loss masked"):
        run_stage2(trained / "data", trained / "s1" / "bundle", tmp_path / "out", *words)


def test_what_is_said_of_the_masks_is_read_or_refused(trained: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(trained / "data", data)
    schema, masks = resolve_schema(str(data / "schema.json")), data / "train_PM"
    names = [p.path.stem for p in read_data(data, schema).train]
    layers = recorded_layers(masks)
    (masks / "said.json").write_text(json.dumps({"exact": names[:2], "guessed": names[1:]}))
    read = read_data(data, schema, masks=masks, layers=layers)
    assert read.exact == frozenset(names[:2])
    assert [p.path.stem for p in read.labelled] == names[:1]
    assert read.digest != read_data(data, schema).digest
    before = read.digest
    (masks / "said.json").write_text(json.dumps({"exact": names[:1], "guessed": names[1:]}))
    assert read_data(data, schema, masks=masks, layers=layers).digest != before, (
        "another run, not a resumed one"
    )
    (masks / "said.json").write_text(json.dumps({"guessed": names}))
    assert len(read_data(data, schema, masks=masks, layers=layers).labelled) == len(names)
    for wrong in ("[]", '{"exact": 3}', '{"guessed": [1]}', "{"):
        (masks / "said.json").write_text(wrong)
        with pytest.raises(DataError, match=r"said\.json cannot be read .*; make the pseudo masks again\."):
            read_data(data, schema, masks=masks, layers=layers)
