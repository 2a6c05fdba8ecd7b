"""What a store looks like: its shape, the flags of its tiles, and what its run was asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiling.classes import ClassSchema
from tiling.errors import StoreDamagedError, StoreError
from tiling.files import read_json
from tiling.folders import RUN
from tiling.grid import TileGrid
from tiling.store import ngff

__all__ = [
    "DOUBTS",
    "FLAG_BLUR",
    "FLAG_BUBBLE",
    "FLAG_EMPTY",
    "FLAG_FOLD",
    "FLAG_PEN",
    "FLAG_PREDICTED",
    "FLAG_READ_ERROR",
    "TILE_COLUMNS",
    "StoreLayout",
    "read_run",
]

FLAG_EMPTY = 1
"""Tile flag: no tissue (or outside the region), never predicted."""

FLAG_PREDICTED = 2
"""Tile flag: predicted."""

FLAG_BLUR, FLAG_PEN, FLAG_FOLD, FLAG_BUBBLE = 8, 16, 32, 64
"""Tile flags: doubts about a predicted tile (out of focus, pen ink, a fold, gray without tissue: bubbles)."""

FLAG_READ_ERROR = 4
"""Tile flag: its pixels could not be read; it was left blank because the run was told to."""


TILE_COLUMNS = ("flags", "confidence", "presence", "shares")
"""Arrays of the tile table that grow with the rows."""


DOUBTS = {"blur": FLAG_BLUR, "pen": FLAG_PEN, "fold": FLAG_FOLD, "bubble": FLAG_BUBBLE}
"""Doubts about tiles by name."""


def read_run(path: Path) -> dict[str, Any] | None:
    """Return what the run of a store was asked to do, or None when there is no store.

    Raises
    ------
    StoreDamagedError
        When the file is not what a run writes.
    StoreError
        When it cannot be read.
    """
    file = path / RUN
    try:
        run = read_json(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror or error}; mend it.") from error
    except ValueError as error:
        raise StoreDamagedError(f"{file} is damaged ({error}); run again with --restart.") from error
    if not isinstance(run, dict):
        raise StoreDamagedError(f"{file} is damaged (it holds no object); run again with --restart.")
    return run


@dataclass(frozen=True)
class StoreLayout:
    """Everything that decides the shape of a store.

    Attributes
    ----------
    name : str
        Slide id, shown as the image's name.
    schema : ClassSchema
    grid : TileGrid
    mpp, slide_mpp : float
        µm per canvas pixel and per level-0 pixel.
    probabilities : bool
        Whether class probabilities are kept.
    cam_grid : TileGrid or None
        Geometry of the CAM images, when CAMs are kept.
    """

    name: str
    schema: ClassSchema
    grid: TileGrid
    mpp: float
    slide_mpp: float
    probabilities: bool = False
    cam_grid: TileGrid | None = None

    @property
    def translation(self) -> tuple[float, float]:
        """µm (y, x) of the centre of the first canvas pixel in the slide's frame."""
        return ngff.label_translation(self.grid.origin, self.slide_mpp, self.mpp)
