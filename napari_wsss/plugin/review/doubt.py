"""Which tiles a person should look at: those of which stage 2 is unsure, or on which the two stages disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tiling.store import FLAG_PREDICTED, Store

__all__ = ["ReviewEntry", "ReviewOrder", "disagreement", "review_entries"]

ReviewOrder = Literal["uncertain", "disagreement"]

FULL_SHARE = 0.1
"""A class that fills this part of a tile is as present as stage 1 can say."""


@dataclass(frozen=True)
class ReviewEntry:
    """A tile worth a look.

    Attributes
    ----------
    row, column : int
        Place in the grid of the run.
    score : float
        0 … 1, higher is more worth it.
    reason : str
        In words.
    """

    row: int
    column: int
    score: float
    reason: str


def disagreement(presence: NDArray[np.float32], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much the stages disagree about each class of each tile, (N, C), 0 … 1.

    Parameters
    ----------
    presence : (N, C) float
        Stage 1: probability that the class is somewhere in the tile.
    shares : (N, C) float
        Stage 2: mean probability of the class over the tile. It is an area, not a presence: a tenth of the tile
        counts as fully there.
    """
    return np.asarray(np.abs(presence - np.clip(shares / FULL_SHARE, 0, 1)))


def review_entries(store: Store, order: ReviewOrder, limit: int = 200) -> list[ReviewEntry]:
    """Return the tiles of a store that are most worth a look, first things first.

    Parameters
    ----------
    store : Store
        Complete or not: rows that were not run are left out.
    order : {"uncertain", "disagreement"}
        By mean confidence of stage 2, or by the class on which the stages disagree most.
    limit : int
        Largest number of entries.
    """
    table = store.tiles()
    predicted = np.flatnonzero(table["flags"] & FLAG_PREDICTED)
    if order == "uncertain":
        scores = 1 - table["confidence"][predicted]
    else:
        per_class = disagreement(table["presence"][predicted], table["shares"][predicted])
        scores = per_class.max(1) if len(predicted) else np.zeros(0, np.float32)
    scores = np.where(np.isfinite(scores), scores, 0.0)
    first = np.argsort(-scores, kind="stable")[:limit]
    return [_entry(store, table, int(predicted[i]), float(scores[i]), order) for i in first]


def _entry(
    store: Store, table: dict[str, NDArray[Any]], tile: int, score: float, order: ReviewOrder
) -> ReviewEntry:
    row, column = divmod(tile, store.grid.columns)
    presence, shares = table["presence"][tile], table["shares"][tile]
    if order == "uncertain":
        first, second = np.argsort(-shares)[:2] if len(shares) > 1 else (0, 0)
        names = store.schema.names
        reason = f"{names[first]} {100 * shares[first]:.0f} %, {names[second]} {100 * shares[second]:.0f} %"
    else:
        worst = int(disagreement(presence[None], shares[None])[0].argmax())
        reason = (
            f"{store.schema.names[worst]}: stage 1 {100 * presence[worst]:.0f} %, "
            f"stage 2 {100 * shares[worst]:.0f} % of the area"
        )
    return ReviewEntry(row, column, score, reason)
