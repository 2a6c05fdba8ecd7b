"""Backends and precisions against plain torch: speed as ratios of one interleaved run, and label agreement.

For the light pair (the embedded bundle, or fresh networks when there is none) and the full pair (ResNet38 and
DeepLabV3+ on ResNet101, fresh weights): the whole prediction of a batch, gate and softmax included. *Torch eager* is
what a user of the reference would write: fp32, contiguous NCHW, nothing folded. Every round times every variant once,
in another order; medians over rounds. Processor time is printed beside wall time because it hardly suffers when other
programs use the machine (with OMP_NUM_THREADS=1, where threads do not wait for each other). Agreement is the share of
pixels with the label of torch eager, on the tissue tiles of the CMU slide when it is there, else on synthetic tissue.

    OMP_NUM_THREADS=2 python benchmarks/backends.py --pair light full
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import Row, save

from napari_wsss.backends import check_tiles
from napari_wsss.models import (
    Bundle,
    apply_gate,
    build_stage1,
    build_stage2,
    default_bundle,
    list_bundles,
    load_bundle,
    save_bundle,
)
from napari_wsss.predictor import BundlePredictor
from tiling.plan import TissueParameters, tissue_mask
from tiling.slides import open_slide
from tiling.synthetic import SYNTHETIC_SCHEMA

CMU = Path(__file__).resolve().parents[2] / "shared" / "slides" / "cmu-1-small-region.svs"
VARIANTS = [(b, p) for b in ("torch", "openvino") for p in ("fp32", "mixed", "bf16")]
COMPILED = [("compile", "bf16")]  # the light pair alone: the full one takes minutes to compile
PAIRS = {"light": ("efficientnet-lite0", "efficientnet-lite0"), "full": ("resnet38", "resnet101")}


class Eager:
    """Torch as one would write it first."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.stage1: Any = bundle.build_stage1().requires_grad_(False)
        self.stage2: Any = bundle.build_stage2()
        self.stage2.requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return probabilities (N, C, T, T)."""
        x = (torch.from_numpy(pixels).float() / 255).permute(0, 3, 1, 2).contiguous()
        presence = self.stage1(x).sigmoid()
        gate = self.bundle.gate
        logits = apply_gate(self.stage2(x), presence, torch.tensor(gate.thresholds), gate.mode)
        return logits.softmax(1).numpy()


def fresh(kind: str, folder: Path) -> Bundle:
    """Save a bundle of networks with fresh weights and batch norms as if trained a little."""
    torch.manual_seed(0)
    stage1, backbone = PAIRS[kind]
    networks = build_stage1(stage1, 4), build_stage2("deeplabv3plus", 4, backbone=backbone)
    for network in networks:
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        # One pass in training mode: without it the maps of fresh networks explode or vanish.
        tiles = torch.from_numpy(check_tiles(224, 0.5)[:2].copy()).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.training = True
            network(tiles)
            network.eval()
    return save_bundle(
        folder,
        name=f"fresh-{kind}",
        schema=SYNTHETIC_SCHEMA,
        mpp=0.5,
        tile=224,
        stage1=networks[0],
        stage2=networks[1],
    )


def tissue_tiles(bundle: Bundle, count: int) -> tuple[str, np.ndarray]:
    """Return tiles with at least half tissue, spread over the slide."""
    if not CMU.exists():
        return "synthetic tissue", check_tiles(bundle.tile, bundle.mpp)[:count].copy()
    with open_slide(CMU) as slide:
        step = bundle.tile * bundle.mpp / slide.require_mpp()
        thumbnail = slide.thumbnail(512)
        mask = tissue_mask(
            thumbnail, slide.require_mpp() * slide.bounds.width / thumbnail.shape[1], TissueParameters()
        )
        scale = thumbnail.shape[1] / slide.bounds.width
        places = []
        for y in np.arange(0, slide.dimensions[1] - step + 1, step):
            for x in np.arange(0, slide.dimensions[0] - step + 1, step):
                part = mask[
                    int(y * scale) : int((y + step) * scale), int(x * scale) : int((x + step) * scale)
                ]
                if part.size and part.mean() >= 0.5:
                    places.append((x, y))
        chosen = [
            places[i] for i in np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)
        ]
        tiles = [slide.read(float(x), float(y), bundle.tile, bundle.tile, mpp=bundle.mpp) for x, y in chosen]
    return "CMU slide", np.stack(tiles)


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Time one call: wall and processor seconds (of all threads)."""
    start, busy = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - busy


