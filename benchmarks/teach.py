"""Teaching a model: seconds from a click to the map, and how good sketch and trained model are after how many labels.

A simulated reader answers from the file names of ``../shared/wsss4luad`` (labels of 1,708 patches of 112 px at 1 µm);
sketches and models are scored by frequency-weighted IoU on the 14 val images, which choose nothing.

    python benchmarks/teach.py                         # clicks, prepare and sketches: some minutes
    python benchmarks/teach.py --only train --labels 60
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from rows import Row, save, table

from napari_wsss import load_bundle, new_project
from napari_wsss.backends import Cache, OpenVinoBackend
from napari_wsss.backends.maps import Pair
from napari_wsss.project import StepFinished
from napari_wsss.project.description import SlideEntry
from napari_wsss.project.encoder import DEFAULT_ENCODER, build_network, make_encoder, resolve_encoder
from napari_wsss.project.features import FeatureWriter, TileTable
from napari_wsss.project.head import (
    HeadWeights,
    entropies,
    examples_of,
    fit_weights,
)
from napari_wsss.project.prepare import describe
from napari_wsss.project.programs import run_program
from napari_wsss.project.reduction import VALUES, Reduction, principal_components
from napari_wsss.project.suggest import most_telling
from tiling.classes import ClassSchema, TissueClass
from tiling.confusion import confusion, scores_of
from tiling.geometry import Box
from tiling.patch_files import PatchName
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide

SHARED = Path(__file__).resolve().parents[2] / "shared" / "wsss4luad"
PARTS = ("clicks", "prepare", "sketch", "train")
SEEDS = 5
PATCH = 112
COLUMNS = 42  # of the slide that the patches are put together to
CLASSES = ("tumour", "stroma", "normal")
SAMPLE = 200


# --- seconds from a click to the map ---


def clicks(work: Path) -> list[Row]:
    """Label a slide of 30,000 tiles up to 300 labels; time label, fit and map of the last 30."""
    rows, columns, places = 150, 200, 7
    folder = work / "clicks.wsss"
    shutil.rmtree(folder, ignore_errors=True)
    with new_project(folder, SYNTHETIC_SCHEMA) as project:
        bounds = Box(0, 0, columns * project.tile, rows * project.tile)
        identity = {"dimensions": [bounds.width, bounds.height], "size_bytes": 0, "quick_hash": "made up"}
        entry = SlideEntry("a", "a.tif", "/a.tif", identity, project.mpp, bounds, "P1")
        project.change(slides=(entry,), reduction="made up")
        grid = project.grid("a")
        row, column = (v.ravel().astype(np.int32) for v in np.mgrid[:rows, :columns])
        step = float(project.tile)
        tiles = TileTable(row, column, column * step, row * step, np.ones(rows * columns, np.float32))
        about = describe(identity, grid, project.description.encoder, "made up", project.mpp)
        path = project.features_path("a")
        writer = FeatureWriter(path, tiles, places, VALUES, about)
        rng = np.random.default_rng(0)
        kinds = rng.standard_normal((4, VALUES)).astype(np.float32)
        kind = np.add.outer(np.arange(rows) // 20, np.arange(columns) // 20).ravel() % 4
        for first in range(0, len(tiles), 512):
            noise = rng.standard_normal((len(kind[first : first + 512]), places, places, VALUES), np.float32)
            writer.append(noise * 1.5 + kinds[kind[first : first + 512]][:, None, None])
        size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        order = rng.permutation(len(tiles))[:300]
        seconds: list[float] = []
        processor: list[float] = []
        for number, index in enumerate(order.tolist()):
            tile = project.tile_of("a", int(row[index]), int(column[index]))
            names = {SYNTHETIC_SCHEMA.names[kind[index]]}
            if number % 3 == 0:
                names.add(SYNTHETIC_SCHEMA.names[(kind[index] + 1) % 4])
            started, worked = time.perf_counter(), time.process_time()
            project.label("a", *tile.middle, names, reader="simulated")
            if number >= 270 or number == 0:
                project.fit().map("a")
                seconds.append(time.perf_counter() - started)
                processor.append(time.process_time() - worked)
    timed = sorted(seconds[1:])
    median, slow = statistics.median(timed), timed[int(0.95 * len(timed))]
    return [
        Row(
            "click → map, 30,000 tiles × 49 places, 300 labels, 4 classes",
            f"{median:.2f} s median, {slow:.2f} s 95 %",
            f"first map {seconds[0]:.2f} s",
            f"{statistics.median(processor[1:]):.2f} s of processor",
            "≤ 1.0 s, ≤ 1.5 s",
        ),
        Row("features of 30,000 tiles", f"{size / 1e6:.0f} MB", "", "", "≤ 200 MB"),
    ]


# --- preparing against stage 1 alone ---


def prepare(work: Path) -> list[Row]:
    """Encode the same tiles with the features' network and with crc-demo's stage 1, taking turns."""
    slide = SyntheticSlide(width=2240, height=1792, mpp=0.5, seed=3)
    corners = [(x, y) for y in range(0, 1792, 224) for x in range(0, 2240, 224)][:64]
    tiles = np.stack([slide.render(x, y, 224, 224) for x, y in corners])
    ref = resolve_encoder(DEFAULT_ENCODER)
    width = sum(build_network(ref, 224).layer_channels)
    numbers = np.random.default_rng(0).standard_normal((VALUES, width)).astype(np.float32)
    encode, facts = make_encoder(ref, 224, Reduction(numbers, np.zeros(VALUES, np.float32)), work / "cache")
    precision = facts["precision"]
    stage1 = OpenVinoBackend(
        lambda: Pair(load_bundle("crc-demo").build_stage1(), None), 224, precision, Cache(None), "stage1"
    )
    ours: list[float] = []
    alone: list[float] = []
    for _ in range(8):
        for run, kept in ((encode, ours), (stage1, alone)):
            # Seconds of the processor: other programs on the machine do not count.
            started = time.process_time()
            for first in range(0, len(tiles), 16):
                run(tiles[first : first + 16])
            kept.append(time.process_time() - started)
    mine, other = len(tiles) / min(ours), len(tiles) / min(alone)
    return [
        Row(
            f"prepare: tiles encoded per second of one core, OpenVINO {precision}",
            f"{mine:.0f}",
            f"stage 1 alone {other:.0f}",
            f"{mine / other:.2f}",
            "≥ 0.9",
        )
    ]


# --- sketches after so many labels ---


class Luad:
    """Features of the patches and of the val images, computed once and kept in ``work``."""

    def __init__(self, work: Path) -> None:
        self.paths = sorted((SHARED / "train").glob("*.png"))
        self.present = np.array([PatchName.parse(p.name, len(CLASSES)).label for p in self.paths], np.bool_)
        self.masks = [np.asarray(Image.open(p)) for p in sorted((SHARED / "val" / "mask").glob("*.png"))]
        known = work / "luad.npz"
        if not known.exists():
            self._compute(known, work)
        with np.load(known) as data:
            self.values = data["train"]
            self.val = [data[f"val{i}"] for i in range(len(self.masks))]

    def _compute(self, known: Path, work: Path) -> None:
        ref = resolve_encoder(DEFAULT_ENCODER)
        read: Callable[[Path], NDArray[np.uint8]] = lambda p: np.asarray(Image.open(p).convert("RGB"))  # noqa: E731
        pixels = np.stack([read(p) for p in self.paths])
        raw = build_network(ref, PATCH)
        some = np.random.default_rng(0).permutation(len(pixels))[:SAMPLE]
        parts = []
        with torch.inference_mode():
            for first in range(0, len(some), 8):
                x = torch.from_numpy(pixels[some[first : first + 8]]).permute(0, 3, 1, 2).float() / 255
                parts.append(raw.raw(x).permute(0, 2, 3, 1).flatten(0, 2).numpy())
        sample = np.concatenate(parts)
        reduction = principal_components(sample[np.random.default_rng(0).permutation(len(sample))[:8000]])
        encode, _ = make_encoder(ref, PATCH, reduction, work / "cache")

        def encoded(tiles: NDArray[np.uint8]) -> NDArray[np.float16]:
            done = [encode(tiles[i : i + 16]).astype(np.float16) for i in range(0, len(tiles), 16)]
            return np.concatenate(done)

        found = {"train": encoded(pixels)}
        for number, path in enumerate(sorted((SHARED / "val" / "img").glob("*.png"))):
            image = read(path)
            height, width = image.shape[:2]
            padded = np.pad(image, ((0, -height % PATCH), (0, -width % PATCH), (0, 0)), mode="symmetric")
            rows, columns = padded.shape[0] // PATCH, padded.shape[1] // PATCH
            tiles = padded.reshape(rows, PATCH, columns, PATCH, 3).swapaxes(1, 2).reshape(-1, PATCH, PATCH, 3)
            values = encoded(np.ascontiguousarray(tiles))
            side = values.shape[1]
            values = values.reshape(rows, columns, side, side, -1).swapaxes(1, 2)
            found[f"val{number}"] = values.reshape(rows * side, columns * side, -1)
        np.savez(known, **found)

    def fwiou(self, head: HeadWeights) -> float:
        """Score a sketch: scores of places, enlarged bilinearly, the best class of every pixel."""
        matrix = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
        for values, mask in zip(self.val, self.masks, strict=True):
            scores = head.scores(values)
            height, width = mask.shape
            places = (
                values.shape[0] * PATCH // self.values.shape[1],
                values.shape[1] * PATCH // self.values.shape[1],
            )
            enlarged = np.stack(
                [
                    np.asarray(
                        Image.fromarray(scores[..., c]).resize(places[::-1], Image.Resampling.BILINEAR)
                    )
                    for c in range(len(CLASSES))
                ]
            )[:, :height, :width]
            judged = mask < len(CLASSES)
            matrix += confusion(mask[judged], enlarged.argmax(0)[judged], len(CLASSES))
        return scores_of(matrix).fwiou

    def fit(self, chosen: NDArray[np.int64], start: HeadWeights | None = None) -> HeadWeights:
        """Fit a head on some patches."""
        return fit_weights(examples_of(self.values[chosen], self.present[chosen]), start)


def asked(luad: Luad, seed: int, marks: tuple[int, ...], order: str) -> dict[int, float]:
    """Let the simulated reader answer what is asked, 12 tiles a round; return the score at some numbers of labels."""
    rng = np.random.default_rng(seed)
    chosen = list(rng.permutation(len(luad.paths))[:12])
    means = luad.values.astype(np.float32).mean((1, 2))
    scores: dict[int, float] = {}
    head = None
    while True:
        head = luad.fit(np.array(chosen), head)
        if len(chosen) in marks:
            scores[len(chosen)] = luad.fwiou(head)
        if len(chosen) >= max(marks):
            return scores
        left = np.setdiff1d(np.arange(len(luad.paths)), chosen)
        unsure = entropies(luad.values[left].reshape(-1, VALUES), head).reshape(len(left), -1).mean(1)
        if order == "random":
            found = rng.permutation(len(left))[:12].tolist()
        elif order == "entropy":
            found = np.argsort(-unsure)[:12].tolist()
        else:
            found = most_telling(unsure, means[left], np.zeros(len(left), np.int64), means[chosen], 12)
        chosen += left[found].tolist()


def sketch(work: Path) -> list[Row]:
    """Score sketches after random and after asked labels, five seeds each."""
    luad = Luad(work)
    rows = []
    random = {}
    for count, wanted in ((30, "≥ 0.58"), (300, "≥ 0.66")):
        found = [
            luad.fwiou(luad.fit(np.random.default_rng(s).permutation(len(luad.paths))[:count]))
            for s in range(SEEDS)
        ]
        random[count] = float(np.mean(found))
        rows.append(
            Row(f"sketch after {count} random labels, FwIoU val", _mean(found), f"{SEEDS} seeds", "", wanted)
        )
    marks = (24, 48, 72, 84, 96)
    for order in ("random", "entropy", "entropy × distance"):
        found_at = [asked(luad, s, marks, order) for s in range(SEEDS)]
        text = ", ".join(f"{m}: {_mean([f[m] for f in found_at])}" for m in marks)
        means = {m: float(np.mean([f[m] for f in found_at])) for m in marks}
        enough = next((m for m in marks if means[m] >= random[300]), None)
        near = next((m for m in marks if means[m] >= random[300] - 0.005), None)
        reached, nearly = (str(n) if n else f"more than {marks[-1]}" for n in (enough, near))
        rows.append(
            Row(
                f"labels asked in the order {order}, FwIoU val",
                text,
                f"300 random: {random[300]:.3f}",
                f"reached with {reached}, within 0.005 with {nearly}",
                "≤ 80" if "distance" in order else "",
            )
        )
    return rows


# --- trained models ---


def stitched(work: Path) -> tuple[Path, list[tuple[bool, ...]]]:
    """Write all patches side by side as one slide; return it and the labels, row by row."""
    paths = sorted((SHARED / "train").glob("*.png"))
    rows = -(-len(paths) // COLUMNS)
    pixels = np.full((rows * PATCH, COLUMNS * PATCH, 3), 255, np.uint8)
    for number, path in enumerate(paths):
        y, x = (PATCH * v for v in divmod(number, COLUMNS))
        pixels[y : y + PATCH, x : x + PATCH] = np.asarray(Image.open(path).convert("RGB"))
    slide = work / "luad.tif"
    tifffile.imwrite(slide, pixels, photometric="rgb", tile=(PATCH, PATCH))
    return slide, [PatchName.parse(p.name, len(CLASSES)).label for p in paths]


def train(work: Path, labels: int, seed: int, asked: bool) -> list[Row]:
    """Train in a project from so many labels, random ones or those that were asked for, and score on val."""
    folder = work / f"train-{labels}-{seed}{'-asked' if asked else ''}.wsss"
    shutil.rmtree(folder, ignore_errors=True)
    slide, truth = stitched(work)
    classes = tuple(
        TissueClass(n, n[:3].upper(), c)
        for n, c in zip(CLASSES, ("#d62728", "#2ca02c", "#1f4fd8"), strict=True)
    )
    schema = ClassSchema("luad", classes, white_background=True)
    with new_project(folder, schema, tile=PATCH, mpp=1.0) as project:
        project.add(slide, slide_id="luad", mpp=1.0)
        for _ in project.prepare():
            pass

        def answer(row: int, column: int) -> None:
            held = {n for n, there in zip(CLASSES, truth[row * COLUMNS + column], strict=True) if there}
            project.label("luad", *project.tile_of("luad", row, column).middle, held, reader="simulated")

        if asked:
            while (left := labels - len(project.labels())) > 0:
                for tile in project.suggest(min(12, left)):
                    answer(*tile.place)
        else:
            for index in np.random.default_rng(seed).permutation(len(truth))[:labels].tolist():
                answer(*divmod(index, COLUMNS))
        started, worked = time.perf_counter(), _processor()
        bundle = project.train("model", device="cpu", seed=seed, on_event=_tell)
        seconds, processor = time.perf_counter() - started, _processor() - worked
        recipe = load_bundle(bundle).provenance["recipe"]
    result = work / "val.json"
    words = ["--bundle", str(bundle), "--dataroot", str(SHARED), "--json", str(result), "--device", "cpu"]
    for _ in run_program("training.evaluate", words):
        pass
    found = json.loads(result.read_text())
    sys.stderr.write(f"{recipe}\n")
    wanted = {300: "≤ 10 min, ≥ 0.77", 60: "≤ 5 min, ≥ 0.70"}.get(labels, "")
    scores = {gate: found["variants"][gate]["fwiou"] for gate in ("gate_off", "gate_on")}
    return [
        Row(
            f"trained from {labels} {'asked' if asked else 'random'} labels, seed {seed}",
            ", ".join(f"FwIoU val {v:.3f} ({k.replace('_', ' ')})" for k, v in scores.items()),
            f"{seconds / 60:.1f} min on {torch.get_num_threads()} cores, {processor / 60:.1f} of the processor",
            "",
            wanted,
        )
    ]


def _tell(event: object) -> None:
    if isinstance(event, StepFinished):
        sys.stderr.write(f"{event.step}: {event.seconds:.0f} s\n")


def _processor() -> float:
    """Return the seconds that this process and the ones it has started have computed."""
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, _PROCESSES))


_PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PARTS, nargs="+", default=["clicks", "prepare", "sketch"])
    parser.add_argument("--labels", type=int, nargs="+", default=[60, 300])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--asked", action="store_true", help="train from the labels that the project asks for"
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "wsss-teach")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    if "clicks" in arguments.only:
        rows += clicks(arguments.work)
    if "prepare" in arguments.only:
        rows += prepare(arguments.work)
    if not SHARED.is_dir():
        print(f"no patches at {SHARED}: sketches and trained models are not measured")
    else:
        if "sketch" in arguments.only:
            rows += sketch(arguments.work)
        if "train" in arguments.only:
            for labels in arguments.labels:
                rows += train(arguments.work, labels, arguments.seed, arguments.asked)
    print(table(rows))
    save(rows, arguments.json)


if __name__ == "__main__":
    main()
