"""How a project trains, from how much it knows: epochs, mosaics, batches. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Recipe", "recipe_for"]


@dataclass(frozen=True)
class Recipe:
    """Settings of the two stages that follow from the number of labels.

    Attributes
    ----------
    epochs1 : int
        Of stage 1.
    patches2 : int
        Patches that stage 2 sees in all: it has more of them than stage 1 where tiles without labels are added.
    epochs2 : int or None
        Of stage 2; None: from ``patches2``.
    batch_size : int
    mosaic1, mosaic2 : float
        Share of samples that are mixed from single-label tiles.
    exact1 : float
        Weight of stage 1's loss per pixel on tiles with one class and on mosaics.
    frozen1, frozen2 : int
        Stages of the encoder that stay as they are; batch norm keeps its statistics in all of it.
    select : {"best", "last"}
        Which epoch of stage 1: the best on val, where there is a val.
    """

    epochs1: int
    patches2: int
    epochs2: int | None
    batch_size: int
    mosaic1: float
    mosaic2: float
    exact1: float
    frozen1: int
    frozen2: int
    select: str

    def epochs_of_stage2(self, patches: int) -> int:
        """Return the epochs of stage 2 with so many patches."""
        return self.epochs2 or max(1, round(self.patches2 / max(patches, 1)))


def recipe_for(labels: int, single: int, classes: int, has_val: bool) -> Recipe:
    """Return the settings for an amount of labels.

    Parameters
    ----------
    labels : int
        Tiles that train.
    single : int
        Of these, the ones that hold one class: only they can be mixed.
    classes : int
        Classes that have a tile of their own among them.
    has_val : bool
        Whether there are painted masks.

    Notes
    -----
    Twice the labels take 1.4 times the steps. Stage 1 sees 300 tiles 12 times and 60 tiles 27 times; stage 2, which
    starts from its encoder, twice as many patches. What else was tried: ``docs/performance.md``.
    """
    epochs = min(30, max(6, round(12 * math.sqrt(300 / max(labels, 1)))))
    mixable = single >= 8 and classes >= 2
    return Recipe(
        epochs1=epochs,
        patches2=2 * epochs * labels,
        epochs2=None,
        batch_size=min(16, max(4, labels // 4)),
        mosaic1=0.3 if mixable else 0.0,
        mosaic2=0.4 if mixable else 0.0,
        exact1=1.0,
        frozen1=4,
        frozen2=3,
        select="best" if has_val else "last",
    )
