"""The contract of slide readers as a test class: whoever adds a format subclasses it and gains all these tests.

Needs pytest; nothing else in the package imports this module.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from tiling.errors import SlideError
from tiling.geometry import Box
from tiling.slides.level import LevelReader
from tiling.slides.slide import Slide

__all__ = ["LevelReaderContract"]


class LevelReaderContract:
    """What every :class:`tiling.slides.level.LevelReader` must do.

    A subclass overrides the fixtures :meth:`make` (an open reader) and :meth:`truth` (its levels as arrays), and
    ``tolerance`` where the format is lossy.
    """

    tolerance: int = 0

    @pytest.fixture
    def make(self) -> LevelReader:
        """Return a freshly opened reader."""
        raise NotImplementedError

    @pytest.fixture
    def truth(self) -> list[NDArray[np.uint8]]:
        """Return every level as it must be read, (h, w, 3) uint8, finest first; each larger than 40 × 40."""
        raise NotImplementedError

    @pytest.fixture
    def reader(self, make: LevelReader) -> Iterator[LevelReader]:
        """Yield the reader, closed after the test."""
        yield make
        make.close()

    def _assert_close(self, got: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
        assert got.shape == expected.shape
        assert int(np.abs(got.astype(int) - expected).max(initial=0)) <= self.tolerance

    def test_it_has_every_part_of_the_protocol(self, reader: LevelReader) -> None:
        """The attributes are there and of the right kind."""
        assert isinstance(reader, LevelReader)
        assert reader.format
        assert all(isinstance(warning, str) for warning in reader.warnings)
        assert all(file.is_file() for file in reader.files)

    def test_levels_run_from_fine_to_coarse(
        self, reader: LevelReader, truth: list[NDArray[np.uint8]]
    ) -> None:
        """Sizes are those of the pictures, the first level is level 0."""
        assert [(level.height, level.width) for level in reader.levels] == [t.shape[:2] for t in truth]
        downsamples = [level.downsample for level in reader.levels]
        assert downsamples[0] == 1.0
        assert downsamples == sorted(downsamples)

    def test_bounds_lie_on_the_slide(self, reader: LevelReader) -> None:
        """The scanned area is no larger than level 0, and not empty."""
        whole = Box(0, 0, reader.levels[0].width, reader.levels[0].height)
        assert reader.bounds.intersection(whole) == reader.bounds
        assert not reader.bounds.is_empty

    def test_whole_levels_and_parts(self, reader: LevelReader, truth: list[NDArray[np.uint8]]) -> None:
        """Any part is the same part of the whole."""
        for index, expected in enumerate(truth):
            height, width = expected.shape[:2]
            self._assert_close(reader.read_level(index, 0, 0, width, height), expected)
            for x, y, w, h in (
                (0, 0, 1, 1),
                (7, 3, 20, 30),
                (width - 9, height - 5, 9, 5),
                (0, height // 2, width, 2),
            ):
                self._assert_close(reader.read_level(index, x, y, w, h), expected[y : y + h, x : x + w])

    def test_pixels_are_rgb_bytes_of_ones_own(self, reader: LevelReader) -> None:
        """A caller may write into the result; the next read does not see it."""
        first = reader.read_level(0, 2, 2, 16, 16)
        assert first.dtype == np.uint8
        assert first.flags.c_contiguous
        assert first.flags.writeable
        kept = first.copy()
        first[:] = 13
        np.testing.assert_array_equal(reader.read_level(0, 2, 2, 16, 16), kept)

    def test_what_hangs_over_is_white(self, reader: LevelReader, truth: list[NDArray[np.uint8]]) -> None:
        """On every side, on every level, and far away."""
        for index, expected in enumerate(truth):
            height, width = expected.shape[:2]
            framed = np.pad(expected, ((5, 5), (6, 6), (0, 0)), constant_values=255)
            self._assert_close(reader.read_level(index, -6, -5, width + 12, height + 10), framed)
            for x, y in ((-50, 0), (0, -50), (width, 0), (0, height), (width + 999, height + 999)):
                assert (reader.read_level(index, x, y, 20, 20) == 255).all()

    def test_threads_see_the_same_pixels(self, reader: LevelReader, truth: list[NDArray[np.uint8]]) -> None:
        """Four threads on one reader, many overlapping parts."""
        random = np.random.default_rng(0)
        boxes = []
        for _ in range(120):
            index = int(random.integers(len(truth)))
            height, width = truth[index].shape[:2]
            boxes.append((index, int(random.integers(width - 20)), int(random.integers(height - 20)), 20, 20))
        with ThreadPoolExecutor(4) as pool:
            for (index, x, y, w, h), got in zip(
                boxes, pool.map(lambda box: reader.read_level(*box), boxes), strict=True
            ):
                self._assert_close(got, truth[index][y : y + h, x : x + w])

    def test_closing_twice_is_closing_once(self, make: LevelReader) -> None:
        """Closing is idempotent, and what still reads is told so or served, never crashed."""
        make.close()
        make.close()
        with contextlib.suppress(SlideError):
            assert make.read_level(0, 0, 0, 8, 8).shape == (8, 8, 3)

    def test_identity_is_json_and_stable(self, reader: LevelReader) -> None:
        """The slide on top can be told again."""
        slide = Slide(reader)
        assert json.loads(json.dumps(slide.identity)) == slide.identity
        assert slide.identity == Slide(reader).identity
