"""The measures behind benchmarks/gpu.py: what is hidden under kernels, and a slide that OpenSlide reads."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tiling.slides import open_slide


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    folder = Path(__file__).parents[2] / "benchmarks"
    if not folder.is_dir():
        pytest.skip("benchmarks/ is not part of this installation")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))  # programs there import their neighbours
        return importlib.import_module("gpu")


def span(category: str, name: str, start: float, length: float) -> dict[str, Any]:
    return {"cat": category, "name": name, "ts": start, "dur": length}


def test_copies_under_kernels_are_counted_once(gpu: ModuleType) -> None:
    trace = [
        span("kernel", "conv", 0, 10),
        span("kernel", "relu", 5, 10),  # at the same time, in another stream
        span("kernel", "conv", 25, 5),
        span("gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", 10, 10),  # half of it under a kernel
        span("gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", 26, 2),
        span("gpu_memcpy", "Memcpy DtoH (Device -> Pageable)", 15, 10),
        {"ph": "M", "name": "process_name"},
    ]
    assert gpu.hidden_share(trace) == pytest.approx((7 / 12, 20 / 30))


def test_a_trace_without_a_gpu_says_nothing(gpu: ModuleType) -> None:
    assert gpu.hidden_share([span("cpu_op", "aten::conv2d", 0, 10)]) is None


def test_the_slide_is_a_pyramid_with_its_scale(gpu: ModuleType, tmp_path: Path) -> None:
    gpu.write_jpeg_slide(tmp_path / "a.svs", 4096)
    with open_slide(tmp_path / "a.svs") as slide:
        assert "openslide" in type(slide._reader).__module__
        assert slide.dimensions == (4096, 4096)
        assert slide.require_mpp() == pytest.approx(0.5, rel=1e-3)
        assert len(slide.levels) == 3
        first, again = (np.asarray(slide.read(x, 0, 256, 256, mpp=0.5), int) for x in (0, 2048))
        assert np.abs(first - again).max() <= 2
        assert first.std() > 10
