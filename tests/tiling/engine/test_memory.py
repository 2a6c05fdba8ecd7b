"""The memory formula: knows the width, not the height, and refuses what cannot fit."""

from __future__ import annotations

import pytest

from tiling.engine.memory import MemoryEstimate, available_memory, estimate_memory, refuse_what_cannot_fit
from tiling.errors import RunTooLargeError
from tiling.geometry import Box
from tiling.grid import TileGrid


def total(width: int, height: int, overlap: float = 0.25, batch: int = 16) -> int:
    grid = TileGrid.cover(Box(0, 0, width, height), 0.5, 0.5, 224, overlap)
    return estimate_memory(grid, 4, batch, 2).total


def test_height_does_not_matter_and_width_is_linear() -> None:
    assert total(60_000, 1_000) == total(60_000, 1_000_000)
    step = total(40_000, 1_000) - total(20_000, 1_000)
    assert total(60_000, 1_000) - total(40_000, 1_000) == pytest.approx(step, rel=0.01)


def test_the_largest_slide_of_the_promise_fits() -> None:
    assert total(60_000, 60_000, overlap=0) < 600 * 2**20
    assert total(60_000, 60_000) < 800 * 2**20


def test_what_cannot_fit_is_refused_with_both_figures() -> None:
    estimate = MemoryEstimate((("a", 3 * 2**20), ("b", 2 * 2**20)))
    refuse_what_cannot_fit(estimate, 5 * 2**20)
    with pytest.raises(RunTooLargeError, match=r"about 5 MB .* 4 MB are free; use a smaller --batch-size"):
        refuse_what_cannot_fit(estimate, 4 * 2**20)


def test_available_memory_is_plausible() -> None:
    assert 2**24 < available_memory() < 2**50
