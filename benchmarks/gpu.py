"""What a GPU does with our engine and training programs: one table, in three minutes on an H100.

Needs torch with CUDA, and of our own dependencies only what reading a TIFF and writing a store takes. Nothing else
should run on the machine. The lines of the table:

*Labels*: share of the pixels that get the same label as from torch on the processor in fp32.
*Throughput*: the engine from a JPEG slide on disk to a finished store, against the networks alone on random tiles that
already lie on the GPU. Between them stand what could hold the engine up: the networks with copies, softmax and gate;
reading alone; the engine with a network that does nothing (reading, blending, writing).
*Copies*: from a profiler's trace of an engine run, the share of the time of host-to-device copies during which a kernel
ran as well, and the share of the time from the first to the last kernel in which one ran.
*Memory*: most that torch had allocated for a batch, weights included.
*Training*: a step (loss, backward, clipping, optimiser) on one batch.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --device cpu --quick        # a rehearsal
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from backends import fresh, tissue_tiles
from jpeg_slide import write_jpeg_slide
from rows import Row, table

from napari_wsss.backends import check_tiles
from napari_wsss.backends.graph import simplified
from napari_wsss.backends.maps import networks_of
from napari_wsss.models import Bundle, build_stage1, build_stage2, load_bundle
from napari_wsss.pipeline import segment_events
from napari_wsss.predictor import BundlePredictor
from tiling.engine import Finished, Prediction, run
from tiling.engine.read_ahead import ReadAhead
from tiling.plan import RunOptions, make_plan
from tiling.slides import open_slide
from tiling.synthetic import SYNTHETIC_SCHEMA
from training.networks.classifier import ClassifierTrainee
from training.networks.segmenter import SegmenterTrainee
from training.settings import PRESETS, LearningRateSchedule, override

TILE, MPP = 224, 0.5
Interval = tuple[float, float]


class Nothing:
    """A network that does nothing: what is left is reading, blending and writing."""

    schema, tile, thresholds = SYNTHETIC_SCHEMA, TILE, None
    identity: dict[str, object] = {"bundle": "nothing"}  # noqa: RUF012

    def __call__(self, pixels: np.ndarray, cam_side: int | None = None, gated: bool = True) -> Prediction:
        """Return the same for each tile."""
        maps = np.zeros((len(pixels), 4, TILE, TILE), np.float32)
        maps[:, 1] = 1
        return Prediction(maps, maps[:, :, 0, 0])


# Measuring ------------------------------------------------------------------------------------------------------------


def settle(device: torch.device) -> None:
    """Wait until the GPU has done all it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(call: Callable[[], object], tiles: int, device: torch.device, seconds: float) -> float:
    """Return tiles per second of a call, after two calls to warm up."""
    call()
    call()
    settle(device)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        count += 1
        if count % 8 == 0:
            settle(device)
    settle(device)
    return tiles * count / (time.perf_counter() - start)


def network_alone(bundle: Bundle, precision: str, batch: int, device: torch.device, seconds: float) -> float:
    """Return tiles per second of both networks on random tiles that lie on the device; nothing comes back."""
    network: Any = simplified(networks_of(bundle).eval().requires_grad_(False))
    network = network.to(device, memory_format=torch.channels_last)
    tiles = torch.randint(0, 256, (batch, TILE, TILE, 3), dtype=torch.uint8, device=device)

    @torch.inference_mode()
    def call() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            network(tiles)

    return rate(call, batch, device, seconds)


def engine_rate(path: Path, predictor: Any, batch: int, threads: int, height: int, work: Path) -> float:
    """Return tiles per second from the slide on disk to a finished store."""
    out = work / "engine.zarr"
    shutil.rmtree(out, ignore_errors=True)
    options = {"overlap": 0.0, "tissue": None, "batch_size": batch, "read_threads": threads}
    start = time.perf_counter()
    tiles = 0
    with open_slide(path) as slide:
        if isinstance(predictor, Nothing):
            events = run(slide, predictor, out, RunOptions(mpp=MPP, region=None, **options))  # type: ignore[arg-type]
        else:
            events = segment_events(
                slide, predictor, out, region=(0, 0, slide.dimensions[0], height), **options
            )
        for event in events:
            if isinstance(event, Finished):
                tiles = event.tiles
    return tiles / (time.perf_counter() - start)


