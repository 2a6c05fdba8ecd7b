"""The device of the GPU tests: a CUDA GPU, or with WSSS_CUDA_TESTS=cpu the processor, to rehearse them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tiling.slides import Slide, open_slide
from tiling.slides.readers.array import ArrayReader
from tiling.synthetic import SyntheticSlide


@pytest.fixture(scope="session")
def device() -> str:
    """``cuda``; the tests are skipped where there is none."""
    asked = os.environ.get("WSSS_CUDA_TESTS", "cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU (WSSS_CUDA_TESTS=cpu rehearses on the processor)")
    return asked


@pytest.fixture(scope="session")
def synthetic() -> NDArray[np.uint8]:
    """Painted tissue at 0.5 µm per pixel, (1100, 1400, 3) uint8."""
    return SyntheticSlide(2048, 2048, mpp=0.5, seed=21).render(300, 300, 1400, 1100)


@pytest.fixture(scope="session")
def cmu(shared_dir: Path) -> NDArray[np.uint8]:
    """Real skin from CMU-1 at 0.5 µm per pixel, (1100, 1400, 3) uint8."""
    with open_slide(shared_dir / "slides" / "cmu-1-small-region.svs") as slide:
        return slide.read(200, 900, 1400, 1100, mpp=0.5)


@pytest.fixture
def small_slide(request: pytest.FixtureRequest) -> Iterator[Slide]:
    """A slide made of the picture whose fixture is the parameter."""
    with Slide(ArrayReader(request.getfixturevalue(request.param), mpp=0.5)) as slide:
        yield slide


Limit = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def limit(device: str, monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Let torch have at most so many bytes of the GPU within a block; without one, 1 MB of pixels per MB stands in."""

    @contextmanager
    def within(most: int) -> Iterator[None]:
        if device == "cpu":
            from napari_wsss.backends.torch_backend import TorchBackend

            whole = TorchBackend.__call__

            def small(self: TorchBackend, pixels: NDArray[np.uint8]) -> object:
                if pixels.nbytes > most:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
                return whole(self, pixels)

            monkeypatch.setattr(TorchBackend, "__call__", small)
            yield
            monkeypatch.undo()
            return
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(most / torch.cuda.mem_get_info()[1])
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.empty_cache()

    return within
