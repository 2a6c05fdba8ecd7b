"""One step of training, ours against a plain transcription, on the light pair; medians of an interleaved run.

*Ours* is what ``training.stage1`` and ``training.stage2`` do with a batch: the trainee's loss, backward, clipping,
AdamW. *Plain* is the same step as one writes it first: contiguous NCHW, the loss of the released code (one masked copy
of the logits per pseudo-mask layer in stage 2), the same optimiser. Networks, batches and thread count are equal.

    OMP_NUM_THREADS=2 python benchmarks/training_step.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rows import Row, save
from torch import Tensor

from napari_wsss.models import build_stage1, build_stage2
from training.networks import ClassifierTrainee, SegmenterTrainee
from training.settings import PRESETS, LearningRateSchedule, override

CLASSES = 4


def step_of(loss: Callable[[], Tensor], network: torch.nn.Module) -> Callable[[], None]:
    """Return one optimisation step."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()

    return step


def stage1_steps(images: Tensor, labels: Tensor) -> dict[str, Callable[[], None]]:
    """Return our step and the plain one."""
    settings = PRESETS["recommended"].stage1
    ours = build_stage1("efficientnet-lite0", CLASSES)
    plain: Any = build_stage1("efficientnet-lite0", CLASSES)
    trainee = ClassifierTrainee(ours, settings, LearningRateSchedule("poly", 1, 100), 1).train()

    def plain_loss() -> Tensor:
        return F.multilabel_soft_margin_loss(plain(images), labels)

    return {
        "ours": step_of(lambda: trainee.loss((images, labels, torch.zeros(len(images)))), ours),
        "plain": step_of(plain_loss, plain.train()),
    }


def stage2_steps(images: Tensor, labels: Tensor, masks: Tensor) -> dict[str, Callable[[], None]]:
    """Return our step and the plain one."""
    settings = override(PRESETS["recommended"].stage2, {"layer_weights": (0.6, 0.2, 0.2)})
    ours = build_stage2("deeplabv3plus", CLASSES, backbone="efficientnet-lite0")
    plain: Any = build_stage2("deeplabv3plus", CLASSES, backbone="efficientnet-lite0")
    stage1 = build_stage1("efficientnet-lite0", CLASSES)
    trainee = SegmenterTrainee(ours, stage1, settings, LearningRateSchedule("poly", 1, 100), 1).train()

    def plain_loss() -> Tensor:
        logits = plain(images)
        total = torch.zeros(())
        for layer, weight in enumerate((0.6, 0.2, 0.2)):
            target = masks[:, layer]
            # The ignored index is an extra class with the logit 100 at its own pixels.
            ignored = (target == CLASSES).float()[:, None]
            extended = torch.cat([logits * (1 - ignored), 100 * ignored], 1)
            total = total + weight * F.cross_entropy(extended, target)
        return total

    return {
        "ours": step_of(lambda: trainee.loss((images, masks, labels)), ours),
        "plain": step_of(plain_loss, plain.train()),
    }


def measure(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Return median seconds per step, taken in turns."""
    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name in list(steps)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            steps[name]()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def main() -> None:
    """Measure both stages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the rows of the table")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    images = torch.rand(arguments.batch, 3, arguments.size, arguments.size)
    labels = torch.randint(0, 2, (arguments.batch, CLASSES)).float()
    masks = torch.randint(0, CLASSES + 1, (arguments.batch, 3, arguments.size, arguments.size))
    rows = []
    for name, steps in (
        ("stage 1", stage1_steps(images, labels)),
        ("stage 2", stage2_steps(images, labels, masks)),
    ):
        found = measure(steps, arguments.rounds)
        per_image = {who: 1000 * seconds / arguments.batch for who, seconds in found.items()}
        rows.append(
            Row(
                f"training step, light {name}, {arguments.size} px",
                f"{per_image['ours']:.0f} ms per patch",
                f"plain: {per_image['plain']:.0f} ms per patch",
                f"{found['plain'] / found['ours']:.2f} × as fast",
            )
        )
        print(f"{rows[-1].what}: {rows[-1].ours}, {rows[-1].compared}, {rows[-1].ratio}", flush=True)
    save(rows, arguments.json)


if __name__ == "__main__":
    main()
