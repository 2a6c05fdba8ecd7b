"""A fitted head with what can be asked of it: its score, the map of a slide, where it is unsure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_wsss.project.features import Features
from napari_wsss.project.head import HeadWeights, entropies, label_places
from napari_wsss.project.score import Score, cross_validate, score_tiles
from napari_wsss.project.tiles import TileLabel
from tiling.grid import TileGrid

_T = TypeVar("_T", np.uint8, np.float32)

__all__ = ["Head", "PlaceGrid", "SlideMap", "Taught", "UncertaintyMap"]


@dataclass(frozen=True)
class PlaceGrid:
    """Where the places of a map lie on the slide.

    Attributes
    ----------
    x, y : float
        Level-0 pixels of the corner of the first place.
    step : float
        Level-0 pixels from place to place.
    """

    x: float
    y: float
    step: float


class SlideMap(NamedTuple):
    """Store labels of a whole slide at the features' resolution, and where they lie.

    Attributes
    ----------
    labels : (rows, columns) uint8
        Class index + 1; 0 outside the tissue and where nothing is prepared yet.
    where : PlaceGrid
    """

    labels: NDArray[np.uint8]
    where: PlaceGrid


class UncertaintyMap(NamedTuple):
    """How unsure the head is, 0 … 1, NaN where it says nothing; and where that lies."""

    values: NDArray[np.float32]
    where: PlaceGrid


@dataclass(frozen=True)
class Taught:
    """The labelled tiles that have features.

    Attributes
    ----------
    labels : sequence of TileLabel
    values : (T, P, P, V) float16
    cases : sequence of str
        Of every tile.
    """

    labels: Sequence[TileLabel]
    values: NDArray[np.float16]
    cases: Sequence[str]

    @property
    def present(self) -> NDArray[np.bool_]:
        """(T, C): which classes each tile holds."""
        return np.array([label.present for label in self.labels], np.bool_)

    @property
    def middles(self) -> NDArray[np.float64]:
        """(T, 2): level-0 x, y of every tile."""
        return np.array([label.tile.middle for label in self.labels], np.float64).reshape(-1, 2)

    @property
    def slides(self) -> list[str]:
        """Slide of every tile."""
        return [label.tile.slide_id for label in self.labels]

    def part(self, keep: Sequence[int]) -> Taught:
        """Return some of the tiles."""
        return Taught([self.labels[i] for i in keep], self.values[list(keep)], [self.cases[i] for i in keep])


@dataclass(frozen=True)
class Head:
    """A head fitted on the labels of all slides of a project.

    Attributes
    ----------
    names : tuple of str
        Classes in the order of the schema.
    weights : HeadWeights
    taught : Taught
        What it was fitted on.
    tested : Taught
        Labelled tiles that are set aside.
    notes : tuple of str
        What a person should know, one sentence each: a class without labels, labels that contradict each other.
    """

    names: tuple[str, ...]
    weights: HeadWeights = field(repr=False)
    taught: Taught = field(repr=False)
    tested: Taught = field(repr=False)
    notes: tuple[str, ...]
    _features: Callable[[str], tuple[Features, TileGrid]] = field(repr=False)

    @cached_property
    def score(self) -> Score:
        """The honest score: cross-validated by case, by slide or region where there is only one; computed once."""
        taught = self.taught
        return cross_validate(
            taught.values, taught.present, taught.cases, taught.slides, taught.middles, self.names
        )

    @cached_property
    def test_score(self) -> Score:
        """The score on the labelled test tiles."""
        tested = self.tested
        return score_tiles(tested.values, tested.present, self.weights, tested.cases, self.names)

    def map(self, slide_id: str) -> SlideMap:
        """Return the labels of a whole slide.

        Raises
        ------
        FeaturesError
            When the slide was not prepared with the project's encoder.
        """
        features, grid = self._features(slide_id)
        flat = features.values.reshape(-1, features.values.shape[-1])
        return SlideMap(_spread(label_places(flat, self.weights), features, grid, 0), _where(features, grid))

    def uncertainty(self, slide_id: str) -> UncertaintyMap:
        """Return the entropy of the class probabilities all over a slide, as a share of its maximum."""
        features, grid = self._features(slide_id)
        flat = features.values.reshape(-1, features.values.shape[-1])
        return UncertaintyMap(
            _spread(entropies(flat, self.weights), features, grid, np.nan), _where(features, grid)
        )


def _where(features: Features, grid: TileGrid) -> PlaceGrid:
    return PlaceGrid(*grid.origin, grid.stride * grid.scale / features.places)


def _spread(values: NDArray[_T], features: Features, grid: TileGrid, empty: float) -> NDArray[_T]:
    """Lay values of places, tile by tile, out over the whole slide."""
    side = features.places
    canvas = np.full((grid.rows, side, grid.columns, side), empty, values.dtype)
    tiles = features.tiles
    canvas[tiles.row[: features.done], :, tiles.column[: features.done], :] = values.reshape(-1, side, side)
    return canvas.reshape(grid.rows * side, grid.columns * side)
