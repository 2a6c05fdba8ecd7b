"""Plain boxes in pixels: the one rectangle type that crosses module borders."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Box"]


@dataclass(frozen=True, order=True)
class Box:
    """An axis-aligned rectangle ``[x, x + width) × [y, y + height)`` in pixels of a named frame.

    Attributes
    ----------
    x, y : int
        Left and top edge.
    width, height : int
        Extent; never negative.
    """

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 0 or self.height < 0:
            raise ValueError(f"a box cannot have a negative extent: {self.width} × {self.height}")

    @property
    def right(self) -> int:
        """First column after the box."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First line after the box."""
        return self.y + self.height

    @property
    def is_empty(self) -> bool:
        """Whether the box holds no pixel."""
        return self.width == 0 or self.height == 0

    def intersection(self, other: Box) -> Box:
        """Return the common part; an empty box when there is none."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        width = max(0, min(self.right, other.right) - x)
        height = max(0, min(self.bottom, other.bottom) - y)
        return Box(x, y, width, height)

    def shifted(self, dx: int, dy: int) -> Box:
        """Return the same box moved by ``(dx, dy)`` pixels."""
        return Box(self.x + dx, self.y + dy, self.width, self.height)
