"""Where a slide has tissue, at the resolution of the map: looked up once, in the thread that draws the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tiling.grid import TileGrid
from tiling.plan import RunOptions, make_plan

if TYPE_CHECKING:
    from napari_wsss.project import Project

__all__ = ["TissueBook", "TissueOfSlide", "at_places"]

LEAST_TISSUE = 0.2
_FINE = 8


@dataclass(frozen=True)
class TissueOfSlide:
    """What counts as tissue on a slide.

    Attributes
    ----------
    tiles : (rows, columns) bool
        Tiles of the project's lattice that hold more than a sliver of tissue: those that a rectangle means.
    mask : (h, w) bool
        The same, small, over the whole scanned area.
    """

    tiles: NDArray[np.bool_]
    mask: NDArray[np.bool_]


class TissueBook:
    """Remembers the tissue of the slides of one project.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._known: dict[str, TissueOfSlide] = {}

    def known(self, slide_id: str) -> TissueOfSlide | None:
        """Return the tissue of a slide if it was looked up already."""
        return self._known.get(slide_id)

    def look_up(self, slide_id: str) -> TissueOfSlide:
        """Return the tissue of a slide; the first time it is found on a small picture of it.

        Raises
        ------
        SlideError
            When the slide is not there.
        """
        if slide_id not in self._known:
            project = self._project
            with project.open_slide(slide_id) as slide:
                plan = make_plan(slide, project.tile, RunOptions(mpp=project.mpp, overlap=0.0))
            fine = at_places(plan.mask, plan.grid, _FINE)
            share = fine.reshape(plan.grid.rows, _FINE, plan.grid.columns, _FINE).mean((1, 3))
            self._known[slide_id] = TissueOfSlide(share >= LEAST_TISSUE, plan.mask)
        return self._known[slide_id]


def at_places(mask: NDArray[np.bool_], grid: TileGrid, places: int) -> NDArray[np.bool_]:
    """Return for every place of a map whether its middle is tissue.

    Parameters
    ----------
    mask : (h, w) bool
        Over the whole canvas of the grid, at any resolution.
    grid : TileGrid
        Tiles side by side.
    places : int
        Places along the side of a tile.

    Returns
    -------
    (rows × places, columns × places) bool
        Places beyond the canvas, in tiles that hang over its edge, are no tissue.
    """

    def lookup(count: int, extent: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        # Whole numbers: a middle on the border of two cells belongs to the second, whatever the rounding.
        middle = (2 * np.arange(count * places, dtype=np.int64) + 1) * grid.tile
        cell = middle * cells // (2 * places * extent)
        return np.minimum(cell, cells - 1), middle < 2 * places * extent

    row, row_inside = lookup(grid.rows, grid.height, mask.shape[0])
    column, column_inside = lookup(grid.columns, grid.width, mask.shape[1])
    return np.asarray(mask[row][:, column] & row_inside[:, None] & column_inside)
