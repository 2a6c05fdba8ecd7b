"""Segments a virtual slide of a given size and prints peak memory above idle and the formula's value, in bytes."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from wsss_toys import TOY_SCHEMA

from tiling.engine.drive import run
from tiling.engine.events import Planned
from tiling.engine.predictor import Prediction
from tiling.plan.run_plan import RunOptions
from tiling.slides.level import Level
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide


class VirtualReader(ArrayReader):
    """A slide of any size whose pixels are one stripe pattern, computed where it is read."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(np.full((64, 64, 3), 200, np.uint8), mpp=0.5)
        down = 16.0
        coarse = Level(-(-width // 16), -(-height // 16), down)
        self.levels = (Level(width, height, 1.0), coarse)
        self.bounds = self.bounds.__class__(0, 0, width, height)

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        tone = ((np.arange(x, x + width) // 50) % 200).astype(np.uint8)
        return np.broadcast_to(tone[None, :, None], (height, width, 3)).copy()


class Constant:
    """A predictor that costs nothing."""

    schema = TOY_SCHEMA
    tile = 224
    identity: dict[str, object] = {"bundle": "constant"}  # noqa: RUF012

    def __call__(self, pixels: NDArray[np.uint8], cam_side: int | None = None) -> Prediction:
        probabilities = np.zeros((len(pixels), 3, self.tile, self.tile), np.float32)
        probabilities[:, 1] = 1
        return Prediction(probabilities, probabilities[:, :, 0, 0])


def main(width: int, height: int, overlap: float) -> None:
    options = RunOptions(mpp=0.5, tissue=None, overlap=overlap)
    formula = 0
    with tempfile.TemporaryDirectory() as folder:
        # A first small run loads everything that is loaded once.
        with Slide(VirtualReader(600, 600)) as slide:
            list(run(slide, Constant(), Path(folder) / "warm.zarr", options))
        idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        with Slide(VirtualReader(width, height)) as slide:
            for event in run(slide, Constant(), Path(folder) / "a.zarr", options):
                if isinstance(event, Planned):
                    formula = event.memory_bytes
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps({"above_idle": peak - idle, "formula": formula}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
