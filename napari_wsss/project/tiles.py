"""Tiles as they are named, labelled and asked for: small frozen rows that cross the project's border."""

from __future__ import annotations

from dataclasses import dataclass

from napari_wsss.project.decisions import Source
from tiling.geometry import Box
from tiling.grid import TileGrid

__all__ = ["Tile", "TileLabel", "tile_at", "tile_of"]


@dataclass(frozen=True, order=True)
class Tile:
    """One tile of the lattice of a slide.

    Attributes
    ----------
    slide_id : str
    row, column : int
        In the lattice (:meth:`napari_wsss.project.Project.grid`).
    x, y, side : float
        Corner and side in level-0 pixels.
    """

    slide_id: str
    row: int
    column: int
    x: float
    y: float
    side: float

    @property
    def place(self) -> tuple[int, int]:
        """Row and column."""
        return self.row, self.column

    @property
    def middle(self) -> tuple[float, float]:
        """Level-0 x, y of the middle."""
        return self.x + self.side / 2, self.y + self.side / 2

    @property
    def box(self) -> Box:
        """The tile in whole level-0 pixels."""
        return Box(round(self.x), round(self.y), round(self.side), round(self.side))


@dataclass(frozen=True)
class TileLabel:
    """A label in force: which classes a tile holds, and who said so.

    Attributes
    ----------
    tile : Tile
    classes : tuple of str
        Names in the order of the schema; never empty.
    present : tuple of bool
        The same per class of the schema.
    reader, time : str
    source : {"click", "rectangle", "review", "import"}
    line : int
        In the slide's log.
    test : bool
        Whether the tile is set aside: it never trains.
    """

    tile: Tile
    classes: tuple[str, ...]
    present: tuple[bool, ...]
    reader: str
    time: str
    source: Source
    line: int
    test: bool = False

    @property
    def single(self) -> int | None:
        """The class of a tile that holds only one, else None."""
        return self.present.index(True) if sum(self.present) == 1 else None


def tile_at(slide_id: str, grid: TileGrid, x: float, y: float) -> Tile | None:
    """Return the tile that holds a level-0 position; None beside the slide."""
    step = grid.stride * grid.scale
    column, row = (int((v - o) // step) for v, o in zip((x, y), grid.origin, strict=True))
    inside = 0 <= row < grid.rows and 0 <= column < grid.columns
    return tile_of(slide_id, grid, row, column) if inside else None


def tile_of(slide_id: str, grid: TileGrid, row: int, column: int) -> Tile:
    """Return a tile by its place in the lattice."""
    x, y = grid.level0(column * grid.stride, row * grid.stride)
    return Tile(slide_id, row, column, x, y, grid.tile * grid.scale)
