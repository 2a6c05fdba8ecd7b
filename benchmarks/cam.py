"""Pseudo masks of one pass against those of the reference's twelve, on the same full-size ResNet38 and patches.

The plain loop follows the description of the released code: one patch at a time; for every layer and every
class, present or not, a forward pass and a backward pass that also computes parameter gradients; maps from
averaged gradients. (The released code also loops over up to 4096 channels in Python; that is left out here
unless ``--channel-loop`` is given, so that the ratio measures passes.) Both ways start from pixels and end
with three masks. They run in turns, patch by patch, so that a busy machine slows both; the printed ratio is
the median over patches, and the masks must be equal.

    OMP_NUM_THREADS=2 python benchmarks/cam.py --patches 4
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rows import Row, save
from torch import Tensor, nn

from napari_wsss.models import ResNet38, load_stage1_weights, multilayer_gradcam, pseudo_mask, resize_maps
from tiling.synthetic import paint_patches

CLASSES = 4
Masks = dict[str, NDArray[np.uint8]]


def multi_label_patches(count: int, size: int) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Make generated patches with at least two classes, with their labels."""
    found: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]] = []
    with tempfile.TemporaryDirectory() as folder:
        paint_patches(folder, count=4 * count, val=0, test=0, size=size, single=0.0)
        for path in sorted(Path(folder, "train").glob("*.png")):
            label = np.array([digit == "1" for digit in path.stem.split("[")[-1].rstrip("]")])
            if label.sum() > 1:
                found.append((np.asarray(Image.open(path).convert("RGB")), label))
    return found[:count]


def seeded_network(weights: Path | None) -> ResNet38:
    """Build the full-size network with given weights, or random ones that keep the activations in range."""
    torch.manual_seed(0)
    network = ResNet38(CLASSES)
    if weights is not None:
        load_stage1_weights(network, weights)
    else:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.4, 0.8)
                nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


def as_input(pixels: NDArray[np.uint8]) -> Tensor:
    """Turn (H, W, 3) uint8 into (1, 3, H, W) float."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def one_pass(network: ResNet38, pixels: NDArray[np.uint8], present: NDArray[np.bool_]) -> Masks:
    """Make the masks with this package's code."""
    maps = multilayer_gradcam(network, as_input(pixels), classes=torch.from_numpy(present)[None])
    size = pixels.shape[0], pixels.shape[1]
    return {layer: pseudo_mask(resize_maps(value, size)[0], present) for layer, value in maps.items()}


def twelve_passes(
    network: ResNet38, pixels: NDArray[np.uint8], present: NDArray[np.bool_], channel_loop: bool
) -> Masks:
    """Make the masks with a forward and a full backward pass for every layer and class."""
    size = pixels.shape[0], pixels.shape[1]
    masks: Masks = {}
    for layer in network.cam_layers:
        maps = np.zeros((CLASSES, *size), np.float32)
        for category in range(CLASSES):
            activations = network.activations(as_input(pixels), (layer,))
            target = activations[layer]
            target.retain_grad()
            logits = network.classify(activations["bn7"])
            network.zero_grad()
            logits[0, category].backward(retain_graph=True)
            assert target.grad is not None
            weights = target.grad.mean((2, 3))[0]
            features = target.detach()[0]
            if channel_loop:
                raw = torch.zeros(features.shape[1:])
                for weight, channel in zip(weights, features, strict=True):
                    raw += weight * channel
            else:
                raw = torch.einsum("k,khw->hw", weights, features)
            maps[category] = resize_maps(raw[None, None], size)[0, 0].numpy()
        scaled = (maps - maps.min()) / (maps.max() - maps.min())
        scaled[~present] = 0
        masks[layer] = scaled.argmax(0).astype(np.uint8)
    network.zero_grad()
    return masks


def timed(work: Callable[[], Masks]) -> tuple[float, float, Masks]:
    """Run ``work`` and return its seconds, the CPU seconds of all its threads, and its result."""
    start, cpu = time.perf_counter(), time.process_time()
    masks = work()
    return time.perf_counter() - start, time.process_time() - cpu, masks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--weights", type=Path, help="a published stage-1 .pth file; default: random weights")
    parser.add_argument(
        "--channel-loop", action="store_true", help="add the released code's loop over channels"
    )
    parser.add_argument("--json", type=Path, help="write the rows of the table")
    options = parser.parse_args()
    network = seeded_network(options.weights)
    patches = multi_label_patches(options.patches, options.size)
    # Memory and kernels warm for both ways.
    one_pass(network, *patches[0])
    twelve_passes(network, *patches[0], channel_loop=False)
    rows = []
    for number, (pixels, present) in enumerate(patches):
        work: list[tuple[str, Callable[[], Masks]]] = [
            ("one pass", lambda p=pixels, q=present: one_pass(network, p, q)),
            ("twelve", lambda p=pixels, q=present: twelve_passes(network, p, q, options.channel_loop)),
        ]
        results = {name: timed(run) for name, run in (work if number % 2 else reversed(work))}
        (ours, ours_cpu, mine), (theirs, theirs_cpu, other) = results["one pass"], results["twelve"]
        row = {
            "classes": int(present.sum()),
            "one_pass_s": ours,
            "twelve_s": theirs,
            "ratio": theirs / ours,
            "cpu_ratio": theirs_cpu / ours_cpu,
            "equal": min(float((mine[layer] == other[layer]).mean()) for layer in mine),
        }
        rows.append(row)
        print(
            f"patch {number}: {row['classes']} classes, one pass {ours:.2f} s, twelve {theirs:.2f} s, "
            f"ratio {row['ratio']:.1f} (CPU {row['cpu_ratio']:.1f}), masks equal on {row['equal']:.4%}",
            flush=True,
        )
    ratio = statistics.median(row["ratio"] for row in rows)
    cpu_ratio = statistics.median(row["cpu_ratio"] for row in rows)
    same = all(row["equal"] >= 0.9999 for row in rows)
    print(f"median ratio {ratio:.1f} (CPU {cpu_ratio:.1f}), masks {'equal' if same else 'DIFFERENT'}")
    middle = {key: statistics.median(row[key] for row in rows) for key in ("one_pass_s", "twelve_s")}
    save(
        [
            Row(
                f"pseudo masks of a multi-label patch, full-size ResNet38, {options.size} px",
                f"{middle['one_pass_s']:.2f} s",
                f"12 passes: {middle['twelve_s']:.2f} s",
                f"{ratio:.1f} × as fast, masks {'equal' if same else 'DIFFERENT'}",
                "≥ 10 ×",
            )
        ],
        options.json,
    )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
