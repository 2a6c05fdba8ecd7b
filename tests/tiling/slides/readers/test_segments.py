"""Pieces of levels: kept as long as the next row of tiles needs them, and not without end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tiling.geometry import Box
from tiling.slides.level import Level
from tiling.slides.readers.segments import CACHE_BYTES, SegmentReader, cache_bytes


class CountedPieces(SegmentReader):
    """A wide white slide that counts how often each piece is decoded."""

    def __init__(self, width: int, height: int, piece: int) -> None:
        super().__init__(Path("wide"), (Level(width, height, 1.0, (piece, piece)),))
        self.bounds = Box(0, 0, width, height)
        self.decoded: Counter[tuple[int, int]] = Counter()
        self._piece = np.full((piece, piece, 3), 255, np.uint8)

    def decode(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        self.decoded[column, row] += 1
        return self._piece


@pytest.mark.parametrize("piece", [240, 256, 512])
@pytest.mark.parametrize("stride", [224, 168])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_wide_slide_read_row_by_row_is_decoded_once(piece: int, stride: int, scale: int) -> None:
    reader = CountedPieces(40_000, 1800, piece)
    tile, step = 224 * scale, stride * scale
    for y in range(0, 1800 - tile, step):
        for x in range(0, 40_000, 16 * step):
            reader.read_level(0, x, y, 15 * step + tile, tile)
    assert set(reader.decoded.values()) == {1}
    assert reader.cache.used <= reader.held_bytes


def test_the_cache_grows_with_the_slide_as_far_as_it_pays() -> None:
    small, wide = Level(5000, 5000, 1.0, (256, 256)), Level(60_000, 60_000, 1.0, (256, 256))
    assert cache_bytes([small]) == CACHE_BYTES
    assert cache_bytes([wide, small]) == 3 * 3 * 256 * 60_160
    assert cache_bytes([wide, small], per_pixel=4) == 4 * 3 * 256 * 60_160
    # Neither is a row of these kept, nor a picture in one piece.
    assert cache_bytes([Level(150_000, 90_000, 1.0, (512, 512))]) == CACHE_BYTES
    assert cache_bytes([Level(30_000, 30_000, 1.0, (30_000, 30_000)), Level(9, 9, 3333.3)]) == CACHE_BYTES