def reading_rate(path: Path, batch: int, threads: int) -> float:
    """Return tiles per second that the reading threads deliver when nobody computes."""
    options = RunOptions(mpp=MPP, overlap=0.0, tissue=None, batch_size=batch, read_threads=threads)
    with open_slide(path) as slide:
        plan = make_plan(slide, TILE, options)
        batches = [b for row in range(plan.grid.rows) for b in plan.batches(row)]
        start = time.perf_counter()
        with ReadAhead(slide, plan.grid, MPP, batches, threads, False) as reader:
            tiles = sum(len(read.pixels) for read in reader)
        return tiles / (time.perf_counter() - start)


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same stretches of time without overlaps, in order."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def hidden_share(trace: Iterable[dict[str, Any]]) -> tuple[float, float] | None:
    """Return from a Chrome trace the share of copy time under kernels, and the kernels' share of their span.

    None when the trace has no kernel or no host-to-device copy.
    """
    spans: dict[str, list[Interval]] = {"copy": [], "kernel": []}
    for event in trace:
        category, name = event.get("cat"), str(event.get("name"))
        span = (float(event.get("ts", 0)), float(event.get("ts", 0)) + float(event.get("dur", 0)))
        if category == "kernel":
            spans["kernel"].append(span)
        elif category == "gpu_memcpy" and "HtoD" in name:
            spans["copy"].append(span)
    kernels, copies = union(spans["kernel"]), union(spans["copy"])
    if not kernels or not copies:
        return None
    hidden = sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in copies for b in kernels)
    busy = sum(b - a for a, b in kernels) / (kernels[-1][1] - kernels[0][0])
    return hidden / sum(b - a for a, b in copies), busy


