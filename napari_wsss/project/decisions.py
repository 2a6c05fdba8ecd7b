"""What a person decided about tiles, and which of it is in force: pure, no files.

A label log is a list of decisions in the order in which they were made. Each says which classes one tile holds, or
takes an earlier decision back. Nothing is ever removed, so every state that a person has seen can be told again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["SOURCES", "Decision", "Source", "in_force", "last_action", "standing", "voided"]

Source = Literal["click", "rectangle", "review", "import"]
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True)
class Decision:
    """One line of a label log.

    Attributes
    ----------
    line : int
        Its line number in the file; the heading is line 1. 0: not written yet.
    time : str
        ISO 8601 in UTC, with microseconds; the tiles of one rectangle share it.
    reader : str
        Who decided.
    x, y, side : float
        Corner and side of the tile in level-0 pixels.
    mpp : float
        µm per pixel at which the tile is looked at.
    labels : tuple of bool, or None
        Per class of the schema, whether the tile holds it; all False: the tile has no label any more. None: the line
        only takes back ``cancels``.
    source : {"click", "rectangle", "review", "import"}
        How it was given.
    cancels : int or None
        Line number of what it takes back.
    """

    line: int
    time: str
    reader: str
    x: float
    y: float
    side: float
    mpp: float
    labels: tuple[bool, ...] | None
    source: Source
    cancels: int | None = None

    @property
    def tile(self) -> tuple[int, int]:
        """The tile's corner in whole level-0 pixels: what two decisions about one tile have in common."""
        return round(self.x), round(self.y)


def voided(decisions: Sequence[Decision]) -> frozenset[int]:
    """Return the line numbers of decisions that a later line took back.

    A line that only takes back may be taken back as well: what it had cancelled then counts again.
    """
    void: set[int] = set()
    for decision in reversed(decisions):
        if decision.labels is None and decision.cancels is not None and decision.line not in void:
            void.add(decision.cancels)
    return frozenset(void)


def standing(decisions: Sequence[Decision]) -> list[Decision]:
    """Return the decisions that were not taken back, oldest first, those that a later one replaced among them."""
    void = voided(decisions)
    return [d for d in decisions if d.labels is not None and d.line not in void]


def in_force(decisions: Sequence[Decision]) -> list[Decision]:
    """Return the labels in force: per tile and reader the last decision that was not taken back, if it names a class.

    Parameters
    ----------
    decisions : sequence of Decision
        A whole log, in the order of its lines.

    Returns
    -------
    list of Decision
        In the order of their lines.
    """
    last = {(*decision.tile, decision.reader): decision for decision in standing(decisions)}
    return sorted((d for d in last.values() if d.labels and any(d.labels)), key=lambda d: d.line)


def last_action(decisions: Sequence[Decision], reader: str | None = None) -> list[Decision]:
    """Return what an undo takes back: the last decision that still stands, with all tiles that were decided with it.

    Parameters
    ----------
    decisions : sequence of Decision
    reader : str, optional
        Only this person's decisions; default: anybody's.
    """
    theirs = [d for d in standing(decisions) if reader is None or d.reader == reader]
    if not theirs:
        return []
    last = theirs[-1]
    return [d for d in theirs if (d.time, d.reader, d.source) == (last.time, last.reader, last.source)]


def counts(decisions: Iterable[Decision], classes: int) -> list[int]:
    """Return for every class how many of the decisions name it."""
    total = [0] * classes
    for decision in decisions:
        for index, held in enumerate(decision.labels or ()):
            total[index] += held
    return total
