"""An empty store: its arrays and metadata, made in memory and put on disk in one step."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from tiling.errors import StoreDamagedError, StoreError
from tiling.files import write_json_atomic
from tiling.folders import RUN
from tiling.grid import TileGrid
from tiling.store import ngff
from tiling.store.contents import Kind, disk_error, entries
from tiling.store.layout import DOUBTS, FLAG_EMPTY, FLAG_PREDICTED, FLAG_READ_ERROR, StoreLayout, read_run
from tiling.store.pyramid import level_shapes
from tiling.store.receipt import sha256_of
from tiling.store.tally import Tally, array_of
from tiling.untrusted import printable

__all__ = ["clear_store", "create_store"]

_RUN_KEYS = {"name", "schema", "mpp", "resolution", "grid"}
_ARRAYS = ("", "tiles/flags", "labels/tissue/0")

_CHUNK_LINES = 128
_CHUNK_COLUMNS = 2048
_CHUNK_TILES = 4096
_COMPRESSION = ZstdCodec(level=1, checksum=True)
"""Half the time of the library's own level at the same size; what a disk has torn does not decode."""


def _create_pyramid(
    group: zarr.Group, shapes: Sequence[tuple[int, int]], chunk: tuple[int, int]
) -> list[zarr.Array[Any]]:
    return [
        group.create_array(
            name=str(level),
            shape=shape,
            dtype="uint8",
            chunks=(min(chunk[0], shape[0]), min(chunk[1], shape[1])),
            fill_value=0,
            dimension_names=("y", "x"),
            compressors=_COMPRESSION,
        )
        for level, shape in enumerate(shapes)
    ]


