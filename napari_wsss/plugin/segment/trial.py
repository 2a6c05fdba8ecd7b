"""How long a run will take: measured by a short run of the same kind on the busiest place of the slide."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.common import borrow_networks, limit_compute_threads
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.view import class_features, label_colormap
from tiling.classes import ClassSchema
from tiling.engine import Finished, Planned, TilesDone, run
from tiling.geometry import Box
from tiling.plan import RunOptions, RunPlan
from tiling.slides import Slide

__all__ = ["Pace", "busiest_place", "try_out"]

COLUMNS, ROWS = 16, 2
"""Tiles of a trial."""
MOST_SECONDS = 3.0
"""A trial that takes longer ends with the batch in work."""
SLOW_TILE = 0.25
"""Seconds; networks that need more for one tile are tried out in small batches."""


@dataclass(frozen=True)
class Pace:
    """What a run was measured to take.

    Attributes
    ----------
    start : float
        Seconds that do not depend on the number of tiles.
    tile : float
        Seconds for each tile: reading, prediction, blending and writing, as they overlap.
    """

    start: float
    tile: float

    def seconds(self, tiles: int) -> float:
        """Return the duration of a run of so many tiles."""
        return self.start + self.tile * tiles


def busiest_place(plan: RunPlan) -> Box:
    """Return level-0 pixels under a few neighbouring tiles, in the row that has most to do."""
    grid = plan.grid
    row = int(plan.active.sum(1).argmax())
    columns = np.flatnonzero(plan.active[row])
    left = max(0, min(int(columns[len(columns) // 2]) - COLUMNS // 2, grid.columns - COLUMNS))
    top = max(0, min(row, grid.rows - ROWS))

    def span(first: int, count: int, most: int) -> tuple[int, int]:
        start = first * grid.stride
        length = min((count - 1) * grid.stride + grid.tile, most - start)
        return int(start * grid.scale), max(1, int(length * grid.scale))

    x, width = span(left, min(COLUMNS, grid.columns), grid.width)
    y, height = span(top, min(ROWS, grid.rows), grid.height)
    return Box(grid.origin[0] + x, grid.origin[1] + y, width, height)


def try_out(request: RunRequest, slide: Slide, plan: RunPlan, options: RunOptions) -> Generator[Pace | None]:
    """Load the networks, run them on a few tiles of the slide, and yield the pace; None whenever it may be stopped.

    The networks stay loaded for the run itself.

    Parameters
    ----------
    request : RunRequest
    slide : Slide
    plan : RunPlan
        Of the run; it has tiles.
    options : RunOptions

    Raises
    ------
    WsssError
        What would stop the run as well.
    """
    limit_compute_threads()
    _load_what_a_result_needs(request.bundle.schema)
    window = cast("Slide", _Window(slide, busiest_place(plan)))
    side = request.bundle.tile
    with borrow_networks(request.bundle, request.settings(), briefly=True) as networks:
        networks(np.full((1, side, side, 3), 200, np.uint8))  # the first call prepares more than it computes
        yield None
        before = time.perf_counter()
        networks(np.full((1, side, side, 3), 200, np.uint8))
        slow = time.perf_counter() - before > SLOW_TILE
        trial = replace(
            options,
            tissue=None,
            tissue_areas=None,
            region=None,
            roi=None,
            batch_size=min(4, options.batch_size) if slow else options.batch_size,
        )
        with TemporaryDirectory(prefix="napari-wsss-") as folder:
            started = planned = last = time.perf_counter()
            ended, done = 0.0, 0
            with closing(run(window, networks, Path(folder) / "trial.zarr", trial)) as events:
                for event in events:
                    now = time.perf_counter()
                    match event:
                        case Planned():
                            planned = last = now
                        case TilesDone():
                            last, done = now, event.done
                            yield None
                        case Finished():
                            ended = now - last
                    if now - planned > MOST_SECONDS and done:
                        break
    yield Pace(planned - started + ended, (last - planned) / max(1, done))


def _load_what_a_result_needs(schema: ClassSchema) -> None:
    """Do here, in a thread, what else stops the viewer for a third of a second when a run shows its first layer."""
    from napari.layers import Labels

    Labels(np.zeros((2, 2), np.uint8), colormap=label_colormap(schema), features=class_features(schema))
    with suppress(ImportError, AttributeError):  # private modules: one that has moved costs a moment, no more
        import_module("napari._vispy.overlays.labels_polygon")
        import_module("vispy.visuals.line.dash_atlas").DashAtlas()  # what it works out is kept there


class _Window:
    """A part of a slide as a slide of its own; its overview, of which a trial needs the shape alone, is blank."""

    def __init__(self, slide: Slide, bounds: Box) -> None:
        self._slide = slide
        self.bounds = bounds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slide, name)

    def thumbnail(self, max_side: int) -> NDArray[np.uint8]:
        shrink = max(1.0, max(self.bounds.width, self.bounds.height) / max_side)
        height, width = (max(1, round(n / shrink)) for n in (self.bounds.height, self.bounds.width))
        return np.full((height, width, 3), 255, np.uint8)
