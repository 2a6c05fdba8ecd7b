"""Memory and speed of the engine on slides of growing size, as ratios measured in one run.

For every size, in a process of its own: the peak memory above the idle process; the wall time with a small network
against ``tiles × network time + tiles × two-thread read time`` (both measured alone, before and after: they share the
same two cores); and the tile rate with a network that does nothing against the raw two-thread read rate.

The network alone is timed twice: as any program runs it, in a process of its own, and with freed memory kept
(see ``tiling.engine.allocator``), as within ours. The first is what the engine is measured against, the second
shows how much of the ratio the allocator is.

    python benchmarks/engine.py --sizes 5000 20000 60000 --work /tmp/wsss-bench
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rows import Row, save

TILE = 224
MPP = 0.5
BATCH = 16


def make_slide(path: Path, side: int) -> None:
    """Write a generated slide piece by piece, in a process of its own."""
    if path.exists():
        return
    code = (
        "import sys; from pathlib import Path; from tiling.synthetic import SyntheticSlide, write_slide;"
        "side = int(sys.argv[2]); write_slide(Path(sys.argv[1]), SyntheticSlide(side, side, seed=7, repeat=4096))"
    )
    partial = path.with_suffix(".part.tif")
    subprocess.run([sys.executable, "-c", code, str(partial), str(side)], check=True)
    partial.rename(path)


def memory_mb(field: str) -> float:
    """Read VmRSS or VmHWM of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


class Toy:
    """A predictor around a three-layer network, or around nothing at all."""

    tile = TILE

    def __init__(self, network: bool) -> None:
        import torch

        from tiling.synthetic import SYNTHETIC_SCHEMA

        self.schema = SYNTHETIC_SCHEMA
        self.identity = {"bundle": "toy" if network else "nothing"}
        self.network = None
        if network:
            torch.manual_seed(0)
            conv = torch.nn.Conv2d
            layers = [
                conv(3, 16, 3, 2, 1),
                torch.nn.ReLU(),
                conv(16, 16, 3, 1, 1),
                torch.nn.ReLU(),
                conv(16, 4, 1),
            ]
            self.network = torch.nn.Sequential(*layers).eval().to(memory_format=torch.channels_last)
        self.seconds = 0.0
        constant = np.zeros((BATCH, 4, TILE, TILE), np.float32)
        constant[:, 1] = 1
        self.constant = constant

    def __call__(self, pixels: np.ndarray, cam_side: int | None = None) -> Any:
        """Predict a batch."""
        from tiling.engine import Prediction

        n = len(pixels)
        if self.network is None:
            return Prediction(self.constant[:n], self.constant[:n, :, 0, 0])
        import torch

        with torch.inference_mode():
            x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
            logits = self.network(x)
            logits = torch.nn.functional.interpolate(
                logits, (TILE, TILE), mode="bilinear", align_corners=False
            )
            probabilities = logits.softmax(1)
        return Prediction(probabilities.contiguous().numpy(), probabilities.mean((2, 3)).numpy())


def network_seconds(toy: Toy, batches: int = 12) -> float:
    """Return seconds per tile of the network alone, median over batches."""
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, TILE, TILE, 3), np.uint8)
    toy(pixels)
    times = []
    for _ in range(batches):
        start = time.perf_counter()
        toy(pixels)
        times.append((time.perf_counter() - start) / BATCH)
    return statistics.median(times)


def read_seconds(path: Path, tiles: int = 2400) -> float:
    """Return seconds per tile of two threads that read tiles with OpenSlide and do nothing else."""
    import openslide

    slide = openslide.OpenSlide(str(path))
    columns = slide.dimensions[0] // TILE
    rows = slide.dimensions[1] // TILE
    places = [(c * TILE, r * TILE) for r in range(rows // 4, rows) for c in range(columns)][:tiles]

    def read(part: list[tuple[int, int]]) -> None:
        for place in part:
            np.asarray(slide.read_region(place, 0, (TILE, TILE)).convert("RGB"))

    # Neighbouring tiles share native tiles: each thread takes runs of neighbours, as a sensible reader would.
    runs = [places[i : i + BATCH] for i in range(0, len(places), BATCH)]
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read, runs))
    seconds = (time.perf_counter() - start) / len(places)
    slide.close()
    return seconds


def plain_network_seconds() -> float:
    """Return seconds per tile of the network in a process that does nothing else."""
    words = [sys.executable, __file__, "--network"]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def one(path: Path, work: Path, network: bool) -> dict[str, Any]:
    """Measure one slide with one predictor; called in a fresh process."""
    from tiling.engine import kept_memory

    plain = [plain_network_seconds() if network else 0.0]
    with kept_memory():
        result = measured(path, work, network)
    plain.append(plain_network_seconds() if network else 0.0)
    return result | {"network_s": statistics.mean(plain)}


