"""Which tiles a person should look at: those whose label would change most, glass left out. Pure, but for the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tiling.grid import TileGrid
from tiling.store import DOUBTS, FLAG_PREDICTED, Store

__all__ = [
    "HELD_SHARE",
    "ReviewEntry",
    "ReviewOrder",
    "disagreement",
    "most_of",
    "review_entries",
    "side_by_side",
]

ReviewOrder = Literal["uncertain", "disagreement", "artefacts"]

ARTEFACTS = {"blur": "out of focus", "pen": "pen", "fold": "a fold", "bubble": "gray without tissue"}
"""What the doubts about a tile's picture are called here."""

FULL_SHARE = 0.1
"""A class that fills this part of a tile is as present as stage 1 can say."""

LEAST_TISSUE = 0.3
"""A tile with less tissue than this teaches nothing: its doubt is about glass."""

HELD_SHARE = 0.15
"""A class that fills this part of a tile's tissue is said to be in it."""

SMALLEST_SHARE_TOLD = 0.005
"""A class that would read "0 %" is not named."""

_COARSE = 2048
_NEIGHBOUR = 0.5
"""What the neighbours of a chosen tile are still worth: what they show was just looked at."""


@dataclass(frozen=True)
class ReviewEntry:
    """A tile worth a look.

    Attributes
    ----------
    row, column : int
        Place in the lattice.
    score : float
        0 … 1, higher is more worth it: doubt times the share of tissue at stake.
    reason : str
        In words.
    classes : tuple of str
        What the result shows in it, in the order of the schema.
    tissue : float
        Share of the tile that is tissue.
    """

    row: int
    column: int
    score: float
    reason: str
    classes: tuple[str, ...] = ()
    tissue: float = 1.0


def side_by_side(grid: TileGrid) -> TileGrid:
    """Return the lattice of a run without its overlap: no tissue is asked about twice."""
    return TileGrid(grid.width, grid.height, grid.tile, grid.tile, grid.scale, grid.origin)


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


def review_entries(
    store: Store, order: ReviewOrder, limit: int = 200, lattice: TileGrid | None = None
) -> list[ReviewEntry]:
    """Return the tiles of a result that are most worth a look, first things first.

    Parameters
    ----------
    store : Store
        Complete or not: rows that were not run are left out.
    order : {"uncertain", "disagreement", "artefacts"}
        By mean confidence of stage 2, by the class on which the stages disagree most; or only tiles whose picture was
        doubted (out of focus, pen, a fold, gray without tissue), those with most doubts first. The reason of a tile
        names these doubts in every order.
    limit : int
        Largest number of entries.
    lattice : TileGrid, optional
        The tiles that are asked about, on the same slide: a project's. Default: those of the run, side by side.
    """
    lattice = lattice or side_by_side(store.grid)
    table = store.tiles()
    known = _run_tiles(store.grid, lattice)
    areas = _class_shares(store, lattice)
    tissue = areas.sum(-1)
    predicted = ((table["flags"][known] & FLAG_PREDICTED) > 0) & (tissue >= LEAST_TISSUE)
    if order == "uncertain":
        doubt = 1 - table["confidence"]
    elif order == "artefacts":
        found = np.array([(table["flags"] & flag) > 0 for flag in DOUBTS.values()]).sum(0)
        predicted &= found[known] > 0
        doubt = 1 - 0.5**found
    else:
        per_class = disagreement(table["presence"], table["shares"])
        doubt = per_class.max(1) if len(per_class) else np.zeros(0, np.float32)
    doubt = np.where(np.isfinite(doubt), doubt, 0.0)[known]
    worth = np.where(predicted, doubt * tissue, -1.0)
    return [
        _entry(store, table, int(known[row, column]), row, column, float(worth[row, column]), order, areas)
        for row, column in _spread(worth, limit)
    ]


