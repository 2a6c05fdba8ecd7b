"""One pass over the tissue tiles of a slide: read ahead, encode, reduce, keep."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.project.description import EncoderRef
from napari_wsss.project.encoder import Encode
from napari_wsss.project.events import Prepared, PrepareEvent, PreparePlanned, PrepareProgress
from napari_wsss.project.features import FeatureWriter, TileTable
from tiling.engine import ReadAhead
from tiling.grid import TileGrid
from tiling.plan import RunOptions, RunPlan, TileBatch, make_plan
from tiling.slides import Slide

__all__ = ["PrepareOptions", "describe", "prepare_slide", "sample_pixels", "tissue_tiles"]

PROGRESS_SECONDS = 0.25


@dataclass(frozen=True)
class PrepareOptions:
    """How slides are read and encoded; none of it decides the features beyond rounding.

    Attributes
    ----------
    device, backend : str
        See :func:`napari_wsss.project.encoder.make_encoder`.
    batch_size, read_threads : int
    """

    device: str = "auto"
    backend: str = "auto"
    batch_size: int = 16
    read_threads: int = 2


def plan_slide(slide: Slide, tile: int, mpp: float, options: PrepareOptions) -> RunPlan:
    """Return the plan of a slide: tiles side by side that touch tissue."""
    return make_plan(
        slide,
        tile,
        RunOptions(mpp=mpp, overlap=0.0, batch_size=options.batch_size, read_threads=options.read_threads),
    )


def tissue_tiles(plan: RunPlan) -> TileTable:
    """List the tiles of a plan, row by row, with their share of tissue."""
    grid = plan.grid
    row, column = (v.astype(np.int32) for v in np.nonzero(plan.active))
    step = grid.stride * grid.scale
    height, width = plan.mask.shape
    total = np.zeros((height + 1, width + 1))
    np.cumsum(np.cumsum(plan.mask, 0), 1, out=total[1:, 1:])

    def edges(first: NDArray[np.int32], extent: int, cells: int) -> tuple[NDArray[Any], NDArray[Any]]:
        start = first * grid.stride * cells / extent
        low = np.clip(np.floor(start + 1e-9), 0, cells - 1).astype(int)
        high = np.clip(np.ceil(start + grid.tile * cells / extent - 1e-9), low + 1, cells).astype(int)
        return low, high

    top, bottom = edges(row, grid.height, height)
    left, right = edges(column, grid.width, width)
    inside = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
    share = inside / ((bottom - top) * (right - left))
    return TileTable(
        row,
        column,
        grid.origin[0] + column.astype(np.float64) * step,
        grid.origin[1] + row.astype(np.float64) * step,
        share.astype(np.float32),
    )


def describe(
    identity: Mapping[str, Any], grid: TileGrid, ref: EncoderRef, reduction: str, mpp: float
) -> dict[str, Any]:
    """Return what decides the features of a slide: equal descriptions mean equal features, up to rounding."""
    # Named one by one: what a grid knows beside this does not move a tile.
    lattice = {key: getattr(grid, key) for key in ("width", "height", "tile", "stride", "scale")}
    lattice["origin"] = list(grid.origin)
    kept = {key: identity[key] for key in ("dimensions", "size_bytes", "quick_hash")}
    return {"slide": kept, "encoder": ref.sha256, "reduction": reduction, "mpp": mpp, "grid": lattice}


def prepare_slide(
    slide_id: str,
    slide: Slide,
    plan: RunPlan,
    encode: Encode,
    path: Path,
    description: dict[str, Any],
    places: int,
    values: int,
    options: PrepareOptions,
) -> Generator[PrepareEvent]:
    """Compute the features that are missing, as a generator of events; closing it leaves what can be resumed.

    Raises
    ------
    SlideError, FeaturesError
    """
    started = time.perf_counter()
    tiles = tissue_tiles(plan)
    writer = FeatureWriter(path, tiles, places, values, description)
    done = first = writer.done
    yield PreparePlanned(slide_id, len(tiles), done)
    unreadable, told = 0, 0.0
    batches = list(_batches(tiles, first, options.batch_size))
    with ReadAhead(slide, plan.grid, description["mpp"], batches, options.read_threads, True) as reader:
        for batch in reader:
            found = encode(batch.pixels)
            lost = [i for i, c in enumerate(batch.batch.columns) if c in batch.unreadable]
            found[lost] = np.nan
            unreadable += len(lost)
            writer.append(found)
            done += len(found)
            now = time.perf_counter()
            if now - told >= PROGRESS_SECONDS or done == len(tiles):
                told = now
                seconds = max(now - started, 1e-9)
                yield PrepareProgress(slide_id, done, len(tiles), seconds, (done - first) / seconds)
    yield Prepared(slide_id, len(tiles), time.perf_counter() - started if done > first else 0.0, unreadable)


def sample_pixels(
    slides: Sequence[tuple[Slide, RunPlan]], mpp: float, count: int, seed: int = 0
) -> NDArray[np.uint8]:
    """Read tiles spread at random over the tissue of some slides.

    Parameters
    ----------
    slides : sequence of (Slide, RunPlan)
    mpp : float
    count : int
        Tiles in all, shared out evenly; slides with fewer give what they have.
    seed : int, optional

    Returns
    -------
    (n, T, T, 3) uint8
        Empty when there is no tissue.
    """
    rng = np.random.default_rng(seed)
    parts: list[NDArray[np.uint8]] = []
    for slide, plan in slides:
        table = tissue_tiles(plan)
        known = np.flatnonzero(table.tissue >= min(0.5, table.tissue.max(initial=0.0)))
        wanted = np.sort(rng.permutation(known)[: -(-count // len(slides))])
        batches = [TileBatch(int(table.row[i]), (int(table.column[i]),)) for i in wanted]
        with ReadAhead(slide, plan.grid, mpp, batches, 2, True) as reader:
            parts += [b.pixels for b in reader if not b.unreadable]
    side = slides[0][1].grid.tile if slides else 1
    return np.concatenate(parts) if parts else np.empty((0, side, side, 3), np.uint8)


def _batches(tiles: TileTable, first: int, size: int) -> Iterator[TileBatch]:
    """Yield batches from the tile number ``first`` on; a batch never straddles rows."""
    start = first
    while start < len(tiles):
        row = tiles.row[start]
        stop = min(start + size, int(np.searchsorted(tiles.row, row, side="right")))
        yield TileBatch(int(row), tuple(tiles.column[start:stop].tolist()))
        start = stop
