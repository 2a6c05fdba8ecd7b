"""What each switch of the method earns: rows of whole pipelines on one data set, as JSON and a Markdown table.

Every row is a command sequence of the public programs, with the same light encoder and initial weights. Rows share the
steps in which they do not differ: a switch of stage 2 uses stage 1 and masks of ``recommended`` with the same seed, a
switch of inference only scores again. A killed run continues with the same command; what is done is not done again.

    OMP_NUM_THREADS=2 python benchmarks/ablation.py --dataroot ../shared/wsss4luad --work /tmp/ablation --seeds 1,2,3

The default schema is that of WSSS4LUAD; ``--schema FILE`` takes other data. No image or weight leaves ``--work``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ablation_table import masks_table, summarise, table

from benchmarks.ablation_table import Row, View
from tiling.classes import ClassSchema, TissueClass
from tiling.files import read_json, write_json_atomic
from training.settings import PRESETS, to_dict

WSSS4LUAD = ClassSchema(
    "wsss4luad",
    (
        TissueClass("tumour", "TUM", "#cd3333"),
        TissueClass("stroma", "STR", "#ffa500"),
        TissueClass("normal tissue", "NOR", "#4169e1"),
    ),
    white_background=True,
)
"""Class order of the labels in the file names; white pixels are left out, as in LUAD-HistoSeg."""

_LIGHT = ("--backbone", "efficientnet-lite0")
_BEST = PRESETS["recommended"]
_BUDGET1 = (
    *_LIGHT,
    "--epochs",
    str(_BEST.stage1.epochs),
    "--batch-size",
    str(_BEST.stage1.batch_size),
)
_BUDGET2 = (
    *_LIGHT,
    "--epochs",
    str(_BEST.stage2.epochs),
    "--batch-size",
    str(_BEST.stage2.batch_size),
)
_LARGE = ("--least-side", "160")
_SMALL = ("--least-side", "0")


ROWS = (
    Row("recommended", "our default"),
    Row("reference", "the released rules", "reference", _BUDGET1, stage2=_BUDGET2),
    Row(
        "reference, enlarged",
        "… on enlarged patches",
        "reference",
        (*_BUDGET1, *_LARGE),
        (),
        (*_BUDGET2, *_LARGE),
    ),
    Row("paper", "the published rules", "paper", _BUDGET1, stage2=_BUDGET2),
    # Inference only.
    Row("reference, logits × 0", "its own gate", "reference", _BUDGET1, (), _BUDGET2, View(gate="reference")),
    Row("gate 0.1", "not calibrated", view=View(gate="fixed")),
    Row("gate logits × 0", "as in the released code", view=View(gate="reference")),
    Row("TTA flip", "mean over the mirrored tile", view=View(tta="flip")),
    Row("TTA d4", "mean over flips and quarter turns", view=View(tta="d4")),
    Row("overlap 0.5", "of tiles, instead of 0.25", view=View(overlap=0.5)),
    Row("reference, overlap 0.5", "its tiles", "reference", _BUDGET1, (), _BUDGET2, View(overlap=0.5)),
    # Stage 2 only.
    Row("no mosaics", "in stage 2", stage2=("--mosaic", "0")),
    Row("noise weights", "OEEM", stage2=("--noise-weights",)),
    Row("best epoch on val", "by the mean of mIoU and FwIoU, in stage 2", stage2=("--select", "mean")),
    Row("self labels", "their say grows to 0.7", stage2=("--self-labels", "0.7")),
    Row("EMA 0.99", "in stage 2", stage2=("--ema", "0.99")),
    # Masks and stage 2.
    Row("a mask per layer", "as published, in place of one of all layers", masks=("--no-fuse",)),
    Row("CAM as it comes", "not mirrored, not turned", masks=("--no-flip", "--no-turns")),
    Row("a mask per layer, CAM as it comes", "both", masks=("--no-fuse", "--no-flip", "--no-turns")),
    Row("CAM mirrored only", "no quarter turns", masks=("--no-turns",)),
    Row("CAM stride 8", "finer CAMs of the same weights", masks=("--cam-stride", "8")),
    Row("CAM smoothing", "box of 3", masks=("--smooth", "3")),
    Row("CAM scales", "mean over 0.75, 1, 1.5 too", masks=("--scales", "0.75,1,1.5")),
    Row("superpixels", "majority in 60", masks=("--superpixels", "60")),
    # Everything.
    Row("not enlarged", "patches as they are", stage1=_SMALL, stage2=_SMALL),
    Row(
        "exact pixels",
        "stage 1 with pixels of single-label patches",
        stage1=("--exact", "1", "--mosaic", "0.3"),
    ),
    Row("deep heads", "a classifier on every CAM layer", stage1=("--deep-heads",)),
    Row("balanced", "frequent label combinations less often, in stage 1", stage1=("--balance", "0.5")),
    Row("no stain jitter", "in stage 1", stage1=("--stain", "0")),
    Row("PDA", "as published", stage1=("--pda",)),
    Row("PDA normalised", "bounded", stage1=("--pda", "--pda-normalised")),
)


@dataclass(frozen=True)
class Step:
    """One command: its kind, the folder it fills and its words after ``python -m``."""

    kind: str
    folder: Path
    command: tuple[str, ...]


def steps(row: Row, seed: int, dataroot: Path, schema: Path, work: Path) -> tuple[Step, Step, Step]:
    """Return the three commands of a row; equal commands (and preset) get equal folders, so that rows share them.

    Parameters
    ----------
    row : Row
    seed : int
    dataroot, schema, work : Path
    """
    data = ("--dataset", str(schema), "--dataroot", str(dataroot), "--preset", row.preset)
    train = ("--seed", str(seed), "--mpp", "1", "--no-pictures")
    first = ("training.stage1", *data, *train, *row.stage1)
    preset = PRESETS[row.preset]
    one = _folder(work, "stage1", first, seed, preset.stage1)
    second = ("training.pseudo_masks", *data, "--weights", str(one / "bundle"), *row.masks)
    two = _folder(work, "masks", second, seed, preset.cam)
    third = (
        "training.stage2",
        *data,
        *train,
        "--stage1",
        str(one / "bundle"),
        "--masks",
        str(two),
        *row.stage2,
    )
    three = _folder(work, "stage2", third, seed, preset.stage2)
    return (
        Step("stage1", one, (*first, "--out", str(one))),
        Step("masks", two, (*second, "--out", str(two))),
        Step("stage2", three, (*third, "--out", str(three))),
    )


def _folder(work: Path, kind: str, command: Sequence[str], seed: int, settings: Any) -> Path:
    """Name a folder by the command that fills it and the preset behind it; ``work`` itself may move."""
    words = [w.replace(str(work), "WORK") for w in command]
    digest = hashlib.sha256(json.dumps([words, to_dict(settings)]).encode()).hexdigest()
    return work / f"{kind}-s{seed}-{digest[:10]}"


def run_step(step: Step, say: Callable[[str], None]) -> dict[str, float]:
    """Run a command unless its record says that it is done; return wall and CPU seconds over all attempts.

    Raises
    ------
    subprocess.CalledProcessError
        When the command fails.
    """
    record = step.folder.with_suffix(".json")
    found: dict[str, Any] = read_json(record) if record.is_file() else {}
    if not found.get("done"):
        # Killed attempts are not timed, so the table must not call the sum complete.
        found = {"done": False, "attempts": found.get("attempts", 0) + 1, "command": list(step.command)}
        write_json_atomic(record, found)
        say("python -m " + " ".join(step.command))
        start, cpu = time.monotonic(), _children()
        subprocess.run([sys.executable, "-m", *step.command], check=True)
        found |= {
            "done": True,
            "seconds": round(time.monotonic() - start, 1),
            "cpu": round(_children() - cpu, 1),
        }
        write_json_atomic(record, found)
    return {k: float(found[k]) for k in ("seconds", "cpu", "attempts")}


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def score(bundle: Path, dataroot: Path, split: str, view: View) -> dict[str, Any]:
    """Score a bundle as ``training.evaluate`` does, under a view."""
    from napari_wsss.models import Gate, load_bundle
    from training.data import check_pairs, report_or_raise
    from training.evaluate import TilePredictor, evaluate, report

    loaded = load_bundle(bundle)
    if view.gate != "bundle":
        loaded = replace(loaded, gate=Gate((0.1,), "mask" if view.gate == "fixed" else "reference"))
    pairs, problems = check_pairs(dataroot / split, len(loaded.schema))
    report_or_raise(problems, str(dataroot / split), skip_bad=False)
    found = report(evaluate(TilePredictor(loaded, tta=view.tta), pairs, overlap=view.overlap))
    return {**found, "gate": list(loaded.gate.thresholds)}


def mask_quality(bundle: Path, dataroot: Path, split: str, words: Sequence[str]) -> dict[str, Any]:
    """Score pseudo masks on images whose truth is known, told the classes of each window as training is by file names.

    Parameters
    ----------
    bundle : Path
        Stage 1.
    dataroot : Path
    split : str
    words : sequence of str
        The command line of ``training.pseudo_masks``, whose settings count.

    Returns
    -------
    dict
        ``fwiou`` and ``miou`` of the masks of all layers, weighted as in the loss of stage 2; ``mixed``: FwIoU over
        windows of several classes; ``interval``: 95 % of ``fwiou`` from resampled images.
    """
    import numpy as np

    from napari_wsss.models import load_bundle
    from tiling.confusion import scores_of
    from training.data import check_pairs, read_image, read_mask
    from training.evaluate import Evaluation, bootstrap
    from training.networks import FUSED, at_stride, batch_masks
    from training.pseudo_masks import cam_settings

    loaded, settings = load_bundle(bundle), cam_settings(words)
    network, tile, classes = (
        at_stride(loaded.build_stage1(), settings.output_stride),
        loaded.tile,
        len(loaded.schema),
    )
    layers: tuple[str, ...] = network.cam_layers  # type: ignore[assignment]
    weights = dict(zip(reversed(layers), (0.6, 0.2, 0.2), strict=True)) | {FUSED: 1.0}
    pairs = check_pairs(dataroot / split, classes)[0]
    totals = np.zeros((len(pairs), 2, classes + 1, classes + 1))
    for total, pair in zip(totals, pairs, strict=True):
        image, truth = read_image(pair.image), read_mask(pair.mask, classes)
        corners = [(y, x) for y in starts(truth.shape[0], tile) for x in starts(truth.shape[1], tile)]
        windows = np.stack([image[y : y + tile, x : x + tile] for y, x in corners])
        masks = np.stack([truth[y : y + tile, x : x + tile] for y, x in corners])
        present = np.stack([(masks == c).mean((1, 2)) > 0.01 for c in range(classes)], 1)
        found = batch_masks(network, windows, present, layers, settings, loaded.schema.white_background)
        for layer, labels in found.items():
            for mixed, chosen in enumerate((present.any(1), present.sum(1) > 1)):
                index = masks[chosen].astype(np.int64) * (classes + 1) + labels[chosen]
                counts = np.bincount(index.ravel(), minlength=(classes + 1) ** 2).reshape(classes + 1, -1)
                # White in either is left out: stage 2 does not learn from it.
                counts[classes], counts[:, classes] = 0, 0
                total[mixed] += weights[layer] * counts
    whole, several = (scores_of(matrix, classes) for matrix in totals.sum(0))
    images = tuple(pair.image.stem for pair in pairs)
    interval = bootstrap(Evaluation(classes, images, {"masks": tuple(totals[:, 0])}), "masks")["fwiou"]
    return {"fwiou": whole.fwiou, "miou": whole.miou, "mixed": several.fwiou, "interval": interval}


def starts(length: int, tile: int) -> list[int]:
    """Return where tiles side by side begin, the last flush with the end; none when the image is smaller."""
    return sorted({*range(0, length - tile + 1, tile), length - tile}) if length >= tile else []


def run_masks(row: Row, seed: int, args: argparse.Namespace, schema: Path) -> None:
    """Train a row's stage 1 if need be, and score what its CAMs make of val: minutes instead of a whole run."""
    path: Path = args.work / "masks" / f"{_slug(row.name)}-s{seed}.json"
    first, second, _ = steps(row, seed, args.dataroot, schema, args.work)
    if path.is_file():
        known = read_json(path)
        if known["identity"] == second.folder.name and "interval" in known:
            return
    run_step(first, _say)
    _say(f"scoring the masks of {row.name}, seed {seed}")
    found = mask_quality(first.folder / "bundle", args.dataroot, args.split, second.command[1:])
    write_json_atomic(path, {"row": asdict(row), "seed": seed, "identity": second.folder.name, **found})


