"""What painted regions say: which teach and which judge, and the truth about any rectangle of a slide. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiling.geometry import Box

__all__ = ["JUDGED", "Correction", "painted_by", "said_of", "teaches_next", "windows_of"]

JUDGED = 255
"""Where a region judges: nothing may be learned there."""

_TAUGHT_PER_JUDGED = 2
_MOST_WINDOWS = 200
"""Patches that one region becomes, at most."""


@dataclass(frozen=True)
class Correction:
    """One painted region.

    Attributes
    ----------
    slide_id : str
    box : Box
        Level-0 pixels.
    mpp : float
        µm per pixel of the mask.
    reader, time : str
    mask : (h, w) uint8
        Store labels; 0 where nothing is said.
    teaches : bool
        Whether models learn from it; else it judges them.
    """

    slide_id: str
    box: Box
    mpp: float
    reader: str
    time: str
    mask: NDArray[np.uint8]
    teaches: bool = True


def teaches_next(known: Iterable[tuple[str, Box, bool]], slide_id: str, box: Box) -> bool:
    """Return whether a new region teaches: two do for each one that judges, and where regions overlap all do the same.

    Decided once and kept with the region: a model that goes on from an earlier one has never learned from what judges.

    Parameters
    ----------
    known : iterable of (str, Box, bool)
        Slide, box and role of the regions so far.
    slide_id : str
    box : Box
        Of the new one.
    """
    roles = list(known)
    beneath = [teaches for slide, other, teaches in roles if slide == slide_id and _overlap(other, box)]
    if beneath:
        return any(beneath)
    teaching = sum(teaches for *_, teaches in roles)
    return teaching < _TAUGHT_PER_JUDGED * (len(roles) - teaching + 1)


def painted_by(
    correction: Correction, x: float, y: float, shape: tuple[int, int], step: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return what one region says of a rectangle.

    Parameters
    ----------
    correction : Correction
    x, y : float
        Corner of the rectangle, level-0 pixels.
    shape : (int, int)
        Its height and width in pixels.
    step : float
        Level-0 pixels per pixel of it.

    Returns
    -------
    said : (h, w) uint8
        Store labels; 0 where it says nothing.
    inside : (h, w) bool
        What of the rectangle lies in the region.
    """
    box = correction.box
    lines, columns = correction.mask.shape
    down = _cells(y, shape[0], step, box.y, box.height, lines)
    across = _cells(x, shape[1], step, box.x, box.width, columns)
    inside = (down >= 0)[:, None] & (across >= 0)
    return np.where(inside, correction.mask[np.ix_(down, across)], np.uint8(0)), inside


def said_of(
    corrections: Iterable[Correction], x: float, y: float, shape: tuple[int, int], step: float
) -> NDArray[np.uint8]:
    """Return what the regions of a slide teach about a rectangle: the last word counts.

    Parameters
    ----------
    corrections : iterable of Correction
        Of one slide.
    x, y, shape, step
        As in :func:`painted_by`.

    Returns
    -------
    (h, w) uint8
        Store labels; 0 where nothing is said; :data:`JUDGED` where a region judges.
    """
    said = np.zeros(shape, np.uint8)
    for correction in sorted(corrections, key=lambda c: (not c.teaches, c.time)):
        found, inside = painted_by(correction, x, y, shape, step)
        if correction.teaches:
            said[found > 0] = found[found > 0]
        else:
            said[inside] = JUDGED
    return said


def windows_of(box: Box, side: float) -> Iterator[tuple[float, float]]:
    """Yield the corners of squares that cover a region, each overlapping the next by half.

    Parameters
    ----------
    box : Box
        Level-0 pixels.
    side : float
        Of a square, level-0 pixels. One that is larger than the region begins at its corner.
    """
    corners = [(x, y) for y in _starts(box.y, box.height, side) for x in _starts(box.x, box.width, side)]
    if len(corners) > _MOST_WINDOWS:
        chosen = np.random.default_rng(0).permutation(len(corners))[:_MOST_WINDOWS]
        corners = [corners[index] for index in sorted(chosen.tolist())]
    yield from corners


def _starts(start: int, length: int, side: float) -> list[float]:
    last = max(0.0, length - side)
    steps = math.ceil(2 * last / side)
    return [start + last * i / max(1, steps) for i in range(steps + 1)]


def _cells(start: float, count: int, step: float, begin: int, length: int, cells: int) -> NDArray[np.intp]:
    """Return the cell of a painted line in which each pixel's middle lies; -1 outside."""
    found = np.floor((start + (np.arange(count) + 0.5) * step - begin) / length * cells)
    return np.where((found >= 0) & (found < cells), found, -1).astype(np.intp)


def _overlap(one: Box, other: Box) -> bool:
    return not one.intersection(other).is_empty
