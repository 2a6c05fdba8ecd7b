"""The plan of a run: which tiles, in which order, from which pixels. Made before anything is written."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.checks import flag, instance, number, one_of, whole
from tiling.errors import RegionError, SlideError
from tiling.geometry import Box
from tiling.grid import TileGrid, select_tiles
from tiling.plan.roi import Roi
from tiling.plan.tissue import TissueParameters, look_for_tissue
from tiling.slides import Slide

__all__ = [
    "OVERVIEW_SIDE",
    "GatePlace",
    "RunOptions",
    "RunPlan",
    "TileBatch",
    "make_plan",
    "overview_of",
    "plan_grids",
]

GatePlace = Literal["tile", "field"]

OVERVIEW_SIDE = 2048
"""Largest side of the overview picture in pixels: constant, so that memory does not grow with the slide."""

_CAM_FACTOR = 8
_FINEST_PART = 4
"""Pixels of the overview that are given up together where a slide cannot be read."""


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked to do, apart from the slide and the model.

    Attributes
    ----------
    mpp : float
        µm per canvas pixel.
    overlap : float
        Shared fraction of neighbouring tiles.
    tissue : TissueParameters or None
        How tissue is found; None runs everywhere.
    tissue_areas : Roi or None
        Tissue drawn by hand, in place of what would be found.
    region : Box or None
        Level-0 pixels to which the run is confined.
    roi : Roi or None
        Polygons to which the run is confined.
    batch_size : int
        Tiles per prediction.
    read_threads : int
        Threads that read and decode.
    probabilities, cams : bool
        Whether blended probabilities and stage-1 CAMs are kept.
    gate_mode : {"tile", "field"}
        Whether the predictor gates each tile, or the engine gates each pixel of what it has blended by a presence
        field (:mod:`tiling.engine.field`).
    read_errors : {"fail", "fill"}
        Whether an unreadable tile ends the run or stays blank and flagged.
    """

    mpp: float
    overlap: float = 0.25
    tissue: TissueParameters | None = field(default_factory=TissueParameters)
    tissue_areas: Roi | None = None
    region: Box | None = None
    roi: Roi | None = None
    batch_size: int = 16
    read_threads: int = 2
    probabilities: bool = False
    cams: bool = False
    gate_mode: GatePlace = "tile"
    read_errors: Literal["fail", "fill"] = "fail"

    def __post_init__(self) -> None:
        # What decides a result goes into JSON and is compared with what is there: Python's own numbers.
        object.__setattr__(self, "mpp", number("mpp", self.mpp, 0))
        object.__setattr__(self, "overlap", number("overlap", self.overlap))
        object.__setattr__(self, "batch_size", whole("batch_size", self.batch_size, 1, 65_536))
        object.__setattr__(self, "read_threads", whole("read_threads", self.read_threads, 1, 1024))
        for name, kind in (
            ("tissue", TissueParameters),
            ("tissue_areas", Roi),
            ("region", Box),
            ("roi", Roi),
        ):
            instance(name, getattr(self, name), kind)
        if self.region is not None:
            sides = dataclasses.astuple(self.region)
            object.__setattr__(self, "region", Box(*(whole("a side of region", side) for side in sides)))
        flag("probabilities", self.probabilities)
        flag("cams", self.cams)
        one_of("gate_mode", self.gate_mode, ("tile", "field"))
        one_of("read_errors", self.read_errors, ("fail", "fill"))

    def deciding(self) -> dict[str, Any]:
        """Return the JSON-ready part that decides the result; threads and batches do not."""
        deciding = dataclasses.asdict(dataclasses.replace(self, roi=None, tissue_areas=None))
        for name, areas in (("roi", self.roi), ("tissue_areas", self.tissue_areas)):
            deciding[name] = None if areas is None else areas.identity()
        # Unreadable tiles are counted and flagged where they occur: a run that failed may go on with "fill".
        del deciding["batch_size"], deciding["read_threads"], deciding["read_errors"]
        return deciding


@dataclass(frozen=True)
class TileBatch:
    """Tiles of one row that are read, predicted and blended together.

    Attributes
    ----------
    row : int
    columns : tuple of int
        Ascending tile columns.
    """

    row: int
    columns: tuple[int, ...]


