"""The measure behind benchmarks/seams.py: squares are seen, tissue without them is not."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def seams() -> ModuleType:
    folder = Path(__file__).parents[2] / "benchmarks"
    if not folder.is_dir():
        pytest.skip("benchmarks/ is not part of this installation")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))  # programs there import their neighbours
        return importlib.import_module("seams")


def test_a_chessboard_of_tiles_has_all_borders_on_few_phases(seams: ModuleType) -> None:
    y, x = np.indices((960, 960)) // 48
    found = seams.count_borders((1 + (x + y) % 2).astype(np.uint8), 48)
    assert found.share == 1
    assert found.ratio == 48 / seams.FAVOURITES
    assert found.ratio_without_tiles < found.ratio / 2


def test_noise_has_them_everywhere(seams: ModuleType) -> None:
    noise = np.random.default_rng(0).integers(1, 4, (960, 960)).astype(np.uint8)
    found = seams.count_borders(noise, 48)
    assert 1 <= found.ratio < 1.05
    assert 1 <= found.ratio_without_tiles < 1.05


def test_borders_with_glass_do_not_count(seams: ModuleType) -> None:
    y, x = np.indices((480, 480)) // 48
    found = seams.count_borders(((x + y) % 2).astype(np.uint8), 48)
    assert np.isnan(found.ratio)
