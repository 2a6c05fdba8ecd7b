"""The border between the engine and any network: pixels in, probabilities out, plain arrays both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tiling.classes import ClassSchema

__all__ = ["Prediction", "Predictor"]


@dataclass(frozen=True)
class Prediction:
    """What a predictor says about a batch of N tiles of side T with C classes.

    Attributes
    ----------
    probabilities : (N, C, T, T) float32
        Class probabilities after the gate; blended by the engine.
    presence : (N, C) float32
        Stage-1 probability that the class is somewhere in the tile.
    cams : (N, C, S, S) float32 in 0 … 1, or None
        Stage-1 class activation maps, when asked for.
    confidence : (N,) float32, or None
        Mean over the tile of the largest class probability: low where a human should look.
    shares : (N, C) float32, or None
        Mean over the tile of each class probability, to compare with ``presence``.
    """

    probabilities: NDArray[np.float32]
    presence: NDArray[np.float32]
    cams: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None
    shares: NDArray[np.float32] | None = None


class Predictor(Protocol):
    """Anything that turns tiles into class probabilities (a bound bundle, a toy function in a test)."""

    @property
    def schema(self) -> ClassSchema:
        """Classes, in the order of the C axis."""
        ...

    @property
    def tile(self) -> int:
        """Side of a tile in pixels."""
        ...

    @property
    def identity(self) -> dict[str, object]:
        """JSON-ready facts that decide the result (hashes, gate, precision): part of the store's receipt."""
        ...

    def __call__(self, pixels: NDArray[np.uint8], cam_side: int | None = None) -> Prediction:
        """Predict a batch of tiles.

        Parameters
        ----------
        pixels : (N, T, T, 3) uint8
            RGB.
        cam_side : int, optional
            Side S of the CAMs wanted; None for none.
        """
        ...
