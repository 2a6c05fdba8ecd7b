"""The border between the engine and any network: pixels in, probabilities out, plain arrays both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tiling.classes import ClassSchema
from tiling.errors import PredictionError

__all__ = ["Prediction", "Predictor", "require_whole"]


@dataclass(frozen=True)
class Prediction:
    """What a predictor says about a batch of N tiles of side T with C classes.

    Attributes
    ----------
    probabilities : (N, C, T, T) float32
        Class probabilities, after the gate unless ungated ones were asked for; blended by the engine.
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


def require_whole(prediction: Prediction, tiles: int, classes: int, side: int, cam_side: int | None) -> None:
    """Check at the border that a network gave numbers for all that it was asked: NaN or another shape is refused.

    Parameters
    ----------
    prediction : Prediction
    tiles, classes, side : int
        N, C and T.
    cam_side : int or None
        S, when CAMs were asked for.

    Raises
    ------
    PredictionError
        Naming the array that is wrong.
    """
    wanted: dict[str, tuple[int, ...]] = {
        "probabilities": (tiles, classes, side, side),
        "presence": (tiles, classes),
        "confidence": (tiles,),
        "shares": (tiles, classes),
    }
    if cam_side is not None:
        wanted["cams"] = (tiles, classes, cam_side, cam_side)
    for name, shape in wanted.items():
        values = getattr(prediction, name)
        if values is None and name in ("confidence", "shares"):
            continue
        if np.shape(values) != shape or values.dtype.kind != "f":
            got = "none" if values is None else f"{np.shape(values)} {getattr(values, 'dtype', '')}".rstrip()
            raise PredictionError(
                f"The network's {name} should be floating-point numbers of shape {shape}, and are {got}; "
                "its model does not fit this program."
            )
        # A sum is not finite when one of its terms is not: half the time of looking at each.
        if not np.isfinite(values.sum(dtype=np.float64 if values.itemsize < 4 else None)):
            raise PredictionError(
                f"The network's {name} hold values that are no numbers (NaN or infinite); "
                "try --precision fp32, or another model."
            )


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
    def thresholds(self) -> tuple[float, ...] | None:
        """Least presence that opens a class, one for all or one each, for runs that gate by a presence field.

        None: there is no gate, or one that only works tile by tile.
        """
        ...

    @property
    def identity(self) -> dict[str, object]:
        """JSON-ready facts that decide the result (hashes, gate, precision): part of the store's receipt."""
        ...

    def __call__(
        self, pixels: NDArray[np.uint8], cam_side: int | None = None, gated: bool = True
    ) -> Prediction:
        """Predict a batch of tiles.

        Parameters
        ----------
        pixels : (N, T, T, 3) uint8
            RGB.
        cam_side : int, optional
            Side S of the CAMs wanted; None for none.
        gated : bool, optional
            False: probabilities without the gate.
        """
        ...