@dataclass(frozen=True)
class RunPlan:
    """Everything that is known before the first tile.

    Attributes
    ----------
    grid : TileGrid
    active : (rows, columns) bool
        Tiles to predict.
    mask : (h, w) bool
        Tissue over the whole canvas at the overview's resolution.
    tissue : dict
        How it was found, JSON-ready: ``how``, the colours of the glass, the threshold.
    region : Box
        Canvas pixels to which labels are confined.
    roi : Roi or None
        Polygons to which labels are confined.
    overview : (h, w, 3) uint8
        Picture of the scanned area.
    batch_size : int
    cam_grid : TileGrid or None
        Geometry of the CAM images, when CAMs are kept.
    """

    grid: TileGrid
    active: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    tissue: dict[str, Any]
    region: Box
    roi: Roi | None
    overview: NDArray[np.uint8]
    batch_size: int
    cam_grid: TileGrid | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of how tissue was looked for, and of the polygons that confine the run."""
        notes = () if self.roi is None else self.roi.notes
        return notes if self.tissue.get("glass", True) else (*notes, f"No tissue: {self.tissue['how']}.")

    @property
    def tiles(self) -> int:
        """Number of tiles to predict."""
        return int(self.active.sum())

    def batches(self, row: int) -> list[TileBatch]:
        """Return the batches of a row, left to right; a batch never straddles rows."""
        columns = np.flatnonzero(self.active[row]).tolist()
        size = self.batch_size
        return [TileBatch(row, tuple(columns[i : i + size])) for i in range(0, len(columns), size)]

    def wanted(self, first: int, last: int) -> NDArray[np.bool_] | None:
        """Return which pixels of canvas lines first … last may carry a label, (n, width); None for all."""
        grid, region = self.grid, self.region
        y0 = min(max(region.y, first), last)
        y1 = max(min(region.bottom, last), y0)
        height = self.mask.shape[0]
        top, bottom = first * height / grid.height, last * height / grid.height
        known = self.mask[math.floor(top) : math.ceil(bottom)]
        whole = (region.x, y0, region.width, y1 - y0) == (0, first, grid.width, last - first)
        if whole and self.roi is None and known.all():
            return None
        lines = np.zeros((last - first, grid.width), np.bool_)
        if known.any() and y1 > y0:
            image = Image.fromarray(self.mask.view(np.uint8) * np.uint8(255))
            smooth = image.resize(
                (grid.width, last - first),
                resample=Image.Resampling.BILINEAR,
                box=(0, top, self.mask.shape[1], bottom),
            )
            part = (slice(y0 - first, y1 - first), slice(region.x, region.right))
            lines[part] = np.asarray(smooth)[part] > 127
            if self.roi is not None:
                lines &= self.roi.lines(grid, first, last)
        return lines


def plan_grids(slide: Slide, tile: int, options: RunOptions) -> tuple[TileGrid, TileGrid | None]:
    """Return the grid of a run, and that of its CAMs when they are kept: all that decides the shape of its store.

    Raises
    ------
    ResolutionError
        When the slide has no µm per pixel.
    RegionError
        When the overlap is out of range.
    """
    grid = TileGrid.cover(slide.bounds, slide.require_mpp(), options.mpp, tile, options.overlap)
    cam_grid = _cam_grid(grid) if options.cams else None
    return grid.holding() if options.gate_mode == "field" else grid, cam_grid


def make_plan(slide: Slide, tile: int, options: RunOptions) -> RunPlan:
    """Plan a run: geometry, overview, tissue, tiles.

    Parameters
    ----------
    slide : Slide
    tile : int
        Pixels along an edge of what the network sees, at ``options.mpp``.
    options : RunOptions

    Raises
    ------
    ResolutionError
        When the slide has no µm per pixel.
    RegionError
        When the region lies outside the scanned area, or the overlap is out of range.
    """
    grid, cam_grid = plan_grids(slide, tile, options)
    region = Box(0, 0, grid.width, grid.height)
    if options.region is not None:
        region = grid.canvas_box(options.region)
        if region.is_empty:
            raise RegionError(
                f"The region {_show(options.region)} lies outside the scanned area of {slide.path}, "
                f"{_show(slide.bounds)} in level-0 pixels; choose one inside."
            )
    overview, unknown = overview_of(slide, options.read_errors == "fill")
    if options.tissue_areas is not None:
        mask = options.tissue_areas.inside(grid, (overview.shape[0], overview.shape[1]))
        tissue: dict[str, Any] = {"how": "drawn by hand", **options.tissue_areas.identity()}
    elif options.tissue is None:
        mask, tissue = np.ones(overview.shape[:2], np.bool_), {"how": "everything counts as tissue"}
    else:
        overview_mpp = grid.height * options.mpp / overview.shape[0]
        look = look_for_tissue(overview, overview_mpp, options.tissue)
        mask, tissue = look.mask(), look.receipt()
        if unknown is not None:  # each tile there tells by itself whether it can be read
            mask = mask | unknown
    candidates = mask
    if options.roi is not None:
        inside = options.roi.coarse(grid, (overview.shape[0], overview.shape[1]))
        if not inside.any():
            raise RegionError(
                f"The region of interest lies outside the scanned area of {slide.path}; "
                "its coordinates may count from another corner (--frame)."
            )
        candidates = mask & inside
    return RunPlan(
        grid=grid,
        active=select_tiles(grid, candidates) & _touching(grid, region),
        mask=mask,
        tissue=tissue,
        region=region,
        roi=options.roi,
        overview=overview,
        batch_size=options.batch_size,
        cam_grid=cam_grid,
    )


def overview_of(slide: Slide, fill: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Return the picture of the scanned area: a stored level that has half the largest size or more, else resampled.

    Where ``fill`` is on, what cannot be read is white; the second array, (h, w), tells where that is.
    """
    longest = max(slide.bounds.width, slide.bounds.height)
    stored = [side for level in slide.levels if (side := round(longest / level.downsample)) <= OVERVIEW_SIDE]
    side = max(stored, default=0)
    side = side if side > OVERVIEW_SIDE // 2 else OVERVIEW_SIDE
    try:
        return slide.thumbnail(side), None
    except SlideError:
        if not fill:
            raise
    shrink = max(1.0, longest / side)
    width, height = (max(1, round(length / shrink)) for length in (slide.bounds.width, slide.bounds.height))
    overview = np.full((height, width, 3), 255, np.uint8)
    unknown = np.zeros((height, width), np.bool_)
    _read_what_can_be(slide, shrink, Box(0, 0, width, height), overview, unknown)
    return overview, unknown