def run_row(row: Row, seed: int, args: argparse.Namespace, schema: Path) -> dict[str, Any]:
    """Run what a row still lacks and return its result."""
    path: Path = args.work / "results" / f"{_slug(row.name)}-s{seed}.json"
    todo = steps(row, seed, args.dataroot, schema, args.work)
    identity = [step.folder.name for step in todo] + [asdict(row.view)]
    if path.is_file():
        done: dict[str, Any] = read_json(path)
        if done["identity"] == identity:
            return done
    used = [run_step(step, _say) for step in todo]
    cam = read_json(todo[0].folder / "bundle" / "model.json")["metrics"]["val"]
    _say(f"scoring {row.name}, seed {seed}")
    result = summarise(
        row, seed, cam, score(todo[2].folder / "bundle", args.dataroot, args.split, row.view), args.common
    )
    result |= {
        "identity": identity,
        "minutes": sum(u["cpu"] for u in used) / 60,
        "wall_minutes": sum(u["seconds"] for u in used) / 60,
        "complete": all(u["attempts"] == 1 for u in used),
        "machine": f"{os.cpu_count()} × {platform.machine()}",
        "date": time.strftime("%Y-%m-%d"),
    }
    write_json_atomic(path, result)
    return result


def _slug(name: str) -> str:
    """Turn the name of a row into that of a file."""
    return "-".join(re.findall(r"[a-z0-9.]+", name.lower()))


