"""Draw the figures of docs/method.md with this package's code, on synthetic tissue.

python scripts/method_figures.py --out docs/img
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray

from napari_wsss.models import (
    apply_gate,
    load_bundle,
    multilayer_gradcam,
    pseudo_mask,
    resize_maps,
)
from tiling.synthetic import SyntheticSlide

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

SIDE = 224


def interesting_tile(slide: SyntheticSlide) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the tile with the most balanced classes, (T, T, 3) RGB, and its truth (T, T), 0 = background."""
    best: tuple[float, int, int] = (-1.0, 0, 0)
    for y in range(0, slide.height - SIDE, SIDE):
        for x in range(0, slide.width - SIDE, SIDE):
            share = np.bincount(slide.truth(x, y, SIDE, SIDE).ravel(), minlength=5) / SIDE**2
            score = float(np.sort(share[1:])[-3:].min()) - float(share[0])
            best = max(best, (score, x, y))
    _, x, y = best
    return slide.render(x, y, SIDE, SIDE), slide.truth(x, y, SIDE, SIDE)


def tile_where_the_gate_helps(
    slide: SyntheticSlide, bundle: Any, stage1: Any, stage2: Any
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the tile on which the gate mends most pixels, and its truth."""
    best: tuple[int, int, int] = (-1, 0, 0)
    for y in range(0, slide.height - SIDE, SIDE):
        for x in range(0, slide.width - SIDE, SIDE):
            truth = torch.from_numpy(slide.truth(x, y, SIDE, SIDE).astype(np.int64)) - 1
            if len(truth.unique()) < 2 or int((truth < 0).sum()):
                continue
            presence, logits = predict(slide.render(x, y, SIDE, SIDE), stage1, stage2)
            gated = gate(logits, presence, bundle)
            mended = int((gated.argmax(1) == truth).sum() - (logits.argmax(1) == truth).sum())
            best = max(best, (mended, x, y))
    _, x, y = best
    return slide.render(x, y, SIDE, SIDE), slide.truth(x, y, SIDE, SIDE)


def as_input(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Turn (T, T, 3) uint8 into (1, 3, T, T) float."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


@torch.inference_mode()
def predict(pixels: NDArray[np.uint8], stage1: Any, stage2: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the probabilities of stage 1 (1, C) and the logits of stage 2 (1, C, T, T)."""
    x = as_input(pixels)
    return stage1(x).sigmoid(), stage2(x)


def gate(logits: torch.Tensor, presence: torch.Tensor, bundle: Any) -> torch.Tensor:
    """Close the classes that stage 1 does not see."""
    return apply_gate(logits, presence, torch.tensor(bundle.gate.thresholds), bundle.gate.mode)


def show(axis: Any, image: NDArray[Any], title: str) -> None:
    """Put one picture into its place."""
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.axis("off")


def main() -> None:
    """Draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/img"))
    parser.add_argument("--seed", type=int, default=5, help="of the synthetic slide")
    arguments = parser.parse_args()
    bundle = load_bundle("synthetic-demo")
    names = bundle.schema.names
    slide = SyntheticSlide(3000, 3000, seed=arguments.seed)
    pixels, truth = interesting_tile(slide)
    colours = np.array([(255, 255, 255), *(c.rgb for c in bundle.schema.classes)], np.uint8)
    present = np.isin(np.arange(1, len(names) + 1), truth)
    stage1: Any = bundle.build_stage1()
    stage2: Any = bundle.build_stage2()

    # The way of a training patch: label -> maps -> masks.
    maps = multilayer_gradcam(stage1, as_input(pixels), classes=torch.from_numpy(present)[None])
    full = {layer: resize_maps(value, (SIDE, SIDE))[0].detach() for layer, value in maps.items()}
    classes = np.flatnonzero(present)
    figure, axes = plt.subplots(
        len(full), len(classes) + 2, figsize=(2 * (len(classes) + 2), 2.15 * len(full))
    )
    for row, (layer, value) in enumerate(full.items()):
        show(
            axes[row, 0],
            pixels,
            "patch: " + ", ".join(bundle.schema.classes[c].abbreviation for c in classes),
        )
        for column, c in enumerate(classes, start=1):
            own = value[c].numpy()
            heat = mpl.colormaps["inferno"]((own - own.min()) / (np.ptp(own) or 1))[..., :3]
            show(axes[row, column], 0.35 * pixels / 255 + 0.65 * heat, f"{layer}: {names[c]}")
        show(axes[row, -1], colours[pseudo_mask(value, present) + 1], f"pseudo mask of {layer}")
    legend(figure, bundle)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    save(figure, arguments.out / "method-pseudo-masks.jpg")

    # The way of a tile: stage 2, the gate.
    pixels, truth = tile_where_the_gate_helps(slide, bundle, stage1, stage2)
    presence, logits = predict(pixels, stage1, stage2)
    gated = gate(logits, presence, bundle)
    figure, axes = plt.subplots(1, 5, figsize=(11, 2.7), width_ratios=(1, 1, 1, 1, 1))
    show(axes[0], pixels, "tile")
    axes[1].barh(names, presence[0].numpy(), color=[c.color for c in bundle.schema.classes])
    for place, threshold in enumerate(
        bundle.gate.thresholds * (len(names) if len(bundle.gate.thresholds) == 1 else 1)
    ):
        axes[1].plot([threshold] * 2, [place - 0.4, place + 0.4], "k-", linewidth=1.5)
    axes[1].set_xlim(0, 1)
    axes[1].set_box_aspect(1)
    axes[1].tick_params(labelsize=7)
    axes[1].set_title("stage 1 says (line: gate)", fontsize=9)
    show(axes[2], colours[logits.argmax(1)[0].numpy() + 1], "stage 2 without the gate")
    show(axes[3], colours[gated.argmax(1)[0].numpy() + 1], "with the gate")
    show(axes[4], colours[truth], "truth")
    legend(figure, bundle)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    save(figure, arguments.out / "method-gate.jpg")


def legend(figure: Any, bundle: Any) -> None:
    """Name the colours at the bottom."""
    handles = [Patch(color=c.color, label=c.name) for c in bundle.schema.classes]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=8, frameon=False)


def save(figure: Any, path: Path) -> None:
    """Write a JPEG and close the figure."""
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 85})
    plt.close(figure)


if __name__ == "__main__":
    main()
