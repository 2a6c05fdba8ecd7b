"""The memory formula: knows the width, not the height, and refuses what cannot fit."""

from __future__ import annotations

from pathlib import Path

import psutil
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


def group(folder: Path, limit: str, used: int, inactive: int, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        ("memory.max", "memory.current")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    key = "inactive_file" if version == 2 else "total_inactive_file"
    (folder / "memory.stat").write_text(f"anon 5\n{key} {inactive}\nother 7\n")


def test_page_cache_is_not_used_memory(tmp_path: Path) -> None:
    """A night's batch fills a container with pages of slides that were read: they are free for the asking."""
    own = tmp_path / "own"
    own.write_text("0::/\n")
    group(tmp_path, "2000000", 1_900_000, 1_500_000)
    assert available_memory(tmp_path, own) == 1_600_000


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/user/job\n")
    group(tmp_path, "max", 10, 0)
    group(tmp_path / "user", "1000000", 900_000, 100_000)
    group(tmp_path / "user" / "job", "5000000", 1_000_000, 0)
    group(tmp_path / "other", "10", 10, 0)
    assert available_memory(tmp_path, own) == 200_000


def test_version_1_groups_are_read_too(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("7:memory:/docker/ab\n3:cpu:/docker/ab\n")
    group(tmp_path / "memory", "4000000", 3_000_000, 500_000, version=1)
    assert available_memory(tmp_path, own) == 1_500_000


@pytest.mark.parametrize("text", ["", "0::/\n", "nonsense\n", "0::/gone\n"])
def test_without_a_limit_free_memory_counts(tmp_path: Path, text: str) -> None:
    own = tmp_path / "own"
    own.write_text(text)
    group(tmp_path, "max", 10, 0)
    free = psutil.virtual_memory().available
    assert available_memory(tmp_path, own) == pytest.approx(free, rel=0.5)
    assert available_memory(tmp_path, tmp_path / "nowhere") == pytest.approx(free, rel=0.5)


def test_a_group_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/\n")
    group(tmp_path, "1000", 5000, 0)
    assert available_memory(tmp_path, own) == 0