def measured(path: Path, work: Path, network: bool) -> dict[str, Any]:
    """Time the parts, the run, and the parts again."""
    from tiling.engine import Finished, Planned, Progress, run
    from tiling.plan import RunOptions
    from tiling.slides import open_slide

    toy = Toy(network)
    options = RunOptions(mpp=MPP, overlap=0, tissue=None, batch_size=BATCH)
    before = (network_seconds(toy), read_seconds(path))
    out = work / "bench.zarr"
    shutil.rmtree(out, ignore_errors=True)
    result: dict[str, Any] = {}
    with open_slide(path) as slide:
        Path("/proc/self/clear_refs").write_text("5")
        idle = memory_mb("VmRSS")
        start = time.perf_counter()
        for event in run(slide, toy, out, options):
            if isinstance(event, Planned):
                result |= {
                    "tiles": event.tiles,
                    "formula_mb": event.memory_bytes / 2**20,
                    "width": event.width,
                }
            elif isinstance(event, Progress):
                result["busy"] = [event.read_busy, event.predict_busy, event.write_busy]
            elif isinstance(event, Finished):
                result["wall"] = time.perf_counter() - start
        result |= {"idle_mb": idle, "peak_mb": memory_mb("VmHWM") - idle}
    after = (network_seconds(toy), read_seconds(path))
    shutil.rmtree(out)
    result["kept_network_s"] = statistics.mean((before[0], after[0]))
    result["read_s"] = statistics.mean((before[1], after[1]))
    return result


def main() -> None:
    """Run all sizes and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[5000, 20000, 60000])
    parser.add_argument("--work", type=Path, default=Path("/tmp/wsss-bench"))
    parser.add_argument("--repeat", type=int, default=1, help="interleaved repetitions; medians are printed")
    parser.add_argument("--only", choices=["toy", "nothing"], help="one predictor only")
    parser.add_argument("--json", type=Path, help="write the rows of the table")
    parser.add_argument("--network", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, metavar=("SLIDE", "PREDICTOR"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.network:
        print(network_seconds(Toy(network=True)))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        print(json.dumps(one(Path(arguments.one[0]), arguments.work, arguments.one[1] == "toy")))
        return
    for side in arguments.sizes:
        make_slide(arguments.work / f"{side}.tif", side)
    kinds = [arguments.only] if arguments.only else ["toy", "nothing"]
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for _ in range(arguments.repeat):
        for side in arguments.sizes:
            for kind in kinds:
                command = [sys.executable, __file__, "--work", str(arguments.work)]
                command += ["--one", str(arguments.work / f"{side}.tif"), kind]
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
                found.setdefault((side, kind), []).append(json.loads(done.stdout))
    print(
        "| slide | network | tiles | peak above idle | formula | wall / (network + read) | the same, memory kept "
        "| rate / raw read rate | busy r/p/w |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for (side, kind), results in found.items():
        middle = {key: statistics.median(r[key] for r in results) for key in results[0] if key != "busy"}
        limit = middle["tiles"] * (middle["network_s"] + middle["read_s"])
        ratio = middle["wall"] / limit if kind == "toy" else float("nan")
        kept = middle["wall"] / (middle["tiles"] * (middle["kept_network_s"] + middle["read_s"]))
        rate = middle["tiles"] / middle["wall"] * middle["read_s"]
        busy = "/".join(f"{b:.2f}" for b in results[-1]["busy"])
        print(
            f"| {side}² | {kind} | {middle['tiles']:.0f} | {middle['peak_mb']:.0f} MB | {middle['formula_mb']:.0f} MB "
            f"| {ratio:.2f} | {kept if kind == 'toy' else ratio:.2f} | {rate:.2f} | {busy} |"
        )
        print(
            f"  network {1 / max(middle['network_s'], 1e-9):.0f} tiles/s, memory kept "
            f"{1 / max(middle['kept_network_s'], 1e-9):.0f}, read {1 / middle['read_s']:.0f} tiles/s, "
            f"ours {middle['tiles'] / middle['wall']:.0f} tiles/s, idle {middle['idle_mb']:.0f} MB",
            file=sys.stderr,
        )
        rows += summary(side, kind, middle, ratio, rate)
    save(rows, arguments.json)


def summary(side: int, kind: str, middle: dict[str, float], ratio: float, rate: float) -> list[Row]:
    """Return the lines of one slide for the common table."""
    slide = f"{side:,}² px"
    ours = middle["tiles"] / middle["wall"]
    if kind == "nothing":
        raw = f"raw two-thread reads: {1 / middle['read_s']:.0f} tiles/s"
        return [
            Row(
                f"engine, {slide}, network that does nothing",
                f"{ours:.0f} tiles/s",
                raw,
                f"{rate:.2f}",
                "≥ 0.85",
            )
        ]
    limit = f"network + reads: {middle['tiles'] * (middle['network_s'] + middle['read_s']):.1f} s"
    kept_limit = middle["tiles"] * (middle["kept_network_s"] + middle["read_s"])
    return [
        Row(f"engine, {slide}, toy network", f"{middle['wall']:.1f} s", limit, f"{ratio:.2f}", "≤ 1.10"),
        Row(
            "the same, with the network alone timed as ours runs it, with memory kept",
            f"{middle['wall']:.1f} s",
            f"network + reads: {kept_limit:.1f} s",
            f"{middle['wall'] / kept_limit:.2f}",
        ),
        Row(
            f"peak memory above idle, {slide}",
            f"{middle['peak_mb']:.0f} MB",
            f"formula: {middle['formula_mb']:.0f} MB",
            f"{middle['peak_mb'] / middle['formula_mb']:.2f}",
            "≤ 600 MB",
        ),
    ]


if __name__ == "__main__":
    main()
