"""Readers are never further ahead than the memory formula counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from wsss_toys import colourful

from tiling.engine.read_ahead import LOOKAHEAD_PER_THREAD, ReadAhead
from tiling.plan.run_plan import RunOptions
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (4, 2)])
def test_limits_of_memory_are_obeyed(tmp_path: Path, batch: int, threads: int) -> None:
    """However slow the network is, readers are never further ahead than the formula counts."""
    from tiling.plan.run_plan import make_plan

    read: list[int] = []

    class Counted(ArrayReader):
        def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
            read.append(1)
            return super().read_level(level, x, y, width, height)

    options = RunOptions(mpp=0.5, tissue=None, batch_size=batch, read_threads=threads)
    with Slide(Counted(colourful(200, 300), mpp=0.5)) as slide:
        plan = make_plan(slide, 32, options)
        batches = [each for row in range(plan.grid.rows) for each in plan.batches(row)]
        read.clear()
        reader = ReadAhead(slide, plan.grid, 0.5, batches, threads, False)
        with reader:
            pixels = (each for row in range(plan.grid.rows) for each in reader.of_row(row))
            for taken in range(1, 9):
                assert len(next(pixels).pixels) <= batch
                for _, future in list(reader._waiting):
                    future.result()  # let the readers do all that they may
                assert len(read) <= taken + LOOKAHEAD_PER_THREAD * threads < len(batches)
