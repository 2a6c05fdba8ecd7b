"""The head: a linear classifier on places, fitted on all tile labels in a fraction of a second. Pure maths.

A tile with one class teaches that class at each of its places. A tile with several teaches through the mean of its
places, which should hold its classes in equal parts: all that is known is that each is somewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

__all__ = ["Examples", "HeadWeights", "examples_of", "fit_weights", "softmax"]

PENALTY = 1e-2
"""Weight of the squared length of the weights beside the mean loss; the first value per place has a variance of 1."""

BALANCE = 0.5
"""How much a rare class counts more: 0 not at all, 1 as much as any other."""

_PRODUCTS = 1 << 18
"""Multiplications of a matrix product at most: OpenBLAS gives larger ones to several threads, and with a head's few
columns they wait for each other longer than they work, on a busy machine ten times as long."""


@dataclass(frozen=True)
class Examples:
    """What a head is fitted on.

    Attributes
    ----------
    values : (n, V) float32
        Features of places, and means of tiles that hold several classes.
    targets : (n, C) float32
        Rows sum to 1.
    weights : (n,) float32
        Every tile weighs 1 in all.
    """

    values: NDArray[np.float32]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class HeadWeights:
    """A linear softmax classifier.

    Attributes
    ----------
    matrix : (V, C) float32
    offset : (C,) float32
        −∞ for a class that no label names: it is never predicted.
    """

    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]

    def scores(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return logits, (..., V) -> (..., C)."""
        found: NDArray[np.float32] = np.asarray(values, np.float32) @ self.matrix + self.offset
        return found


def examples_of(values: NDArray[np.floating], present: NDArray[np.bool_]) -> Examples:
    """Make examples from labelled tiles.

    Parameters
    ----------
    values : (T, P, P, V) float
        Features of the labelled tiles.
    present : (T, C) bool
        Classes that each holds; at least one.
    """
    tiles, places, _, width = values.shape
    flat = np.asarray(values, np.float32).reshape(tiles, places * places, width)
    single = present.sum(1) == 1
    shares = (present / np.maximum(present.sum(1, keepdims=True), 1)).astype(np.float32)
    count = places * places
    return Examples(
        np.concatenate([flat[single].reshape(-1, width), flat[~single].mean(1)]),
        np.concatenate([np.repeat(shares[single], count, axis=0), shares[~single]]),
        np.concatenate([np.full(int(single.sum()) * count, 1 / count), np.ones(int((~single).sum()))]).astype(
            np.float32
        ),
    )


def fit_weights(
    examples: Examples, start: HeadWeights | None = None, penalty: float = PENALTY, steps: int = 60
) -> HeadWeights:
    """Fit a softmax classifier: cross-entropy against soft targets and a squared penalty, by L-BFGS.

    Parameters
    ----------
    examples : Examples
        At least one.
    start : HeadWeights, optional
        Where to begin: the head before the last click is close.
    penalty : float, optional
    steps : int, optional
        Most iterations.

    Returns
    -------
    HeadWeights
        The problem is convex, so the start changes the time and hardly the result.
    """
    named: NDArray[np.bool_] = np.asarray(examples.targets.any(0))
    columns = np.flatnonzero(named)
    targets = examples.targets[:, columns]
    values, weights = examples.values, _balanced(examples.weights, targets)
    width, classes = values.shape[1], len(columns)
    total = float(weights.sum())
    scratch = np.empty((len(values), classes), np.float32)
    parts = list(_blocks(len(values), width, classes))

    def loss(vector: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        now = vector.reshape(width + 1, classes)
        matrix, logits = now[:-1].astype(np.float32), scratch
        for part in parts:
            np.matmul(values[part], matrix, out=logits[part])
        logits += now[-1].astype(np.float32)
        logits -= logits.max(1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        value = -float(np.einsum("n,nc,nc->", weights, targets, logits, optimize=True)) / total
        np.exp(logits, out=logits)
        logits -= targets
        logits *= weights[:, None]
        gradient = np.zeros_like(now)
        for part in parts:
            gradient[:-1] += values[part].T @ logits[part]
        gradient[:-1] /= total
        gradient[:-1] += penalty * now[:-1]
        gradient[-1] = logits.sum(0, dtype=np.float64) / total
        return value + 0.5 * penalty * float(np.sum(now[:-1] ** 2)), gradient.ravel()

    first = np.zeros((width + 1, classes))
    if start is not None and start.matrix.shape == (width, len(named)):
        first[:-1] = start.matrix[:, columns]
        first[-1] = np.where(np.isfinite(start.offset[columns]), start.offset[columns], 0)
    found = minimize(
        loss,
        first.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "ftol": 1e-7, "gtol": 1e-5},
    )
    best = found.x.reshape(width + 1, classes).astype(np.float32)
    matrix = np.zeros((width, len(named)), np.float32)
    offset = np.full(len(named), -np.inf, np.float32)
    matrix[:, columns], offset[columns] = best[:-1], best[-1] - best[-1].mean()
    return HeadWeights(matrix, offset)


def _balanced(weights: NDArray[np.float32], targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return weights that let rare classes count more."""
    shares = weights @ targets
    factors = (shares.mean() / shares) ** BALANCE
    return np.asarray(weights * (targets @ factors), np.float32)


def label_places(values: NDArray[np.float16], head: HeadWeights) -> NDArray[np.uint8]:
    """Return the store label of every place, streamed in blocks.

    Parameters
    ----------
    values : (n, V) float16
        A place without features is NaN.
    head : HeadWeights

    Returns
    -------
    (n,) uint8
        Class index + 1; 0 where there are no features.
    """
    labels = np.empty(len(values), np.uint8)
    parts = list(_blocks(len(values), *head.matrix.shape))
    wide = np.empty((_longest(parts), values.shape[1]), np.float32)
    for part in parts:
        here = labels[part]
        block = wide[: len(here)]
        block[...] = values[part]
        scores = block @ head.matrix
        scores += head.offset
        np.add(scores.argmax(1), 1, out=here, casting="unsafe")
        here[np.isnan(block[:, 0])] = 0
    return labels


def entropies(values: NDArray[np.float16], head: HeadWeights) -> NDArray[np.float32]:
    """Return the entropy of the class probabilities of every place as a share of its maximum.

    Parameters
    ----------
    values : (n, V) float16
    head : HeadWeights

    Returns
    -------
    (n,) float32
        0 … 1; NaN where there are no features.
    """
    found = np.empty(len(values), np.float32)
    columns = np.isfinite(head.offset)
    matrix, offset = head.matrix[:, columns], head.offset[columns]
    for part in _blocks(len(values), *matrix.shape):
        probabilities = softmax(values[part].astype(np.float32) @ matrix + offset)
        logs = np.log(np.maximum(probabilities, 1e-12))
        found[part] = -(probabilities * logs).sum(1)
    return found / np.float32(np.log(max(2, columns.sum())))


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities over the last axis; changes ``scores``."""
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    return scores


def _blocks(rows: int, width: int, classes: int) -> Iterator[slice]:
    """Cut rows into parts whose product with a head stays on one core and in its cache."""
    length = max(64, _PRODUCTS // max(1, width * classes))
    for first in range(0, rows, length):
        yield slice(first, min(first + length, rows))


def _longest(parts: Sequence[slice]) -> int:
    return max((part.stop - part.start for part in parts), default=0)
