"""A label map for an image of any size: the engine's tile grid and blending over an array in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiling.engine import FieldGate, RowBlender, Strip, presence_field
from tiling.geometry import Box
from tiling.grid import TileGrid

__all__ = ["Ungated", "blend_image", "image_tiles", "ungated_image"]


@dataclass(frozen=True)
class Ungated:
    """Class probabilities (N, C, T, T) before the gate, presence (N, C), and the thresholds of the presence field."""

    probabilities: NDArray[np.float32]
    presence: NDArray[np.float32]
    thresholds: tuple[float, ...]


Variants = Mapping[str, NDArray[np.float32] | Ungated]


def _grid(image: NDArray[np.uint8], tile: int, overlap: float) -> TileGrid:
    box = Box(0, 0, image.shape[1], image.shape[0])
    fits = image.shape[0] <= tile and image.shape[1] <= tile
    return TileGrid.cover(box, 1.0, 1.0, tile, 0.0 if fits else overlap)


def image_tiles(image: NDArray[np.uint8], grid: TileGrid, row: int) -> NDArray[np.uint8]:
    """Cut one row of tiles, white where they hang over the edge: (columns, tile, tile, 3) uint8."""
    tiles = np.full((grid.columns, grid.tile, grid.tile, 3), 255, np.uint8)
    for column in range(grid.columns):
        box = grid.tile_box(row, column)
        part = image[box.y : box.bottom, box.x : box.right]
        tiles[column, : part.shape[0], : part.shape[1]] = part
    return tiles


def blend_image(
    image: NDArray[np.uint8],
    predict: Callable[[NDArray[np.uint8]], Variants],
    tile: int,
    overlap: float = 0.25,
    batch_size: int = 16,
) -> dict[str, NDArray[np.uint8]]:
    """Segment one image.

    Parameters
    ----------
    image : (H, W, 3) uint8
    predict : callable
        Tiles (N, tile, tile, 3) uint8 -> for each named variant the class probabilities (N, C, tile, tile) float32, or
        :class:`Ungated` ones, which are gated as slides are.
    tile : int
    overlap : float
        Shared fraction of neighbouring tiles; an image that fits into one tile is one tile.
    batch_size : int
        Tiles per call.

    Returns
    -------
    dict of str to (H, W) uint8
        Per variant, class indexes (class *i* = *i*).
    """
    grid = _grid(image, tile, overlap)
    canvases: dict[str, _Canvas] = {}
    for row in range(grid.rows):
        tiles = image_tiles(image, grid, row)
        for start in range(0, grid.columns, batch_size):
            columns = tuple(range(start, min(start + batch_size, grid.columns)))
            for name, values in predict(tiles[start : start + batch_size]).items():
                if name not in canvases:
                    if isinstance(values, Ungated):
                        canvas = _Canvas(grid, values.probabilities.shape[1], values.thresholds)
                    else:
                        canvas = _Canvas(grid, values.shape[1], None)
                    canvases[name] = canvas
                canvases[name].add(row, columns, values)
        for canvas in canvases.values():
            canvas.end_row()
    return {name: canvas.labels for name, canvas in canvases.items()}


def ungated_image(
    image: NDArray[np.uint8],
    predict: Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]],
    tile: int,
    step: int,
    overlap: float = 0.25,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what a gate of any thresholds is applied to: blended scores, and the presence field.

    Parameters
    ----------
    image, tile, overlap
        As :func:`blend_image`.
    predict : callable
        Tiles (N, tile, tile, 3) uint8 -> class probabilities (N, C, tile, tile) and presence (N, C).
    step : int
        Side of the squares for which the field is told.

    Returns
    -------
    scores : (C, H, W) float32
    presence : (ceil(H / step), ceil(W / step), C) float32
        See :func:`tiling.engine.presence_field`.
    """
    grid = _grid(image, tile, overlap)
    found = [predict(image_tiles(image, grid, row)) for row in range(grid.rows)]
    classes = found[0][1].shape[1]
    scores = np.zeros((classes, grid.height, grid.width), np.float32)
    strips: list[Strip] = []
    blender = RowBlender(grid, classes, lambda s: strips.append(Strip(s.x, s.y, s.means(), s.weights)))
    for row, (probabilities, _) in enumerate(found):
        blender.begin_row(row)
        blender.add(tuple(range(grid.columns)), probabilities)
        blender.end_row()
        lines = scores[:, slice(*grid.finished_lines(row))]
        for strip in strips:
            lines[:, *strip.place] = strip.sums
        strips.clear()
    return scores, presence_field(grid, np.stack([presence for _, presence in found]), step)


class _Canvas:
    """The label map of one variant and its blender."""

    def __init__(self, grid: TileGrid, classes: int, thresholds: Sequence[float] | None) -> None:
        self.labels = np.zeros((grid.height, grid.width), np.uint8)
        self._grid = grid if thresholds is None else grid.holding()
        self._field = None if thresholds is None else FieldGate(self._grid, thresholds, classes, self._take)
        self._blender = RowBlender(self._grid, classes, self._field.take if self._field else self._take)
        self._row = -1

    def add(self, row: int, columns: tuple[int, ...], values: NDArray[np.float32] | Ungated) -> None:
        """Add tiles of a row; rows come in order."""
        if row != self._row:
            self._row = row
            self._blender.begin_row(row)
            if self._field is not None:
                self._field.begin_row(row)
        if isinstance(values, Ungated):
            assert self._field is not None
            self._field.know(columns, values.presence)
            values = values.probabilities
        self._blender.add(columns, values)

    def end_row(self) -> None:
        """End the row."""
        self._blender.end_row()
        if self._field is not None:
            self._field.end_row()

    def _take(self, strip: Strip) -> None:
        lines = slice(*self._grid.finished_lines(self._row))
        # Strips hold store labels (class + 1); every pixel was predicted, so none is 0.
        self.labels[lines][strip.place] = strip.labels() - np.uint8(1)