def _chunk(grid: TileGrid) -> tuple[int, int]:
    """Return chunk lines and columns: whole tile rows, so that a finished row is a finished row of chunks."""
    return grid.stride * -(-_CHUNK_LINES // grid.stride), _CHUNK_COLUMNS


def create_store(
    path: Path, layout: StoreLayout, run: Mapping[str, Any], overview: tuple[int, int]
) -> dict[str, Tally]:
    """Create an empty store; what an earlier run left at ``path`` is deleted if it is a store.

    Parameters
    ----------
    path : Path
    layout : StoreLayout
    run : mapping
        JSON-ready description of the run, kept as ``run.json``.
    overview : (int, int)
        Height and width of the picture of the scanned area, which :meth:`StoreWriter.write_overview` takes.

    Returns
    -------
    dict
        Array → tally of its chunks that are written already; the empty name: metadata.

    Raises
    ------
    StoreError
        When ``path`` holds something that is not a store, or cannot be written.
    """
    # In a shared folder the name is known to all: made exclusively, it is ours or the run ends.
    staging = path.with_name(f".wsss-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.new")
    try:
        clear_store(path)
        clear_store(staging)
        staging.mkdir()
        try:
            tallies = defaultdict[str, Tally](Tally)
            for name, content in _content(layout, overview).items():
                file = staging / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                if name != "labels/tissue/zarr.json":  # written anew at the end
                    tallies[array_of(name)].add(name, hashlib.sha256(content).digest())
            write_json_atomic(staging / RUN, dict(run))
            tallies[""].add(RUN, sha256_of(staging / RUN))
            # In one step: it is a store at every moment, whoever is killed.
            staging.rename(path)
            return tallies
        except OSError:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    except OSError as error:
        raise disk_error(path, "cannot be written", error, "choose another --out") from error


def clear_store(path: Path) -> None:
    """Delete a store, complete, half-made or half-deleted; refuse to delete anything else.

    Raises
    ------
    StoreError
        When there is something else, or anything in the store that is no part of one.
    """
    if path.is_symlink():
        raise StoreError(
            f"{path} is a link, and none is followed to delete a store; name {path.resolve()} itself."
        )
    if not path.exists():
        return
    if not path.is_dir() or not _is_ours(path):
        raise StoreError(
            f"{path} exists and is not a result store of ours; move it away or choose another --out."
        )
    for name, kind in entries(path):
        if kind in (Kind.FOREIGN, Kind.SPECIAL):
            raise StoreError(
                f"{path} holds {printable(name)}, which is no part of a result store; move that away first."
            )
    # run.json goes last: killed half-way, the rest is still known as ours.
    for child in path.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
        elif child.name != RUN:
            child.unlink()
    (path / RUN).unlink(missing_ok=True)
    path.rmdir()


def _is_ours(path: Path) -> bool:
    """Tell whether a folder is a store, by what is in its files: other programs have a ``run.json``, too."""
    if path.name.startswith(".wsss-") or not any(path.iterdir()):
        return True
    try:
        run = read_run(path)
    except StoreDamagedError:
        run = {}
    if run is not None and run.keys() >= _RUN_KEYS:
        return True
    # A damaged run.json is a reason to start over: then the arrays tell.
    return (path / RUN).is_file() and all((path / name / "zarr.json").is_file() for name in _ARRAYS)


def _content(layout: StoreLayout, overview: tuple[int, int]) -> dict[str, bytes]:
    """Return the files of an empty store, by name: all groups and arrays.

    Made in memory, where zarr need not ask the disk before every node whether there is one already.
    """
    grid = layout.grid
    shapes = level_shapes(grid.height, grid.width)
    files: dict[str, Any] = {}
    root = zarr.create_group(files, zarr_format=3)
    coarse = (grid.height * layout.mpp / overview[0], grid.width * layout.mpp / overview[1])
    shift = tuple(t + (c - layout.mpp) / 2 for t, c in zip(layout.translation, coarse, strict=True))
    root.attrs.update(ngff.image_attributes(layout.name, len(shapes), coarse, (shift[0], shift[1]), rgb=True))
    _create_overview(root, overview, len(shapes))

    labels = root.create_group("labels")
    labels.attrs.update(ngff.labels_group_attributes(["tissue"]))
    tissue = labels.create_group("tissue")
    tissue.attrs.update(
        ngff.label_attributes("tissue", layout.schema, len(shapes), layout.mpp, layout.translation)
    )
    _create_pyramid(tissue, shapes, _chunk(grid))

    if layout.probabilities:
        _create_class_images(root, "probabilities", layout, grid, layout.mpp)
    if layout.cam_grid is not None:
        _create_class_images(
            root, "cams", layout, layout.cam_grid, layout.mpp * grid.tile / layout.cam_grid.tile
        )
    _create_tiles(root, layout)
    return {name: content.to_bytes() for name, content in files.items()}


def _create_overview(root: zarr.Group, shape: tuple[int, int], levels: int) -> None:
    for level in range(levels):
        root.create_array(
            name=str(level),
            shape=(3, *shape),
            dtype="uint8",
            compressors=_COMPRESSION,
            chunks=(3, min(512, shape[0]), min(512, shape[1])),
            dimension_names=("c", "y", "x"),
        )
        shape = (-(-shape[0] // 2), -(-shape[1] // 2))


def _create_class_images(
    root: zarr.Group, name: str, layout: StoreLayout, grid: TileGrid, mpp: float
) -> None:
    """Create one plain (y, x) pyramid per class: viewers slice those without loading other classes."""
    shapes = level_shapes(grid.height, grid.width)
    shift = tuple(t + (mpp - layout.mpp) / 2 for t in layout.translation)
    parent = root.create_group(name)
    for tissue in layout.schema.classes:
        group = parent.create_group(tissue.abbreviation)
        group.attrs.update(
            ngff.image_attributes(
                f"{name} {tissue.name}", len(shapes), (mpp, mpp), (shift[0], shift[1]), rgb=False
            )
        )
        group.attrs["value_scale"] = 1 / 255
        _create_pyramid(group, shapes, _chunk(grid))


def _create_tiles(root: zarr.Group, layout: StoreLayout) -> None:
    """Create the tile table; a chunk is some whole tile rows, so each is written once."""
    grid, classes = layout.grid, len(layout.schema)
    count = grid.rows * grid.columns
    row = np.repeat(np.arange(grid.rows), grid.columns)
    column = np.tile(np.arange(grid.columns), grid.rows)
    group = root.create_group("tiles")
    group.attrs.update(
        {
            "columns": grid.columns,
            "rows": grid.rows,
            "tile": grid.tile,
            "stride": grid.stride,
            "classes": list(layout.schema.names),
            "flags": {
                "empty": FLAG_EMPTY,
                "predicted": FLAG_PREDICTED,
                "read_error": FLAG_READ_ERROR,
                **DOUBTS,
            },
        }
    )
    for name, canvas, origin in (("x", column, grid.origin[0]), ("y", row, grid.origin[1])):
        array = _create_table(group, name, "float64", (count,), min(count, 1 << 16), 0)
        array[:] = origin + canvas * grid.stride * grid.scale
    chunk = grid.columns * min(grid.rows, -(-_CHUNK_TILES // grid.columns))
    _create_table(group, "flags", "uint8", (count,), chunk, 0)
    _create_table(group, "confidence", "float32", (count,), chunk, np.nan)
    for name in ("presence", "shares"):
        _create_table(group, name, "float32", (count, classes), chunk, np.nan)


def _create_table(
    group: zarr.Group, name: str, dtype: str, shape: tuple[int, ...], chunk: int, fill: float
) -> zarr.Array[Any]:
    """Create a table of tiles, ``chunk`` tiles to a file."""
    return group.create_array(
        name=name,
        shape=shape,
        dtype=dtype,
        chunks=(chunk, *shape[1:]),
        compressors=_COMPRESSION,
        # With "/" every file would lie in a folder of its own.
        chunk_key_encoding={"name": "default", "separator": "."},
        fill_value=fill,
        dimension_names=("tile", "class")[: len(shape)],
    )