def _read_what_can_be(
    slide: Slide, shrink: float, part: Box, overview: NDArray[np.uint8], unknown: NDArray[np.bool_]
) -> None:
    """Read a part of the overview, or quarters of it where that fails, down to a few pixels."""
    place = (slice(part.y, part.bottom), slice(part.x, part.right))
    try:
        x, y = slide.bounds.x + part.x * shrink, slide.bounds.y + part.y * shrink
        overview[place] = slide.read(x, y, part.width, part.height, mpp=shrink * slide.require_mpp())
    except SlideError:
        if max(part.width, part.height) <= _FINEST_PART:
            unknown[place] = True
            return
        for top in range(part.y, part.bottom, half := max(1, -(-part.height // 2))):
            for left in range(part.x, part.right, wide := max(1, -(-part.width // 2))):
                quarter = Box(left, top, min(wide, part.right - left), min(half, part.bottom - top))
                _read_what_can_be(slide, shrink, quarter, overview, unknown)


def _touching(grid: TileGrid, region: Box) -> NDArray[np.bool_]:
    """Return (rows, columns): tiles that share a pixel with the region."""

    def along(count: int, first: int, last: int) -> NDArray[np.bool_]:
        start = np.arange(count) * grid.stride
        return (start < last) & (start + grid.tile > first)

    rows = along(grid.rows, region.y, region.bottom)
    columns = along(grid.columns, region.x, region.right)
    return np.asarray(rows[:, None] & columns[None, :])


def _cam_grid(grid: TileGrid) -> TileGrid:
    """Return the grid of CAM images: coarser by the largest factor ≤ 8 that divides tile and stride."""
    common = math.gcd(grid.tile, grid.stride)
    factor = max(f for f in range(1, _CAM_FACTOR + 1) if common % f == 0)
    return TileGrid(
        width=-(-grid.width // factor),
        height=-(-grid.height // factor),
        tile=grid.tile // factor,
        stride=grid.stride // factor,
        scale=grid.scale * factor,
        origin=grid.origin,
    )


def _show(box: Box) -> str:
    return f"{box.x},{box.y},{box.width},{box.height}"
