"""Two readers of the same tiles: Cohen's kappa per class, and the tiles that they disagree about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_wsss.project.core import ProjectCore
from napari_wsss.project.decisions import Decision, in_force
from napari_wsss.project.tiles import Tile, TileLabel
from tiling.errors import ProjectError

__all__ = ["Agreement", "Conflict", "compare", "kappa", "merge_labels"]


@dataclass(frozen=True)
class Conflict:
    """A tile about which two readers disagree.

    Attributes
    ----------
    tile : Tile
    first, second : tuple of str
        The classes that each says it holds.
    """

    tile: Tile
    first: tuple[str, ...]
    second: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """How far two sets of labels agree.

    Attributes
    ----------
    first, second : str
        Whose labels.
    tiles : int
        Tiles that both have labelled.
    kappa : mapping of str to float or None
        Cohen's kappa per class; None where it is undefined: both always, or both never, say the class.
    conflicts : tuple of Conflict
    added : int
        Labels that a merge has added.
    """

    first: str
    second: str
    tiles: int
    kappa: Mapping[str, float | None]
    conflicts: tuple[Conflict, ...]
    added: int = 0


def kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """Return Cohen's kappa of two readers' yes or no about the same tiles (Educ. Psychol. Meas. 1960).

    Parameters
    ----------
    first, second : sequence of bool
        Of the same length.

    Returns
    -------
    float or None
        1: always agree; 0: as often as by chance; None where chance alone agrees always, or there are no tiles.
    """
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    if not len(a):
        return None
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    if chance >= 1:
        return None
    return float(((a == b).mean() - chance) / (1 - chance))


def compare(
    first: Sequence[TileLabel], second: Sequence[TileLabel], names: Sequence[str], who: tuple[str, str]
) -> Agreement:
    """Compare two readers' labels in force on the tiles that both have labelled."""
    mine = {label.tile: label for label in first}
    theirs = {label.tile: label for label in second}
    both = sorted(mine.keys() & theirs.keys())
    values = {
        name: kappa([mine[t].present[i] for t in both], [theirs[t].present[i] for t in both])
        for i, name in enumerate(names)
    }
    conflicts = tuple(
        Conflict(t, mine[t].classes, theirs[t].classes) for t in both if mine[t].present != theirs[t].present
    )
    return Agreement(*who, len(both), values, conflicts)


def merge_labels(project: ProjectCore, other: ProjectCore) -> Agreement:
    """Take over the labels of another project; see :meth:`napari_wsss.project.Project.merge`."""
    project.require_writable()
    if project.schema.names != other.schema.names:
        raise ProjectError(
            f"{other.folder} has the classes {', '.join(other.schema.names)}, and {project.folder} has "
            f"{', '.join(project.schema.names)}; only projects with the same classes can be merged."
        )
    if (project.tile, project.mpp) != (other.tile, other.mpp):
        raise ProjectError(
            f"{other.folder} has tiles of {other.tile} px at {other.mpp:g} µm, and {project.folder} of "
            f"{project.tile} px at {project.mpp:g} µm; their labels are not about the same tiles."
        )
    ours = project.labels()
    names = _same_slides(project, other)
    taken = {label.reader for label in ours if label.source != "import"}
    readers: dict[str, str] = {}
    theirs: list[TileLabel] = []
    added = 0
    for slide_id, our_id in names.items():
        log = project.log(our_id)
        known = {(d.tile, d.reader, d.labels) for d in in_force(log.decisions())}
        fresh: list[Decision] = []
        for decision in in_force(other.log(slide_id).decisions()):
            reader = readers.setdefault(decision.reader, _reader(decision.reader, taken, other.name))
            if (decision.tile, reader, decision.labels) not in known:
                fresh.append(replace(decision, line=0, reader=reader, source="import", cancels=None))
        log.append(fresh)
        added += len(fresh)
    for label in other.labels():
        if label.tile.slide_id in names:
            tile = replace(label.tile, slide_id=names[label.tile.slide_id])
            theirs.append(replace(label, tile=tile, reader=readers.get(label.reader, label.reader)))
    imported = set(readers.values())
    mine = [label for label in ours if label.reader not in imported]
    return replace(compare(mine, theirs, project.schema.names, (project.name, other.name)), added=added)


def _reader(name: str, taken: set[str], project: str) -> str:
    """Return a reader's name; where both projects have it, or it is empty, it is told apart by the project's."""
    if name and name not in taken:
        return name
    return f"{name} ({project})" if name else project


def _same_slides(project: ProjectCore, other: ProjectCore) -> dict[str, str]:
    """Return their slide id -> ours, for the slides that both have."""
    found = {}
    for theirs in other.description.slides:
        for ours in project.description.slides:
            if ours.is_same(theirs.identity):
                found[theirs.slide_id] = ours.slide_id
    if not found:
        raise ProjectError(
            f"{other.folder} and {project.folder} have no slide in common; there is nothing to merge."
        )
    return found
