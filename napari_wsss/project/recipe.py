"""How a project trains, from how much it knows: patches, mosaics, batches. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = ["MANY", "Recipe", "recipe_for"]

MANY = 150
"""Labels from which they are many: between the amounts that were tried, 60 and 300."""


@dataclass(frozen=True)
class Recipe:
    """Settings of stage 2 that follow from the number of labels.

    Attributes
    ----------
    patches : int
        Patches that it sees in all.
    epochs : int or None
        None: from ``patches``.
    batch_size : int
    mosaic : float
        Share of samples that are mixed from single-label tiles.
    frozen : int
        Stages of the encoder that stay as they are; batch norm keeps its statistics in all of it.
    head_channels : int
        Width of the decoder, where it does not come with the encoder.
    side : int
        Pixels along a tile that the general encoder looks at, at least.
    partial_labels : float
        Say of the label alone in tiles of several classes, in the place of what the sketch draws there.
    ema : float
        Decay of the averaged weights; 0: the weights as they are at the end.
    lr_going_on : float
        Learning rate where a trained model of the project is gone on from.
    """

    patches: int
    epochs: int | None
    batch_size: int
    mosaic: float
    frozen: int = 3
    head_channels: int = 64
    side: int = 160
    partial_labels: float = 0.0
    ema: float = 0.0
    lr_going_on: float = 1.5e-4

    def going_on(self) -> Recipe:
        """Return the settings where a trained model is gone on from: it has half the way behind it."""
        return replace(self, patches=self.patches // 2)

    def epochs_of(self, patches: int) -> int:
        """Return the epochs with so many patches, tiles without labels among them."""
        return self.epochs or max(1, round(self.patches / max(patches, 1)))


def recipe_for(labels: int, single: int, classes: int) -> Recipe:
    """Return the settings for an amount of labels.

    Parameters
    ----------
    labels : int
        Tiles that train.
    single : int
        Of these, the ones that hold one class: only they can be mixed.
    classes : int
        Classes that have a tile of their own among them.

    Notes
    -----
    Twice the labels take 1.4 times the steps: 60 tiles are 3,300 patches, 300 tiles 7,400. What else was tried:
    ``docs/performance.md``. With many labels a network knows better than a sketch where in a tile a class lies;
    with few it does not.
    """
    many = labels >= MANY
    mixable = single >= 8 and classes >= 2
    return Recipe(
        patches=round(3300 * math.sqrt(max(labels, 1) / 60)),
        epochs=None,
        batch_size=min(16, max(4, labels // 4)),
        mosaic=0.4 if mixable else 0.0,
        partial_labels=1.0 if many and mixable else 0.0,
        ema=0.98 if many and mixable else 0.0,
    )
