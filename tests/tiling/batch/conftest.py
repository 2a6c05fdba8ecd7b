"""A browser for the pages, and a night with one slide that lies where it did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from wsss_browser import Browser, running_browser
from wsss_toys import EVERYWHERE, ColourPredictor, colourful

from tiling.batch import SlideOutcome, Status
from tiling.batch.summary import Summary
from tiling.engine import run
from tiling.slides import open_slide


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as found:
        yield found


@pytest.fixture
def zoomable(tmp_path: Path) -> Path:
    """A finished slide of 1300 × 700 pixels, two pictures wide and high, and coarser ones."""
    out = tmp_path / "night"
    out.mkdir()
    slide = tmp_path / "a & b.png"
    Image.fromarray(colourful(700, 1300)).save(slide)
    with open_slide(slide, mpp=0.5) as opened:
        list(run(opened, ColourPredictor(64), out / "a & b.zarr", EVERYWHERE))
    summary = Summary(out / "summary.csv")
    summary.add(SlideOutcome("a & b", slide, Status.DONE, 12, 3.0, {"RED": 0.01}))
    summary.close()
    return out
