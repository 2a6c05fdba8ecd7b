"""Which tiles to ask about: those that teach most, far from each other, spread over slides. Pure maths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["first_tiles", "most_telling"]


def most_telling(
    uncertainty: NDArray[np.floating],
    means: NDArray[np.floating],
    slides: NDArray[np.integer],
    labelled: NDArray[np.floating],
    count: int,
) -> list[int]:
    """Choose tiles one after the other: uncertain, and unlike what is labelled or chosen already.

    Parameters
    ----------
    uncertainty : (N,) float
        Of every tile that may be asked about, 0 … 1.
    means : (N, V) float
        Mean features of these tiles.
    slides : (N,) int
        Number of the slide of each.
    labelled : (L, V) float
        Mean features of the tiles that have a label; L may be 0.
    count : int

    Returns
    -------
    list of int
        Indexes, first the one that teaches most; fewer when there are fewer tiles.

    Notes
    -----
    Greedy k-centre (Sener and Savarese, ICLR 2018) with distances weighted by the mean entropy of the tile's places,
    which is also lowered for slides that were chosen from before in this round.
    """
    far = _distances(means, labelled)
    worth = np.asarray(uncertainty, np.float64).copy()
    taken = np.zeros(int(slides.max(initial=-1)) + 1)
    chosen: list[int] = []
    for _ in range(min(count, len(worth))):
        value = worth * np.where(np.isinf(far), 1.0, np.sqrt(far)) / (1.0 + taken[slides])
        value[chosen] = -1.0
        best = int(value.argmax())
        chosen.append(best)
        taken[slides[best]] += _slide_weight(taken)
        far = np.minimum(far, _distances(means, means[best : best + 1]))
    return chosen


def first_tiles(
    means: NDArray[np.floating], slides: NDArray[np.integer], labelled: NDArray[np.floating], count: int
) -> list[int]:
    """Choose tiles before there is a head: those that stand for the kinds of tissue that there are.

    Parameters
    ----------
    means, slides, labelled, count
        As in :func:`most_telling`.

    Returns
    -------
    list of int
        The tile nearest to the middle of each of ``count`` clusters, largest cluster first.
    """
    from scipy.cluster.vq import kmeans2

    if len(means) <= count:
        return list(range(len(means)))
    rng = np.random.default_rng(len(labelled))
    some = np.sort(rng.permutation(len(means))[:_CLUSTERED])
    points = np.asarray(means[some], np.float64)
    middles, numbers = kmeans2(points, count, minit="++", rng=rng)
    sizes = np.bincount(numbers, minlength=count)
    chosen: list[int] = []
    for cluster in np.argsort(-sizes, kind="stable"):
        distance = ((points - middles[cluster]) ** 2).sum(1)
        distance[[i for i, tile in enumerate(some.tolist()) if tile in chosen]] = np.inf
        chosen.append(int(some[distance.argmin()]))
    return chosen


_CLUSTERED = 4000


def _slide_weight(taken: NDArray[np.float64]) -> float:
    """With one slide there is nothing to spread over."""
    return 0.5 if len(taken) > 1 else 0.0


def _distances(means: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return for every row of ``means`` the squared distance to the nearest of ``others``; infinite for none."""
    nearest = np.full(len(means), np.inf)
    norms = np.einsum("nv,nv->n", means, means, dtype=np.float64)
    for first in range(0, len(others), _AT_ONCE):
        part = others[first : first + _AT_ONCE]
        squared = norms[:, None] + np.einsum("lv,lv->l", part, part)[None] - 2.0 * (means @ part.T)
        nearest = np.minimum(nearest, squared.min(1))
    return np.asarray(np.maximum(nearest, 0.0))


_AT_ONCE = 256


def random_tiles(count: int, available: Sequence[int] | NDArray[np.integer], seed: int) -> list[int]:
    """Choose tiles at random: the honest order for test sets, and the one that other orders are compared with."""
    drawn = np.random.default_rng(seed).permutation(np.asarray(available))[:count]
    return [int(i) for i in drawn]