def traced(call: Callable[[], object], device: torch.device, work: Path) -> tuple[float, float] | None:
    """Profile a call; see :func:`hidden_share`."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CUDA] if device.type == "cuda" else [ProfilerActivity.CPU]
    with profile(activities=kinds) as profiler:
        call()
        settle(device)
    path = work / "trace.json"
    profiler.export_chrome_trace(str(path))
    return hidden_share(json.loads(path.read_text())["traceEvents"])


# The lines of the table -----------------------------------------------------------------------------------------------


def label_rows(device: torch.device, count: int) -> Iterator[Row]:
    """Compare labels with those of the processor."""
    for name in ("synthetic-demo", "crc-demo"):
        bundle = load_bundle(name)
        painted = "synthetic tissue", check_tiles(bundle.tile, bundle.mpp)[:count].copy()
        sources = dict([painted, tissue_tiles(bundle, count)])
        cpu = BundlePredictor(bundle, "cpu", "fp32", backend="torch")
        for source, tiles in sources.items():
            wanted = cpu(tiles).probabilities.argmax(1)
            for precision in ("fp32", "mixed", "bf16", *(["fp16"] if device.type == "cuda" else [])):
                predictor = BundlePredictor(bundle, str(device), precision, backend="torch")  # type: ignore[arg-type]
                same = float(np.mean(predictor(tiles).probabilities.argmax(1) == wanted))
                aim = "≥ 99.5 %" if precision == "fp32" else ""
                yield Row(
                    f"labels, {name} on {len(tiles)} tiles of {source}",
                    f"{precision}: {same:.2%} equal",
                    "",
                    "",
                    aim,
                )
        chosen = BundlePredictor(bundle, str(device), backend="torch")
        yield Row(f"precision that `auto` takes for {name}", chosen.precision, "", "", "")


def throughput_rows(
    bundles: dict[str, Bundle], device: torch.device, slide: Path, side: int, quick: bool, work: Path
) -> Iterator[Row]:
    """Compare the engine with the network alone."""
    threads = max(2, min(12, (os.cpu_count() or 2) - 2))
    batch = 4 if quick else 64
    seconds = 0.5 if quick else 1.5
    traced_height = min(side, 7 * TILE)
    read = reading_rate(slide, batch, threads)
    bare = engine_rate(slide, Nothing(), batch, threads, side, work)
    yield Row(f"reading alone, {threads} threads, JPEG", f"{read:.0f} tiles/s", "", "")
    yield Row(
        "engine with a network that does nothing",
        f"{bare:.0f} tiles/s",
        f"reading: {read:.0f}",
        f"{bare / read:.2f}",
    )
    for name, bundle in bundles.items():
        for precision in ("fp32", "bf16") if name == "crc-demo" else ("bf16",):
            alone = network_alone(bundle, precision, batch, device, seconds)
            predictor = BundlePredictor(bundle, str(device), precision, backend="torch")  # type: ignore[arg-type]
            pixels = np.random.default_rng(0).integers(0, 256, (batch, TILE, TILE, 3), np.uint8)
            whole = rate(lambda p=predictor, x=pixels: p(x, None, False), batch, device, seconds)
            height = side if alone > 1500 or quick else side // 4
            found = engine_rate(slide, predictor, batch, threads, height, work)
            shown = f"{name}, {precision}"
            yield Row(
                f"networks with copies and softmax, {shown}",
                f"{whole:.0f} tiles/s",
                f"networks alone: {alone:.0f}",
                f"{whole / alone:.2f}",
            )
            yield Row(
                f"engine from disk to store, {shown}",
                f"{found:.0f} tiles/s",
                f"networks alone: {alone:.0f}",
                f"{found / alone:.2f}",
                "≥ 0.9",
            )
            if precision == "fp32":
                continue
            shares = traced(
                lambda p=predictor: engine_rate(slide, p, batch, threads, traced_height, work),
                device,
                work,
            )
            told = "no GPU events in the trace" if shares is None else f"{shares[0]:.0%} under kernels"
            busy = "" if shares is None else f"a kernel ran {shares[1]:.0%} of the time"
            yield Row(f"copies to the GPU, {shown}", told, busy, "")


def memory_rows(bundles: dict[str, Bundle], device: torch.device, quick: bool) -> Iterator[Row]:
    """Measure what batches need and what they bring."""
    for name, bundle in bundles.items():
        predictor = BundlePredictor(bundle, str(device), "bf16", backend="torch")
        cells = []
        for batch in (1, 4) if quick else (1, 16, 64, 256):
            pixels = np.random.default_rng(0).integers(0, 256, (batch, TILE, TILE, 3), np.uint8)
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            speed = rate(
                lambda x=pixels, p=predictor: p(x, None, False), batch, device, 0.3 if quick else 0.5
            )
            peak = (
                f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB"
                if device.type == "cuda"
                else "not known"
            )
            cells.append(f"{batch}: {peak}, {speed:.0f}/s")
        yield Row(f"memory and tiles/s by batch, {name}, bf16", "; ".join(cells), "", "")


def trainee_of(kind: str, stage: int, size: int, batch: int, device: torch.device) -> tuple[Any, Any]:
    """Return a trainee on the device and a batch for it."""
    stage1_name, backbone = {"light": ("efficientnet-lite0",) * 2, "full": ("resnet38", "resnet101")}[kind]
    torch.manual_seed(0)
    images = torch.rand(batch, 3, size, size).to(device)
    labels = torch.randint(0, 2, (batch, 4)).float().to(device)
    preset = PRESETS["recommended" if kind == "light" else "reference"]
    schedule = LearningRateSchedule("poly", 1, 100)
    trainee: Any
    if stage == 1:
        trainee = ClassifierTrainee(build_stage1(stage1_name, 4), preset.stage1, schedule, 1)
        return trainee.to(device).train(), (images, labels, torch.zeros(batch))
    masks = torch.randint(0, 5, (batch, 3, size // 16, size // 16)).to(device)
    masks = masks.repeat_interleave(16, 2).repeat_interleave(16, 3)
    settings = override(preset.stage2, {"layer_weights": (0.6, 0.2, 0.2)})
    network = build_stage2("deeplabv3plus", 4, backbone=backbone)
    gatekeeper = build_stage1("efficientnet-lite0", 4, width=0.1)
    trainee = SegmenterTrainee(network, gatekeeper, settings, schedule, 1)
    return trainee.to(device).train(), (images, masks, labels.bool(), torch.zeros(batch))


def training_rows(device: torch.device, quick: bool) -> Iterator[Row]:
    """Time a step of both stages with and without autocast."""
    size, batch, steps = (64, 2, 2) if quick else (224, 16, 12)
    for kind in ("light",) if quick else ("light", "full"):
        for stage in (1, 2):
            found: dict[bool, tuple[float, float, float]] = {}
            for amp in (False, True):
                trainee, data = trainee_of(kind, stage, size, batch, device)
                optimiser = torch.optim.AdamW(trainee.network.parameters(), lr=1e-4)
                losses, taken = [], []
                for _ in range(steps):
                    settle(device)
                    start = time.perf_counter()
                    optimiser.zero_grad()
                    with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                        loss = trainee.loss(data)
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(trainee.network.parameters(), 5.0)
                    optimiser.step()
                    settle(device)
                    taken.append(time.perf_counter() - start)
                    losses.append(float(loss.detach()))
                found[amp] = (1000 * statistics.median(taken[1:]), losses[0], losses[-1])
                del trainee, optimiser
            plain, amp_found = found[False], found[True]
            yield Row(
                f"training step, {kind} stage {stage}, {batch} patches of {size} px",
                f"bf16 autocast: {amp_found[0]:.1f} ms, loss {amp_found[1]:.3f} → {amp_found[2]:.3f}",
                f"fp32: {plain[0]:.1f} ms, loss {plain[1]:.3f} → {plain[2]:.3f}",
                f"{plain[0] / amp_found[0]:.2f} × as fast",
            )


def machine(device: torch.device) -> str:
    """Return one line that says what the figures were measured on."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    return (
        f"{time.strftime('%Y-%m-%d')}, {card}, {os.cpu_count()} cores; Python {platform.python_version()}, torch "
        f"{torch.__version__}, CUDA {torch.version.cuda}, numpy {np.__version__}; TF32 in convolutions: "
        f"{torch.backends.cudnn.allow_tf32}"
    )


