"""From labels in force to a head: which tiles teach, which are only for testing, and what a person should know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from napari_wsss.project.cache import FeatureCache
from napari_wsss.project.core import ProjectCore
from napari_wsss.project.fitted import Head, Taught
from napari_wsss.project.head import HeadWeights, examples_of, fit_weights
from napari_wsss.project.tiles import TileLabel
from tiling.errors import FewLabelsError

__all__ = ["agreed_labels", "fit_head", "taught_tiles"]


def agreed_labels(labels: Sequence[TileLabel]) -> tuple[list[TileLabel], list[list[TileLabel]]]:
    """Return one label per tile where its readers agree, and the labels of each tile where they do not."""
    by_tile: dict[object, list[TileLabel]] = defaultdict(list)
    for label in labels:
        by_tile[label.tile].append(label)
    agreed, contradictory = [], []
    for same in by_tile.values():
        if len({label.present for label in same}) == 1:
            agreed.append(same[-1])
        else:
            contradictory.append(same)
    return agreed, contradictory


def taught_tiles(project: ProjectCore, cache: FeatureCache) -> tuple[Taught, Taught, tuple[str, ...]]:
    """Return the labelled tiles that train and those that are set aside, with their features, and notes for people."""
    agreed, contradictory = agreed_labels(project.labels())
    notes = [_contradiction(same) for same in contradictory[:_MOST_NOTES]]
    if len(contradictory) > _MOST_NOTES:
        notes.append(f"{len(contradictory) - _MOST_NOTES} more tiles have labels that contradict each other.")
    kept: list[TileLabel] = []
    values = []
    for slide_id in project.slides:
        here = [label for label in agreed if label.tile.slide_id == slide_id]
        if not here:
            continue
        problem = cache.problem(slide_id)
        found = {} if problem else cache.tiles(slide_id, [label.tile.place for label in here])
        if problem:
            notes.append(f"Left out: {_counted(len(here))} on {slide_id}. {problem}")
        elif missing := sum(label.tile.place not in found for label in here):
            notes.append(
                f"Left out: {_counted(missing)} on {slide_id}, on tiles without tissue or not prepared yet."
            )
        for label in here:
            if label.tile.place in found:
                kept.append(label)
                values.append(found[label.tile.place])
    cases = [project.entry(label.tile.slide_id).case for label in kept]
    everything = Taught(kept, np.stack(values) if values else np.empty((0, 1, 1, 1), np.float16), cases)
    training = everything.part([i for i, label in enumerate(kept) if not label.test])
    tested = everything.part([i for i, label in enumerate(kept) if label.test])
    if len(training.labels):
        named = np.flatnonzero(training.present.any(0)).tolist()
        missing_names = [n for i, n in enumerate(project.schema.names) if i not in named]
        if missing_names:
            notes.append(f"No tile is labelled {_listed(missing_names)} yet, so the map never shows it.")
    return training, tested, tuple(notes)


def fit_head(project: ProjectCore, cache: FeatureCache, start: HeadWeights | None) -> Head:
    """Fit a head on all labels of all slides.

    Raises
    ------
    FewLabelsError
        When no labelled tile has features.
    """
    training, tested, notes = taught_tiles(project, cache)
    if not len(training.labels):
        why = f" {notes[0]}" if notes else ""
        raise FewLabelsError(f"No prepared tile of {project.folder} is labelled; label one first.{why}")
    weights = fit_weights(examples_of(training.values, training.present), start)
    return Head(
        names=project.schema.names,
        weights=weights,
        taught=training,
        tested=tested,
        notes=notes,
        _features=lambda slide_id: (cache.get(slide_id), project.grid(slide_id)),
    )


_MOST_NOTES = 3


def _contradiction(same: Sequence[TileLabel]) -> str:
    tile = same[0].tile
    said = "; ".join(f"{label.reader or 'one reader'} says {_listed(label.classes)}" for label in same)
    return (
        f"The labels of the tile at {tile.x:.0f}, {tile.y:.0f} on {tile.slide_id} contradict each other ({said}), so "
        "it does not count until one of them is changed."
    )


def _counted(labels: int) -> str:
    return "1 label" if labels == 1 else f"{labels} labels"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