def measure(kind: str, bundle: Bundle, batch: int, tiles: int, rounds: int) -> list[Row]:
    """Print the table of one pair and return its lines for the common one."""
    source, pixels = tissue_tiles(bundle, tiles)
    eager = Eager(bundle)
    run: dict[str, Callable[[np.ndarray], np.ndarray]] = {"torch eager": eager}
    for backend, precision in VARIANTS + (COMPILED if kind == "light" else []):
        predictor = BundlePredictor(bundle, device="cpu", backend=backend, precision=precision)
        run[f"{backend} {precision}"] = lambda x, p=predictor: p(x).probabilities
    start = time.perf_counter()
    chosen = BundlePredictor(bundle, device="cpu")
    first = time.perf_counter() - start
    again, _ = seconds(lambda: BundlePredictor(bundle, device="cpu"))
    default = f"{chosen.backend} {chosen.precision}"

    batches = [pixels[i : i + batch] for i in range(0, len(pixels), batch)]
    labels = {name: np.concatenate([call(b).argmax(1) for b in batches]) for name, call in run.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in run}
    for number in range(rounds):
        order = list(run)
        random.Random(number).shuffle(order)
        for name in order:
            taken[name].append(seconds(lambda n=name: run[n](pixels[:batch])))
    count = len(pixels[:batch])
    middle = {
        name: [statistics.median(pair[i] for pair in pairs) / count for i in (0, 1)]
        for name, pairs in taken.items()
    }
    base = middle["torch eager"]
    print(
        f"\n{kind} pair ({bundle.name}), {len(pixels)} tiles of {bundle.tile} px ({source}), "
        f"{torch.get_num_threads()} threads, batch {batch}, {rounds} rounds; start {first:.1f} s, again {again:.1f} s\n"
    )
    print("| backend | tiles/s | × eager | CPU ms/tile | × eager | labels as eager |")
    print("|---|---|---|---|---|---|")
    rows = []
    for name, (wall, busy) in middle.items():
        same = float(np.mean(labels[name] == labels["torch eager"]))
        mark = " (default)" if name == default else ""
        print(
            f"| {name}{mark} | {1 / wall:.1f} | {base[0] / wall:.2f} | {1000 * busy:.0f} | {base[1] / busy:.2f} "
            f"| {same:.2%} |",
            flush=True,
        )
        if name != "torch eager":
            rows.append(
                Row(
                    f"prediction, {kind} pair, {name}{mark}",
                    f"{1 / wall:.1f} tiles/s",
                    f"torch eager: {1 / base[0]:.1f} tiles/s",
                    f"{base[0] / wall:.1f} × as fast, {same:.2%} equal labels",
                    "≥ 4 ×, ≥ 99.5 %" if kind == "light" and mark else "",
                )
            )
    for note in chosen.notes:
        print(note, file=sys.stderr)
    return rows


def main() -> None:
    """Run the pairs asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pair", choices=[*PAIRS], nargs="+", default=[*PAIRS])
    parser.add_argument("--bundle", help="for the light pair: a bundle's name or folder")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tiles", type=int, default=96, help="for the agreement of the light pair")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the rows of the table")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for kind in arguments.pair:
            if kind == "light" and (arguments.bundle or list_bundles()):
                bundle = load_bundle(arguments.bundle or default_bundle())
            else:
                bundle = fresh(kind, Path(work, kind))
            size = (arguments.batch, arguments.tiles, arguments.rounds) if kind == "light" else (4, 4, 3)
            rows += measure(kind, bundle, *size)
    save(rows, arguments.json)


if __name__ == "__main__":
    main()