def _spread(worth: NDArray[np.float64], limit: int) -> list[tuple[int, int]]:
    """Choose places by worth, one after the other; what lies beside a chosen one is worth less from then on."""
    left = worth.copy()
    chosen: list[tuple[int, int]] = []
    while len(chosen) < min(limit, left.size):
        row, column = divmod(int(left.argmax()), left.shape[1])
        if left[row, column] < 0:
            break
        chosen.append((row, column))
        around = left[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        around[around > 0] *= _NEIGHBOUR
        left[row, column] = -1.0
    return chosen


def _run_tiles(grid: TileGrid, lattice: TileGrid) -> NDArray[np.int64]:
    """Return for every place of the lattice the run's tile whose middle is nearest, (rows, columns) indices."""

    def nearest(count: int, axis: int, tiles: int) -> NDArray[np.int64]:
        middle = (np.arange(count) * lattice.stride + lattice.tile / 2) * lattice.scale + lattice.origin[axis]
        place = ((middle - grid.origin[axis]) / grid.scale - grid.tile / 2) / grid.stride
        return np.clip(np.rint(place), 0, tiles - 1).astype(np.int64)

    rows, columns = nearest(lattice.rows, 1, grid.rows), nearest(lattice.columns, 0, grid.columns)
    return np.asarray(rows[:, None] * grid.columns + columns[None])


def _class_shares(store: Store, lattice: TileGrid) -> NDArray[np.float64]:
    """Return the share of every place of the lattice that the result gives to each class, (rows, columns, C).

    Of the whole place: what hangs over the slide's edge shows nothing.
    """
    levels = store.labels()
    level = next((level for level in levels if max(level.shape) <= _COARSE), levels[-1])
    labels = np.asarray(level[...])
    height, width = labels.shape
    # Level-0 pixels per pixel of this level: the same for the whole pyramid, halved with rounding up.
    step_y, step_x = (store.grid.scale * n / m for n, m in zip(levels[0].shape, labels.shape, strict=True))

    def edges(count: int, axis: int, step: float) -> tuple[NDArray[Any], NDArray[Any]]:
        start = (
            np.arange(count) * lattice.stride * lattice.scale + lattice.origin[axis] - store.origin[axis]
        ) / step
        end = start + lattice.tile * lattice.scale / step
        low = np.rint(start).astype(int)
        return low, np.maximum(np.rint(end).astype(int), low + 1)

    top, bottom = edges(lattice.rows, 1, step_y)
    left, right = edges(lattice.columns, 0, step_x)
    area = (bottom - top)[:, None] * (right - left)[None]
    top, bottom = (np.clip(edge, 0, height) for edge in (top, bottom))
    left, right = (np.clip(edge, 0, width) for edge in (left, right))
    shares = np.empty((lattice.rows, lattice.columns, len(store.schema)))
    for index in range(len(store.schema)):
        total = np.zeros((height + 1, width + 1), np.int64)
        np.cumsum(np.cumsum(labels == index + 1, 0), 1, out=total[1:, 1:])
        rows = total[bottom] - total[top]
        shares[..., index] = (rows[:, right] - rows[:, left]) / area
    return shares


def most_of(names: Sequence[str], shares: NDArray[np.floating[Any]]) -> str:
    """Return in words the one or two classes that a tile is mostly made of.

    Parameters
    ----------
    names : sequence of str
    shares : (C,) float
        0 … 1.
    """
    most = [int(index) for index in np.argsort(-shares)[:2]]
    told = [index for index in most if shares[index] > SMALLEST_SHARE_TOLD] or most[:1]
    return ", ".join(f"{names[index]} {100 * shares[index]:.0f} %" for index in told)


def _entry(
    store: Store,
    table: dict[str, NDArray[Any]],
    tile: int,
    row: int,
    column: int,
    score: float,
    order: ReviewOrder,
    areas: NDArray[np.float64],
) -> ReviewEntry:
    presence, shares = table["presence"][tile], table["shares"][tile]
    names = store.schema.names
    if order != "disagreement":
        reason = most_of(names, shares)
    else:
        worst = int(disagreement(presence[None], shares[None])[0].argmax())
        reason = (
            f"{names[worst]}: expected in the tile with {100 * presence[worst]:.0f} %, "
            f"drawn on {100 * shares[worst]:.0f} % of it"
        )
    artefacts = [ARTEFACTS.get(name, name) for name, flag in DOUBTS.items() if table["flags"][tile] & flag]
    if artefacts:
        reason = f"{', '.join(artefacts).capitalize()}. {reason}"
    own = areas[row, column]
    tissue = float(own.sum())
    held = tuple(
        name for name, share in zip(names, own, strict=True) if tissue and share >= HELD_SHARE * tissue
    )
    return ReviewEntry(row, column, score, reason, held, tissue)