def main() -> int:
    """Measure all parts; one that fails becomes a line and does not stop the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", choices=["labels", "throughput", "memory", "training"], nargs="+")
    parser.add_argument(
        "--side",
        type=int,
        default=14336,
        help="of the slide in pixels; the default is 64 tiles, a whole batch",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, light networks: does it run at all?"
    )
    parser.add_argument("--json", type=Path, help="write the table and the machine")
    arguments = parser.parse_args()
    device, quick = torch.device(arguments.device), arguments.quick
    side = min(arguments.side, 2048) if quick else arguments.side
    rows: list[Row] = []
    failures = 0
    print(f"\n{machine(device)}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        slide = work / "slide.svs"
        write_jpeg_slide(slide, side)
        bundles = {
            "crc-demo": load_bundle("crc-demo"),
            "efficientnet-lite0 pair": fresh("light", work / "light"),
        }
        if not quick:
            bundles["ResNet38 + DeepLabV3+ ResNet101"] = fresh("full", work / "full")
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            "labels": lambda: label_rows(device, 4 if quick else 48),
            "throughput": lambda: throughput_rows(bundles, device, slide, side, quick, work),
            "memory": lambda: memory_rows(bundles, device, quick),
            "training": lambda: training_rows(device, quick),
        }
        for name, part in parts.items():
            if arguments.only and name not in arguments.only:
                continue
            start = time.perf_counter()
            try:
                for row in part():
                    rows.append(row)
                    print(f"{row.what}: {row.ours} | {row.compared} | {row.ratio} | {row.wanted}", flush=True)
            except Exception as error:  # noqa: BLE001 - the other parts are worth having
                failures += 1
                rows.append(Row(name, f"failed: {type(error).__name__}: {error}"[:300], "", ""))
                print(rows[-1].ours, flush=True)
            print(f"({name}: {time.perf_counter() - start:.0f} s)", flush=True)
    print(f"\n{machine(device)}\n\n{table(rows)}")
    if arguments.json:
        facts = {"machine": machine(device), "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(facts, indent=2, ensure_ascii=False))
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
