"""The film strip: some tiles that are asked about, one of them in turn. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

__all__ = ["STRIP_LENGTH", "Strip"]

STRIP_LENGTH = 12

T = TypeVar("T")


@dataclass(frozen=True)
class Strip(Generic[T]):
    """Tiles that are asked about, and which of them are answered.

    Attributes
    ----------
    tiles : tuple
        What is shown, in this order.
    turn : int
        Index of the tile that a key answers; ``len(tiles)`` when nothing is left to ask.
    answered : frozenset of int
        Indices that have an answer.
    """

    tiles: tuple[T, ...] = ()
    turn: int = 0
    answered: frozenset[int] = field(default=frozenset())

    @property
    def current(self) -> T | None:
        """The tile whose turn it is."""
        return self.tiles[self.turn] if 0 <= self.turn < len(self.tiles) else None

    @property
    def is_done(self) -> bool:
        """Whether every tile has an answer."""
        return len(self.answered) == len(self.tiles)

    @property
    def open_tiles(self) -> tuple[T, ...]:
        """Tiles without an answer."""
        return tuple(tile for i, tile in enumerate(self.tiles) if i not in self.answered)

    def go(self, index: int) -> Strip[T]:
        """Make it the turn of a tile."""
        return replace(self, turn=index) if 0 <= index < len(self.tiles) else self

    def step(self, by: int) -> Strip[T]:
        """Make it the turn of a neighbour; the ends hold."""
        return self.go(min(max(self.turn + by, 0), len(self.tiles) - 1))

    def advance(self) -> Strip[T]:
        """Go to the next tile without an answer, from the turn on and round; stay past the end when there is none."""
        count = len(self.tiles)
        following = [(self.turn + 1 + i) % count for i in range(count)]
        return replace(self, turn=next((i for i in following if i not in self.answered), count))

    def marked(self, is_answered: Callable[[T], bool]) -> Strip[T]:
        """Return the strip with its answers looked up anew: a label may come from the canvas or an undo as well."""
        return replace(self, answered=frozenset(i for i, tile in enumerate(self.tiles) if is_answered(tile)))

    @classmethod
    def of(cls, tiles: Sequence[T]) -> Strip[T]:
        """Return a strip of unanswered tiles."""
        return cls(tuple(tiles))
