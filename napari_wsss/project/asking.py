"""Which tiles of a project to ask about next, and which to set aside for an honest test."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_wsss.project.cache import FeatureCache
from napari_wsss.project.core import ProjectCore
from napari_wsss.project.fitted import Head
from napari_wsss.project.head import entropies
from napari_wsss.project.suggest import first_tiles, most_telling, random_tiles
from napari_wsss.project.tiles import Tile, tile_of
from tiling.errors import FeaturesError

__all__ = ["Order", "ask", "draw_test_tiles"]

Order = Literal["telling", "random"]

_LEAST_TISSUE = 0.5


@dataclass(frozen=True)
class _Pool:
    """The tiles of all prepared slides that may be asked about."""

    slides: tuple[str, ...]
    slide: NDArray[np.int64]
    place: NDArray[np.int64]
    means: NDArray[np.float32]
    uncertainty: NDArray[np.float32]


def ask(
    project: ProjectCore,
    cache: FeatureCache,
    head: Head | None,
    count: int,
    order: Order,
    skip: Collection[Tile],
) -> list[Tile]:
    """Return tiles to ask about; see :meth:`napari_wsss.project.Project.suggest`."""
    labelled = {label.tile for label in project.labels()}
    pool = _pool(project, cache, head, labelled | set(skip))
    if order == "random":
        chosen = random_tiles(count, np.arange(len(pool.slide)), len(labelled) + len(skip))
    else:
        known = _labelled_means(project, cache, labelled)
        if head is None:
            chosen = first_tiles(pool.means, pool.slide, known, count)
        else:
            chosen = most_telling(pool.uncertainty, pool.means, pool.slide, known, count)
    return [_tile(project, pool, i) for i in chosen]


def draw_test_tiles(project: ProjectCore, cache: FeatureCache, count: int, seed: int) -> list[Tile]:
    """Draw tiles at random that have no label and are not set aside yet."""
    labelled = {label.tile for label in project.labels()}
    pool = _pool(project, cache, None, labelled)
    return [_tile(project, pool, i) for i in random_tiles(count, np.arange(len(pool.slide)), seed)]


def _tile(project: ProjectCore, pool: _Pool, index: int) -> Tile:
    slide_id = pool.slides[pool.slide[index]]
    row, column = pool.place[index].tolist()
    return tile_of(slide_id, project.grid(slide_id), row, column)


def _pool(project: ProjectCore, cache: FeatureCache, head: Head | None, without: Collection[Tile]) -> _Pool:
    """Collect what may be asked: prepared tiles, mostly tissue, without label, neither skipped nor set aside."""
    slides = tuple(s for s in project.slides if cache.problem(s) is None)
    if not slides:
        raise FeaturesError(
            f"No slide of {project.folder} is prepared yet; run `wsss-tile project prepare` or press Prepare."
        )
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]] = []
    for number, slide_id in enumerate(slides):
        features = cache.get(slide_id)
        taken = {tile.place for tile in without if tile.slide_id == slide_id}
        taken |= set(project.description.test.get(slide_id, ()))
        table, done = features.tiles, features.done
        means = _tile_means(features.values)
        tissue = table.tissue[:done]
        free = (tissue >= min(_LEAST_TISSUE, float(tissue.max(initial=0)))) & np.isfinite(means[:, 0])
        pairs = list(zip(table.row[:done].tolist(), table.column[:done].tolist(), strict=True))
        free &= np.array([pair not in taken for pair in pairs], np.bool_)
        unsure = np.zeros(done, np.float32)
        if head is not None:
            flat = features.values.reshape(-1, features.values.shape[-1])
            unsure = entropies(flat, head.weights).reshape(done, -1).mean(1)
        kept = np.flatnonzero(free)
        places = np.array(pairs, np.int64).reshape(-1, 2)[kept]
        parts.append((np.full(len(kept), number, np.int64), places, means[kept], unsure[kept]))
    slide, place, means, unsure = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _Pool(slides, slide, place, means, unsure)


def _labelled_means(
    project: ProjectCore, cache: FeatureCache, labelled: Collection[Tile]
) -> NDArray[np.float32]:
    """Return the mean features (L, V) of the labelled tiles that have some."""
    found = []
    for slide_id in project.slides:
        places = [tile.place for tile in labelled if tile.slide_id == slide_id]
        if places and cache.problem(slide_id) is None:
            found += [v.astype(np.float32).mean((0, 1)) for v in cache.tiles(slide_id, places).values()]
    return np.stack(found) if found else np.empty((0, 1), np.float32)


def _tile_means(values: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the mean over the places of every tile, (n, P, P, V) -> (n, V) float32."""
    count = values.shape[1] * values.shape[2]
    ones = np.full(count, 1 / count, np.float32)
    means = np.empty((len(values), values.shape[3]), np.float32)
    for first in range(0, len(values), 256):
        block = values[first : first + 256].astype(np.float32)
        means[first : first + 256] = ones @ block.reshape(len(block), count, -1)
    return means


def by_slide(tiles: Sequence[Tile]) -> dict[str, list[Tile]]:
    """Group tiles by their slide."""
    found: dict[str, list[Tile]] = {}
    for tile in tiles:
        found.setdefault(tile.slide_id, []).append(tile)
    return found
