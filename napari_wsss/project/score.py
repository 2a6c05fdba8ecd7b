"""An honest score from weak labels: the head is fitted anew without a case and asked about it. Pure maths.

A tile with one class says what each of its places is; a tile with several says at least which classes are in none of
them. From both follow, for every class, places found, missed and wrongly claimed, and their intersection over union.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_wsss.project.head import HeadWeights, examples_of, fit_weights

__all__ = ["ClassScore", "Score", "cross_validate", "score_tiles"]

By = Literal["case", "slide", "region", "test"]

FOLDS = 5
ENOUGH_TILES = 5
"""Tiles that hold a class and nothing else, below which nothing is said about it."""
ENOUGH_FOR_ALL = 12
_RESAMPLES = 500
_LEVEL = (2.5, 97.5)
TOO_FEW = "too few labels to say"


@dataclass(frozen=True)
class ClassScore:
    """How well one class is told from the others.

    Attributes
    ----------
    name : str
    tiles : int
        Labelled tiles that hold nothing else.
    iou : float or None
        Intersection over union of places, 0 … 1; None: too few labels to say.
    low, high : float or None
        95 % interval by resampling what was left out together.
    """

    name: str
    tiles: int
    iou: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.iou is None:
            return f"{self.name}: {TOO_FEW}"
        return f"{self.name}: {self.iou:.2f} ({self.low:.2f}–{self.high:.2f})"


@dataclass(frozen=True)
class Score:
    """What may be said about a head.

    Attributes
    ----------
    by : {"case", "slide", "region", "test"}
        What was left out together, or ``test``: tiles that never trained.
    folds : int
        How many times the head was fitted.
    tiles : int
        Labelled tiles in all.
    mean : float or None
        Mean of the classes that have a score; None: too few labels to say.
    low, high : float or None
        Its 95 % interval.
    classes : tuple of ClassScore
        In the order of the schema.
    """

    by: By
    folds: int
    tiles: int
    mean: float | None
    low: float | None
    high: float | None
    classes: tuple[ClassScore, ...]

    def __str__(self) -> str:
        ways = {"case": "cases", "slide": "slides", "region": "regions", "test": "test tiles"}
        if self.mean is None:
            return f"{TOO_FEW} ({self.tiles} labelled tiles)"
        return f"mean IoU {self.mean:.2f} ({self.low:.2f}–{self.high:.2f}) over {ways[self.by]} left out"


def cross_validate(
    values: NDArray[np.floating],
    present: NDArray[np.bool_],
    cases: Sequence[str],
    slides: Sequence[str],
    middles: NDArray[np.floating],
    names: Sequence[str],
    seed: int = 0,
) -> Score:
    """Score a head by leaving out cases, slides where there is one case, regions where there is one slide.

    Parameters
    ----------
    values : (T, P, P, V) float
        Features of the labelled tiles.
    present : (T, C) bool
    cases, slides : sequence of str
        Of every tile.
    middles : (T, 2) float
        Level-0 x, y of every tile.
    names : sequence of str
        Of the classes.
    seed : int, optional
    """
    by, groups = _groups(cases, slides, middles, seed)
    folds = _folds(groups, seed)
    count = int(folds.max(initial=-1)) + 1
    if count < 2 or len(present) < ENOUGH_FOR_ALL:
        return _nothing(by, present, names)
    outcome = np.zeros((len(present), 3, present.shape[1]))
    for fold in range(count):
        out = folds == fold
        head = fit_weights(examples_of(values[~out], present[~out]))
        outcome[out] = outcomes(values[out], present[out], head)
    return _summary(by, count, outcome, present, groups, names, seed)


def score_tiles(
    values: NDArray[np.floating],
    present: NDArray[np.bool_],
    head: HeadWeights,
    groups: Sequence[str],
    names: Sequence[str],
    seed: int = 0,
) -> Score:
    """Score a head on tiles that it was not fitted on; arguments as in :func:`cross_validate`."""
    if len(present) < ENOUGH_FOR_ALL:
        return _nothing("test", present, names)
    outcome = outcomes(values, present, head)
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    # Cases are the honest unit; with only a few of them the tiles have to do.
    units = numbers if numbers.max(initial=0) >= FOLDS else np.arange(len(present))
    return _summary("test", 1, outcome, present, units, names, seed)


def outcomes(
    values: NDArray[np.floating], present: NDArray[np.bool_], head: HeadWeights
) -> NDArray[np.float64]:
    """Return (T, 3, C): shares of every tile's places that are found, missed and wrongly claimed per class."""
    tiles, classes = present.shape
    chosen = head.scores(values.reshape(tiles, -1, values.shape[-1])).argmax(-1)
    said = (chosen[..., None] == np.arange(classes)).mean(1)
    single = (present.sum(1) == 1)[:, None]
    found = np.where(single & present, said, 0.0)
    missed = np.where(single & present, 1.0 - said, 0.0)
    claimed = np.where(present, 0.0, said)
    return np.stack([found, missed, claimed], 1)


