"""Pictures after every epoch: a page of windows with what is known of them and the prediction, and the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tiling.classes import ClassSchema
from tiling.files import replacing
from training.data import EvaluationSet
from training.loop.pages import contact_sheet, learning_curves, overlay
from training.loop.run_folder import RunFolder

if TYPE_CHECKING:
    from training.loop.trainee import Trainee

__all__ = ["Reporter", "SamplePages"]


@dataclass(frozen=True)
class SamplePages:
    """Which windows the page shows: ``count`` of them, evenly spread; ``known`` is the heading of their masks."""

    schema: ClassSchema
    windows: EvaluationSet
    count: int = 8
    known: str = "truth"

    @property
    def chosen(self) -> list[int]:
        """Indexes of the windows."""
        return sorted({int(i) for i in np.linspace(0, len(self.windows) - 1, self.count)})


class Reporter:
    """Writes ``samples/epoch_NNN.png`` and ``curves.png`` into the run folder.

    Parameters
    ----------
    folder : RunFolder
    pages : SamplePages or None
        None: curves only.
    """

    def __init__(self, folder: RunFolder, pages: SamplePages | None) -> None:
        self.folder = folder
        self.pages = pages

    def after_epoch(self, trainee: Trainee, rows: Sequence[Mapping[str, float]]) -> None:
        """Draw both pictures for the epoch of the last row; pictures never decide anything."""
        learning_curves(rows).save(self.folder.path / "curves.png")
        if self.pages is None:
            return
        sheet = contact_sheet(
            self._rows(trainee, self.pages), self.pages.schema, f"epoch {int(rows[-1]['epoch'])}"
        )
        samples = self.folder.path / "samples"
        samples.mkdir(exist_ok=True)
        with replacing(
            samples / f"epoch_{int(rows[-1]['epoch']):03}.png"
        ) as file:  # somebody may be watching
            sheet.save(file, format="PNG")

    def _rows(self, trainee: Trainee, pages: SamplePages) -> list[tuple[str, dict[str, Any]]]:
        items = [pages.windows[i] for i in pages.chosen]
        images = torch.stack([image for image, _ in items])
        training = trainee.network.training
        with trainee.averaged(), torch.no_grad():
            trainee.network.eval()
            found = trainee.label_maps(images.to(trainee.device))
        trainee.network.train(training)
        maps = {name: labels.cpu().numpy().astype(np.uint8) for name, labels in found.items()}
        rows = []
        for n, (index, (image, mask)) in enumerate(zip(pages.chosen, items, strict=True)):
            pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
            pictures = {"patch": pixels, pages.known: overlay(pixels, mask.numpy(), pages.schema)}
            pictures |= {name: overlay(pixels, labels[n], pages.schema) for name, labels in maps.items()}
            number, x, y = pages.windows.windows[index]
            rows.append((f"{pages.windows.pairs[number].image.name} at {x}, {y}", pictures))
        return rows
