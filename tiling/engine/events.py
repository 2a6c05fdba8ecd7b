"""What a run tells while it goes on: small frozen events, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tiling.geometry import Box

__all__ = ["BlockWritten", "Event", "Finished", "Planned", "Progress", "TilesDone"]

Status = Literal["done", "cached", "empty"]


@dataclass(frozen=True)
class Planned:
    """The work ahead, sent first.

    Attributes
    ----------
    store : Path
    width, height : int
        Canvas extent in canvas pixels.
    mpp : float
        µm per canvas pixel.
    tiles : int
        Tiles to predict in the whole run, those of resumed rows included.
    tiles_done : int
        Tiles that an earlier, interrupted run has committed.
    rows, rows_done : int
        The same in tile rows.
    memory_bytes : int
        The memory formula's value for this run.
    """

    store: Path
    width: int
    height: int
    mpp: float
    tiles: int
    tiles_done: int
    rows: int
    rows_done: int
    memory_bytes: int


@dataclass(frozen=True)
class TilesDone:
    """A batch was predicted.

    Attributes
    ----------
    row : int
        Tile row.
    columns : tuple of int
        Tile columns of the batch.
    done, total : int
        Tiles done so far and in all.
    """

    row: int
    columns: tuple[int, ...]
    done: int
    total: int


@dataclass(frozen=True)
class BlockWritten:
    """A tile row is committed: its lines are final and survive a kill.

    Attributes
    ----------
    row : int
        Tile row.
    box : Box
        Canvas pixels that became final.
    labels : (box.height, box.width) uint8
        Their labels; lines that do not fill a row of chunks yet are in no zarr array so far.
    counts : (C + 1,) int64
        Pixels per label over all lines committed so far.
    """

    row: int
    box: Box
    labels: NDArray[np.uint8] = field(repr=False)
    counts: NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True)
class Progress:
    """Where the run stands.

    Attributes
    ----------
    tiles_done, tiles : int
    rows_done, rows : int
    seconds : float
        Since the start of this run.
    tiles_per_second : float
        Of this run.
    read_busy, predict_busy, write_busy : float
        Share of the elapsed time, 0 … 1, that each stage was at work (reading: mean over its threads).
    """

    tiles_done: int
    tiles: int
    rows_done: int
    rows: int
    seconds: float
    tiles_per_second: float
    read_busy: float
    predict_busy: float
    write_busy: float

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to go; None while nothing is known."""
        if self.tiles_per_second <= 0:
            return None
        return (self.tiles - self.tiles_done) / self.tiles_per_second


@dataclass(frozen=True)
class Finished:
    """The store is complete and its receipt is written.

    Attributes
    ----------
    store : Path
    status : {"done", "cached", "empty"}
    tiles : int
        Predicted tiles.
    seconds : float
        Of this run.
    areas : dict
        Class name → mm².
    """

    store: Path
    status: Status
    tiles: int
    seconds: float
    areas: dict[str, float]


Event = Planned | TilesDone | BlockWritten | Progress | Finished
