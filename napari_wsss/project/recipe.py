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
    epochs1, epochs2 : int
        Of stage 1 and stage 2.
    batch_size : int
    mosaic1, mosaic2 : float
        Share of samples that are mixed from single-label tiles.
    select : {"best", "last"}
        Which epoch of stage 1: the best on val, where there is a val.
    """

    epochs1: int
    epochs2: int
    batch_size: int
    mosaic1: float
    mosaic2: float
    select: str


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
    Twice the labels take 1.4 times the steps, so that 300 tiles are seen 12 times and 60 tiles 27 times.
    """
    epochs = min(30, max(6, round(12 * math.sqrt(300 / max(labels, 1)))))
    mixable = single >= 8 and classes >= 2
    return Recipe(
        epochs1=epochs,
        epochs2=epochs,
        batch_size=min(16, max(4, labels // 4)),
        mosaic1=0.0,
        mosaic2=0.4 if mixable else 0.0,
        select="best" if has_val else "last",
    )
