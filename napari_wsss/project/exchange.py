"""Labels from and for other programs: polygons become tile labels by share, tile labels become squares for QuPath."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_wsss.project.core import ProjectCore
from napari_wsss.project.corrections import write_correction
from napari_wsss.project.tiles import Tile, TileLabel, tile_of
from tiling.annotations import ClassAreas, Place, read_class_areas
from tiling.errors import LabelError, disk_errors_as
from tiling.export import Frame
from tiling.files import replacing
from tiling.geometry import Box

__all__ = ["export_labels", "import_corrections", "import_labels"]

_DRAWN = 64
"""Pixels along the side of a tile on which shares are measured."""

_MOST_PAINTED = 8192
"""Pixels along the longer side of a painted region."""


def import_labels(
    project: ProjectCore,
    slide_id: str,
    path: Path,
    reader: str,
    frame: Frame,
    min_share: float,
    min_annotated: float,
    match: Mapping[str, str] | None,
    skip_unknown: bool,
    on_note: Callable[[str], object] | None,
) -> list[Tile]:
    """Label tiles from annotations; see :meth:`napari_wsss.project.Project.import_labels`."""
    grid = project.grid(slide_id)
    annotations = _read(project, slide_id, path, frame, match, skip_unknown, on_note)
    left, top, right, bottom = annotations.bounds
    step = grid.stride * grid.scale
    first_row, last_row = (int((v - grid.origin[1]) // step) for v in (top, bottom))
    first_column, last_column = (int((v - grid.origin[0]) // step) for v in (left, right))
    found: dict[tuple[str, ...], list[Tile]] = defaultdict(list)
    for row in range(max(0, first_row), min(grid.rows - 1, last_row) + 1):
        for column in range(max(0, first_column), min(grid.columns - 1, last_column) + 1):
            tile = tile_of(slide_id, grid, row, column)
            if not annotations.touches(tile.x, tile.y, tile.side):
                continue
            drawn = annotations.labels(tile.x, tile.y, tile.side / _DRAWN, _DRAWN)
            shares = np.bincount(drawn.ravel(), minlength=len(project.schema) + 1)[1:] / drawn.size
            held = tuple(
                n for n, share in zip(project.schema.names, shares, strict=True) if share >= min_share
            )
            if held and shares.sum() >= min_annotated:
                found[held].append(tile)
    if not found:
        raise LabelError(
            f"{path} covers {min_annotated:.0%} of no tile of the slide {slide_id}; annotate larger areas, lower "
            "--min-annotated, or check the frame of its coordinates (--frame)."
        )
    for held, tiles in found.items():
        project.label_tiles(tiles, held, reader, source="import")
    return [tile for tiles in found.values() for tile in tiles]


def import_corrections(
    project: ProjectCore,
    slide_id: str,
    path: Path,
    reader: str,
    frame: Frame,
    match: Mapping[str, str] | None,
    skip_unknown: bool,
    on_note: Callable[[str], object] | None,
) -> Path:
    """Keep annotations as a painted region; see :meth:`napari_wsss.project.Project.import_corrections`."""
    annotations = _read(project, slide_id, path, frame, match, skip_unknown, on_note)
    entry = project.entry(slide_id)
    left, top, right, bottom = annotations.bounds
    corner = Box(math.floor(left), math.floor(top), math.ceil(right - left), math.ceil(bottom - top))
    box = corner.intersection(entry.bounds)
    scale = max(1.0, project.mpp / entry.mpp)
    width, height = (max(1, round(length / scale)) for length in (box.width, box.height))
    if max(width, height) > _MOST_PAINTED:
        raise LabelError(
            f"{path} spans {width} × {height} pixels of the slide {slide_id}, and a painted region has at most "
            f"{_MOST_PAINTED} on a side; write the annotations of each region to a file of its own."
        )
    drawn = annotations.labels(box.x, box.y, scale, max(width, height))[:height, :width]
    return write_correction(project, slide_id, box, drawn, reader, None)


def _read(
    project: ProjectCore,
    slide_id: str,
    path: Path,
    frame: Frame,
    match: Mapping[str, str] | None,
    skip_unknown: bool,
    on_note: Callable[[str], object] | None,
) -> ClassAreas:
    """Read the areas of a file that lie on a slide, and tell what was left out."""
    project.require_writable()
    entry = project.entry(slide_id)
    origin = (entry.bounds.x, entry.bounds.y) if frame == "qupath" else (0, 0)
    place = Place.of_identity(entry.identity, entry.mpp, origin)
    annotations = read_class_areas(path, project.schema, place, match, skip_unknown)
    if on_note is not None:
        for note in annotations.notes:
            on_note(note)
    return annotations


def export_labels(project: ProjectCore, slide_id: str, path: Path, frame: Frame) -> int:
    """Write the labels in force of a slide; see :meth:`napari_wsss.project.Project.export_labels`."""
    labels = project.labels(slide_id)
    bounds = project.entry(slide_id).bounds
    shift = (bounds.x, bounds.y) if frame == "qupath" else (0, 0)
    features = list(_features(project, labels, shift))
    text = json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False)
    what = f"{path} cannot be written"
    with disk_errors_as(LabelError, what, "choose another place"), replacing(path) as file:
        file.write(text.encode())
    return len(features)


def _features(
    project: ProjectCore, labels: Sequence[TileLabel], shift: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    colours = {c.name: list(c.rgb) for c in project.schema.classes}
    for label in labels:
        tile = label.tile
        x0, y0 = tile.x - shift[0], tile.y - shift[1]
        x1, y1 = x0 + tile.side, y0 + tile.side
        ring = [[round(x, 2), round(y, 2)] for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))]
        # QuPath's way of saying that something is of several classes.
        kind = {"name": ": ".join(label.classes), "color": colours[label.classes[0]]}
        yield {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {
                "objectType": "annotation",
                "classification": kind,
                "metadata": {"reader": label.reader, "time": label.time, "source": label.source},
            },
        }
