"""Why a tile was labelled as it was: the numbers of both stages for one tile, and pictures of them. No torch, no Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.classes import ClassSchema
from tiling.grid import TileGrid

__all__ = ["ClassEvidence", "TileExplanation", "TilePlace", "cam_picture", "tile_at"]

CAM_ALPHA = 0.8


@dataclass(frozen=True)
class TilePlace:
    """Where a tile lies on the slide.

    Attributes
    ----------
    x, y : float
        Level-0 pixels of its top-left corner.
    scale : float
        Level-0 pixels per tile pixel.
    tile : int
        Side in tile pixels.
    """

    x: float
    y: float
    scale: float
    tile: int

    @property
    def side(self) -> float:
        """Side in level-0 pixels."""
        return self.tile * self.scale


def tile_at(x: float, y: float, tile: int, scale: float, grid: TileGrid | None = None) -> TilePlace:
    """Return the tile to explain for a click.

    Parameters
    ----------
    x, y : float
        Level-0 pixels of the click.
    tile : int
        Side of a tile in tile pixels.
    scale : float
        Level-0 pixels per tile pixel.
    grid : TileGrid, optional
        The grid of a result: the tile of it whose centre is nearest is taken, so that the numbers are those of the
        run. Without one the tile is centred on the click.
    """
    if grid is None:
        half = tile * scale / 2
        return TilePlace(x - half, y - half, scale, tile)
    column, row = (
        min(max(0, round(((at - origin) / grid.scale - grid.tile / 2) / grid.stride)), count - 1)
        for at, origin, count in ((x, grid.origin[0], grid.columns), (y, grid.origin[1], grid.rows))
    )
    left, top = grid.level0(column * grid.stride, row * grid.stride)
    return TilePlace(left, top, grid.scale, grid.tile)


@dataclass(frozen=True)
class ClassEvidence:
    """What both stages say about one class in a tile.

    Attributes
    ----------
    name, color : str
    presence : float
        Stage 1: probability that the class is somewhere in the tile.
    threshold : float
        The gate's threshold.
    passed : bool
        Whether the gate lets the class into stage 2 (also by the rule that the most probable one always passes).
    share : float
        Stage 2: mean probability over the tile.
    """

    name: str
    color: str
    presence: float
    threshold: float
    passed: bool
    share: float

    @property
    def gate_text(self) -> str:
        """Whether the class may appear here (the gate), in words."""
        if not self.passed:
            return "no"
        return "yes" if self.presence > self.threshold else "yes (most probable)"


@dataclass(frozen=True)
class TileExplanation:
    """Everything about one tile.

    Attributes
    ----------
    place : TilePlace
    schema : ClassSchema
    pixels : (T, T, 3) uint8
    presence, thresholds : (C,) float
    passed : (C,) bool
    cams : mapping of str to (C, h, w) float
        Raw Grad-CAMs by layer, shallow to deep.
    probabilities : (C, T, T) float
        Stage 2 after the gate.
    """

    place: TilePlace
    schema: ClassSchema
    pixels: NDArray[np.uint8] = field(repr=False)
    presence: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    passed: NDArray[np.bool_]
    cams: Mapping[str, NDArray[np.float32]] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)

    @property
    def evidence(self) -> list[ClassEvidence]:
        """The classes in their order."""
        shares = self.probabilities.mean((1, 2))
        return [
            ClassEvidence(
                tissue.name,
                tissue.color,
                float(self.presence[i]),
                float(self.thresholds[i]),
                bool(self.passed[i]),
                float(shares[i]),
            )
            for i, tissue in enumerate(self.schema.classes)
        ]

    @property
    def top_class(self) -> int:
        """Index of the class that stage 1 finds most probable."""
        return int(self.presence.argmax())

    def probabilities_at(self, x: float, y: float) -> NDArray[np.float32] | None:
        """Return stage 2's class probabilities (C,) at a level-0 position; None outside the tile."""
        column = int(np.floor((x - self.place.x) / self.place.scale))
        row = int(np.floor((y - self.place.y) / self.place.scale))
        if not (0 <= column < self.place.tile and 0 <= row < self.place.tile):
            return None
        return self.probabilities[:, row, column]

    def cam(self, layer: str, index: int) -> NDArray[np.float32]:
        """Return the CAM of a class in a layer, (h, w), 0 … 1.

        What speaks against the class is cut off; 1 is the strongest response of any class in that layer, so that
        classes can be compared.
        """
        positive = np.maximum(self.cams[layer], 0)
        largest = float(positive.max())
        scaled: NDArray[np.float32] = positive[index] / (largest or 1.0)
        return scaled

    def picture(self, layer: str, index: int) -> NDArray[np.uint8]:
        """Return the CAM over the tile, (T, T, 3) uint8."""
        return cam_picture(self.pixels, self.cam(layer, index), self.schema.classes[index].rgb)


def cam_picture(
    pixels: NDArray[np.uint8], cam: NDArray[np.float32], color: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Paint a CAM in a class colour over a grey picture of the tile.

    Parameters
    ----------
    pixels : (T, T, 3) uint8
    cam : (h, w) float
        0 … 1; enlarged bilinearly.
    color : (int, int, int)

    Returns
    -------
    (T, T, 3) uint8
    """
    height, width = pixels.shape[:2]
    heat = np.asarray(
        Image.fromarray(cam.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    )
    grey = np.repeat(pixels.mean(-1, keepdims=True), 3, axis=-1)
    alpha = CAM_ALPHA * np.clip(heat, 0, 1)[..., None]
    return np.asarray(grey * (1 - alpha) + np.array(color) * alpha).round().astype(np.uint8)
