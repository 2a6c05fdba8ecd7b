"""A small finished store on a slide with bounds ≠ 0 and a scale that is no whole number."""

from __future__ import annotations

import numpy as np
import pytest
from wsss_toys import ColourPredictor, colourful

from tiling.engine.drive import run
from tiling.geometry import Box
from tiling.plan.run_plan import RunOptions
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.reader import Store, open_store

BOUNDS = Box(101, 57, 1000, 500)


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Labels of 0.7 µm on a slide of 0.4 µm whose scanned area begins at (101, 57)."""
    out = tmp_path_factory.mktemp("export") / "toy.zarr"
    pixels = np.full((600, 1150, 3), 255, np.uint8)
    pixels[57:557, 101:1101] = colourful(500, 1000)
    slide = Slide(ArrayReader(pixels, mpp=0.4, bounds=BOUNDS))
    options = RunOptions(mpp=0.7, overlap=0.25, tissue=None)
    for _ in run(slide, ColourPredictor(), out, options):
        pass
    return open_store(out)
