"""Label agreement of two backends on fixed synthetic tissue: the self-check behind every automatic choice."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from napari_wsss.backends.maps import Backend, labels_of
from napari_wsss.models import Gate
from tiling.synthetic import SyntheticSlide

__all__ = ["ENOUGH", "check_tiles", "labels"]

ENOUGH = 0.9985
"""Share of pixels of the check tiles that must get the same class, so that on slides 99.5 % do.

Labels of real tissue are less sure: on the CMU slide up to 2.6 times as many moved as on the check tiles (embedded
bundle in bf16: 0.77 % against 0.30 %).
"""

_PIXELS = 12 * 224 * 224
_BATCH = 4


@lru_cache(maxsize=2)
def check_tiles(tile: int, mpp: float) -> NDArray[np.uint8]:
    """Return tiles of synthetic tissue, (N, tile, tile, 3) uint8, always the same; all classes occur.

    Parameters
    ----------
    tile : int
    mpp : float
        µm per pixel of the model; the nearest that synthetic tissue has is taken.
    """
    count = int(np.clip(_PIXELS // tile**2, 4, 64))
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    mpp = float(np.clip(mpp, 0.2, 2))
    # Regions of about a tile: borders between classes are where labels tip over.
    slide = SyntheticSlide(
        (columns + 2) * tile, (rows + 2) * tile, mpp=mpp, seed=11, region_um=max(40.0, 0.8 * tile * mpp)
    )
    area = slide.render(tile, tile, columns * tile, rows * tile)
    tiles = area.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)[:count]
    tiles = np.ascontiguousarray(tiles)
    tiles.setflags(write=False)
    return tiles


def labels(backend: Backend, tiles: NDArray[np.uint8], gate: Gate) -> NDArray[np.int64]:
    """Return the class of every pixel, (N, T, T), gated as the bundle says."""
    side = tiles.shape[1]
    batches = [tiles[i : i + _BATCH].copy() for i in range(0, len(tiles), _BATCH)]
    return np.concatenate([labels_of(backend(batch), side, gate).cpu().numpy() for batch in batches])