def _summary(
    by: By,
    folds: int,
    outcome: NDArray[np.float64],
    present: NDArray[np.bool_],
    groups: NDArray[np.int64],
    names: Sequence[str],
    seed: int,
) -> Score:
    single = present & (present.sum(1) == 1)[:, None]
    tiles = single.sum(0)
    enough = tiles >= ENOUGH_TILES
    if not enough.any():
        return _nothing(by, present, names)
    sums = np.zeros((int(groups.max()) + 1, *outcome.shape[1:]))
    np.add.at(sums, groups, outcome)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), _RESAMPLES)
    resampled = _iou(np.tensordot(drawn.astype(np.float64), sums, 1))
    point = _iou(outcome.sum(0)[None])[0]
    low, high = np.nanpercentile(resampled[:, enough], _LEVEL, axis=0)
    bounds = iter(zip(low.tolist(), high.tolist(), strict=True))
    classes = []
    for name, count, score, known in zip(names, tiles.tolist(), point.tolist(), enough, strict=True):
        limits = next(bounds) if known else (None, None)
        classes.append(ClassScore(name, count, score if known else None, *limits))
    drawn_means = resampled[:, enough]
    drawn_means = drawn_means[
        np.isfinite(drawn_means).any(1)
    ]  # no class that counts may have been drawn at all
    means = np.nanmean(drawn_means, axis=1)
    least, most = np.nanpercentile(means, _LEVEL).tolist()
    mean = float(np.nanmean(point[enough]))
    return Score(by, folds, len(present), mean, least, most, tuple(classes))


def _iou(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, C) from (n, 3, C); NaN where a class does not occur."""
    found, missed, claimed = sums[:, 0], sums[:, 1], sums[:, 2]
    total = found + missed + claimed
    return np.where(found + missed > 0, found / np.where(total > 0, total, 1), np.nan)


def _nothing(by: By, present: NDArray[np.bool_], names: Sequence[str]) -> Score:
    single = (present & (present.sum(1) == 1)[:, None]).sum(0).tolist() or [0] * len(names)
    classes = tuple(ClassScore(n, t, None, None, None) for n, t in zip(names, single, strict=True))
    return Score(by, 0, len(present), None, None, None, classes)


def _groups(
    cases: Sequence[str], slides: Sequence[str], middles: NDArray[np.floating], seed: int
) -> tuple[By, NDArray[np.int64]]:
    """Return what is left out together, as numbers from 0."""
    for by, names in (("case", cases), ("slide", slides)):
        numbers = np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)
        if numbers.max(initial=0) > 0:
            return by, numbers  # type: ignore[return-value]
    return "region", _regions(np.asarray(middles, np.float64), seed)


def _regions(middles: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Cut the labelled tiles of one slide into compact regions: neighbours look alike and must not be on both sides."""
    from scipy.cluster.vq import kmeans2

    count = min(FOLDS, len(np.unique(middles, axis=0)) // 2)
    if count < 2:
        return np.zeros(len(middles), np.int64)
    spread = middles.std(0)
    _, numbers = kmeans2(
        middles / np.where(spread > 0, spread, 1), count, minit="++", rng=np.random.default_rng(seed)
    )
    return np.unique(numbers, return_inverse=True)[1].astype(np.int64)


def _folds(groups: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Deal groups out to at most :data:`FOLDS` folds of about the same size, largest first."""
    if not len(groups):
        return groups
    sizes = np.bincount(groups)
    count = min(FOLDS, len(sizes))
    filled = np.zeros(count, np.int64)
    fold = np.zeros(len(sizes), np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    return fold[groups]
