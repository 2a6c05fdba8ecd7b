"""An empty store: its arrays and metadata, made in memory and put on disk in one step."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

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
_PLACES = 1 << 16
"""Entries of a chunk of the tiles' places."""

_COMPRESSION = {"level": 1, "checksum": True}
"""Zstandard, in half the time of zarr's own level at the same size; what a disk has torn does not decode."""

_Files = dict[str, bytes]
"""Files of a store by their names in it."""


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


def _content(layout: StoreLayout, overview: tuple[int, int]) -> _Files:
    """Return the files of an empty store, by name: all groups and arrays.

    The documents are written out here. Made by zarr, each costs some visits to its event loop, and while threads read
    the first tiles every visit waits for Python's lock.
    """
    grid = layout.grid
    shapes = level_shapes(grid.height, grid.width)
    coarse = (grid.height * layout.mpp / overview[0], grid.width * layout.mpp / overview[1])
    shift = tuple(t + (c - layout.mpp) / 2 for t, c in zip(layout.translation, coarse, strict=True))
    image = ngff.image_attributes(layout.name, len(shapes), coarse, (shift[0], shift[1]), rgb=True)
    files = {"zarr.json": _group(image), **_overview(overview, len(shapes))}
    label = ngff.label_attributes("tissue", layout.schema, len(shapes), layout.mpp, layout.translation)
    files["labels/zarr.json"] = _group(ngff.labels_group_attributes(["tissue"]))
    files |= _pyramid("labels/tissue", label, grid)
    if layout.probabilities:
        files |= _class_images("probabilities", layout, grid, layout.mpp)
    if layout.cam_grid is not None:
        factor = grid.tile / layout.cam_grid.tile
        files |= _class_images("cams", layout, layout.cam_grid, layout.mpp * factor)
    return files | _tiles(layout)


def _overview(shape: tuple[int, int], levels: int) -> _Files:
    files: _Files = {}
    for level in range(levels):
        chunk = (3, min(512, shape[0]), min(512, shape[1]))
        files[f"{level}/zarr.json"] = _array("uint8", (3, *shape), chunk, ("c", "y", "x"))
        shape = (-(-shape[0] // 2), -(-shape[1] // 2))
    return files


def _pyramid(name: str, attributes: Mapping[str, Any], grid: TileGrid) -> _Files:
    """Return a group of attributes with the levels of a (y, x) image in it."""
    lines, columns = _chunk(grid)
    levels = {
        f"{name}/{level}/zarr.json": _array(
            "uint8", shape, (min(lines, shape[0]), min(columns, shape[1])), ("y", "x")
        )
        for level, shape in enumerate(level_shapes(grid.height, grid.width))
    }
    return {f"{name}/zarr.json": _group(attributes), **levels}


def _class_images(name: str, layout: StoreLayout, grid: TileGrid, mpp: float) -> _Files:
    """Return one plain (y, x) pyramid per class: viewers slice those without loading other classes."""
    levels = len(level_shapes(grid.height, grid.width))
    y, x = (t + (mpp - layout.mpp) / 2 for t in layout.translation)
    files = {f"{name}/zarr.json": _group({})}
    for tissue in layout.schema.classes:
        about = ngff.image_attributes(f"{name} {tissue.name}", levels, (mpp, mpp), (y, x), rgb=False)
        files |= _pyramid(f"{name}/{tissue.abbreviation}", {**about, "value_scale": 1 / 255}, grid)
    return files


def _tiles(layout: StoreLayout) -> _Files:
    """Return the tile table; a chunk is some whole tile rows, so each is written once."""
    grid, classes = layout.grid, len(layout.schema)
    count = grid.rows * grid.columns
    flags = {"empty": FLAG_EMPTY, "predicted": FLAG_PREDICTED, "read_error": FLAG_READ_ERROR, **DOUBTS}
    about = {
        "columns": grid.columns,
        "rows": grid.rows,
        "tile": grid.tile,
        "stride": grid.stride,
        "classes": list(layout.schema.names),
        "flags": flags,
    }
    files = {"tiles/zarr.json": _group(about)}
    row, column = np.divmod(np.arange(count), grid.columns)
    for name, canvas, origin in (("x", column, grid.origin[0]), ("y", row, grid.origin[1])):
        files |= _places(f"tiles/{name}", origin + canvas * grid.stride * grid.scale)
    rows = grid.columns * min(grid.rows, -(-_CHUNK_TILES // grid.columns))
    files["tiles/flags/zarr.json"] = _table("uint8", (count,), rows)
    files["tiles/confidence/zarr.json"] = _table("float32", (count,), rows, "NaN")
    for name in ("presence", "shares"):
        files[f"tiles/{name}/zarr.json"] = _table("float32", (count, classes), rows, "NaN")
    return files


def _places(name: str, values: NDArray[np.float64]) -> _Files:
    """Return a column that is complete from the start."""
    chunk, zstd = min(len(values), _PLACES), Zstd(**_COMPRESSION)
    files = {f"{name}/zarr.json": _table("float64", values.shape, chunk, 0.0)}
    for number, start in enumerate(range(0, len(values), chunk)):
        part = np.zeros(chunk, "<f8")
        part[: len(values) - start] = values[start : start + chunk]
        if part.any():  # a chunk of nothing but the fill value has no file
            files[f"{name}/c.{number}"] = zstd.encode(part)
    return files


def _table(kind: str, shape: tuple[int, ...], chunk: int, fill: float | str = 0) -> bytes:
    """Return what describes a table of tiles, ``chunk`` tiles to a file."""
    # With "/" every file would lie in a folder of its own.
    return _array(kind, shape, (chunk, *shape[1:]), ("tile", "class")[: len(shape)], fill, ".")


def _array(
    kind: str,
    shape: Sequence[int],
    chunk: Sequence[int],
    axes: Sequence[str],
    fill: float | str = 0,
    separator: str = "/",
) -> bytes:
    """Return the document of an array, as zarr writes it."""
    order = {} if kind == "uint8" else {"configuration": {"endian": "little"}}
    return _document(
        {
            "shape": shape,
            "data_type": kind,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": separator}},
            "fill_value": fill,
            "codecs": [{"name": "bytes", **order}, {"name": "zstd", "configuration": _COMPRESSION}],
            "attributes": {},
            "dimension_names": axes,
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        }
    )


def _group(attributes: Mapping[str, Any]) -> bytes:
    """Return the document of a group."""
    return _document({"attributes": attributes, "zarr_format": 3, "node_type": "group"})


def _document(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode()
