"""Predictors without networks, and slides made of arrays, for tests of the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.batch.jobs import SlideJob
from tiling.classes import ClassSchema, TissueClass
from tiling.engine.drive import run
from tiling.engine.events import Event
from tiling.engine.predictor import Prediction
from tiling.plan.run_plan import RunOptions
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide

TOY_SCHEMA = ClassSchema(
    "toy",
    (
        TissueClass("red tissue", "RED", "#d62728"),
        TissueClass("green tissue", "GRN", "#2ca02c"),
        TissueClass("blue tissue", "BLU", "#1f77b4"),
    ),
)


class ColourPredictor:
    """Calls a pixel after its strongest colour channel: a network with a receptive field of one pixel."""

    schema = TOY_SCHEMA

    def __init__(
        self,
        tile: int = 32,
        on_call: Callable[[NDArray[np.uint8]], None] | None = None,
        thresholds: tuple[float, ...] | None = None,
    ) -> None:
        self.tile = tile
        self.thresholds = thresholds
        self.calls = 0
        self._on_call = on_call

    @property
    def identity(self) -> dict[str, object]:
        return {"bundle": "colour", "hashes": {}}

    def __call__(
        self, pixels: NDArray[np.uint8], cam_side: int | None = None, gated: bool = True
    ) -> Prediction:
        self.calls += 1
        if self._on_call is not None:
            self._on_call(pixels)
        values = np.moveaxis(pixels, -1, 1).astype(np.float32) + 1
        probabilities = np.ascontiguousarray(values / values.sum(1, keepdims=True))
        cams = None
        if cam_side is not None:
            n, c, t, _ = probabilities.shape
            step = t // cam_side
            cams = probabilities.reshape(n, c, cam_side, step, cam_side, step).mean((3, 5))
        return Prediction(
            probabilities=probabilities,
            presence=probabilities.max((2, 3)),
            cams=cams,
            confidence=probabilities.max(1).mean((1, 2)),
            shares=probabilities.mean((2, 3)),
        )


def colourful(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return smooth blobs of colour on white, (height, width, 3) uint8."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.standard_normal((height, width)), 12) for _ in range(4)]
    strongest = np.argmax(fields[:3], axis=0)
    image = np.full((height, width, 3), 70, np.uint8)
    np.put_along_axis(image, strongest[..., None], 200, axis=2)
    image[fields[3] > np.quantile(fields[3], 0.6)] = 255
    return image


def tree_bytes(store: Path) -> dict[str, bytes]:
    """Return the content files of a store by relative name."""
    return {
        p.relative_to(store).as_posix(): p.read_bytes()
        for p in sorted(store.rglob("*"))
        if p.is_file() and p.name != "receipt.json" and "journal" not in p.parts
    }


EVERYWHERE = RunOptions(mpp=0.5, tissue=None, batch_size=4)
"""Every tile of the picture, at its own scale."""


def segment_array(image: NDArray[np.uint8], out: Path, tile: int = 32, **options: Any) -> list[Event]:
    """Segment a picture of 0.5 µm per pixel by its colours; ``options`` differ from :data:`EVERYWHERE`."""
    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        return list(run(slide, ColourPredictor(tile), out, dataclasses.replace(EVERYWHERE, **options)))


def plain(colour: tuple[int, int, int], height: int = 120, width: int = 150) -> NDArray[np.uint8]:
    """Return a picture of one colour, (height, width, 3)."""
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def slide_jobs(*names: str) -> list[SlideJob]:
    """Return jobs on slides that need not exist."""
    return [SlideJob(name, Path(f"/slides/{name}.svs")) for name in names]