def _say(message: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {message}\n")
    sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the rows that are asked for, then write the table of all results in the work folder."""
    known = {_slug(row.name): row for row in ROWS}
    order = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dataroot", type=Path, required=True, help="folder with train/ and val/")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--schema", type=Path, help="class schema (JSON); default: that of WSSS4LUAD")
    parser.add_argument("--split", default="val", help="what is scored")
    parser.add_argument("--common", type=int, default=2, help="leading classes whose mean IoU is a column")
    parser.add_argument("--rows", help="comma-separated; default: all. Known: " + ", ".join(known))
    parser.add_argument("--seeds", default="1", help="comma-separated")
    parser.add_argument("--masks-only", action="store_true", help="only stage 1, and how good its masks are")
    args = parser.parse_args(argv)
    names = args.rows.split(",") if args.rows else list(known)
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"unknown rows {', '.join(unknown)}; known: {', '.join(known)}")
    args.work, args.dataroot = args.work.resolve(), args.dataroot.resolve()
    for part in ("results", "masks"):
        (args.work / part).mkdir(parents=True, exist_ok=True)
    schema: Path = args.schema.resolve() if args.schema else args.work / "schema.json"
    if not args.schema:
        write_json_atomic(schema, WSSS4LUAD.to_dict())
    abbreviations = [c["abbreviation"] for c in read_json(schema)["classes"]][: args.common]
    for name in names:
        for seed in (int(s) for s in args.seeds.split(",")):
            if args.masks_only:
                run_masks(known[name], seed, args, schema)
                text = masks_table(_all(args.work / "masks"), order)
            else:
                run_row(known[name], seed, args, schema)
                text = table(_all(args.work / "results"), order, abbreviations)
            (args.work / ("masks.md" if args.masks_only else "table.md")).write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def _all(folder: Path) -> list[dict[str, Any]]:
    return [read_json(p) for p in sorted(folder.glob("*.json"))]


if __name__ == "__main__":
    main()
