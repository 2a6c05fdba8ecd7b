"""What a project keeps of a slide's corrected regions, put onto another result of the same slide. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from napari_wsss.plugin.correct.regions import Region
from napari_wsss.project import Correction
from tiling.geometry import Box
from tiling.store import Store

__all__ = ["regions_for"]


def regions_for(store: Store, corrections: Iterable[Correction], names: Sequence[str]) -> list[Region]:
    """Return kept regions as regions of a result, at its scale, in the order in which they were painted.

    Parameters
    ----------
    store : Store
        Of the same slide.
    corrections : iterable of Correction
    names : sequence of str
        Classes of the project. What the result has no class for, and what a region says nothing about, stays as the
        result has it.

    Returns
    -------
    list of Region
        They belong to no project: taking them back here leaves them there. Without those that lie beside the result
        or say nothing about its classes.
    """
    own = {name: label for label, name in enumerate(store.schema.names, start=1)}
    to_own = np.array([0, *(own.get(name, 0) for name in names)], np.uint8)
    levels = store.labels()[0]
    left, top = store.grid.level0(0, 0)
    whole = Box(0, 0, levels.shape[1], levels.shape[0])
    found = []
    for kept in sorted(corrections, key=lambda correction: correction.time):
        x, y = (kept.box.x - left) / store.scale, (kept.box.y - top) / store.scale
        right, bottom = x + kept.box.width / store.scale, y + kept.box.height / store.scale
        first = math.floor(x + 0.5), math.floor(y + 0.5)  # pixels whose centres lie in the region
        size = math.floor(right + 0.5) - first[0], math.floor(bottom + 0.5) - first[1]
        box = Box(*first, *size).intersection(whole) if min(size) > 0 else Box(0, 0, 0, 0)
        if box.is_empty:
            continue
        height, width = kept.mask.shape
        columns = (np.arange(box.x, box.right) + 0.5 - x) / (right - x) * width
        rows = (np.arange(box.y, box.bottom) + 0.5 - y) / (bottom - y) * height
        said = to_own[kept.mask[np.ix_(_within(rows, height), _within(columns, width))]]
        if said.any():
            before = np.asarray(levels[box.y : box.bottom, box.x : box.right])
            found.append(Region(box, np.where(said > 0, said, before), kept.reader, kept.time))
    return found


def _within(places: np.ndarray[tuple[int], np.dtype[np.float64]], length: int) -> np.ndarray:
    return np.clip(np.floor(places).astype(np.int64), 0, length - 1)
