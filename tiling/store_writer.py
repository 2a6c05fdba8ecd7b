"""The writing side of a result store: its shape, its creation, and rows appended to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from tiling import ngff
from tiling.chunks import ChunkFiles
from tiling.classes import ClassSchema
from tiling.errors import StoreError
from tiling.files import read_json, write_json_atomic
from tiling.folders import RUN
from tiling.grid import TileGrid
from tiling.pyramid import LineBuffer, LinePyramid, halve_labels, halve_mean, level_shapes
from tiling.store import FLAG_EMPTY, FLAG_PREDICTED, FLAG_READ_ERROR

__all__ = ["StoreLayout", "StoreWriter", "clear_store", "create_store", "sweep"]

_CHUNK_LINES = 128
_CHUNK_COLUMNS = 2048
_CHUNK_TILES = 4096
_COMPRESSION = ZstdCodec(level=1, checksum=True)
"""Half the time of the library's own level at the same size; what a disk has torn does not decode."""


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


def create_store(path: Path, layout: StoreLayout, run: Mapping[str, Any], overview: tuple[int, int]) -> None:
    """Create an empty store; what an earlier run left at ``path`` is deleted if it is a store.

    Parameters
    ----------
    path : Path
    layout : StoreLayout
    run : mapping
        JSON-ready description of the run, kept as ``run.json``.
    overview : (int, int)
        Height and width of the picture of the scanned area, which :meth:`StoreWriter.write_overview` takes.

    Raises
    ------
    StoreError
        When ``path`` holds something that is not a store, or cannot be written.
    """
    try:
        clear_store(path)
        for leftover in path.parent.glob(f".{path.name}.*.new"):
            shutil.rmtree(leftover)
        staging = path.with_name(f".{path.name}.{os.getpid()}.new")
        for name, content in _content(layout, overview).items():
            file = staging / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        write_json_atomic(staging / RUN, dict(run))
        # In one step: it is a store at every moment, whoever is killed.
        staging.rename(path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}; choose another --out."
        ) from error


def clear_store(path: Path) -> None:
    """Delete a store; refuse to delete anything else.

    Raises
    ------
    StoreError
        When the path exists and is neither empty nor a store.
    """
    if not path.exists():
        return
    if not path.is_dir() or (not (path / RUN).exists() and any(path.iterdir())):
        raise StoreError(
            f"{path} exists and is not a result store of ours; move it away or choose another --out."
        )
    # run.json goes last: killed half-way, the rest is still known as ours.
    for child in path.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
        elif child.name != RUN:
            child.unlink()
    (path / RUN).unlink(missing_ok=True)
    path.rmdir()


def sweep(path: Path) -> None:
    """Remove half-written temporary files that a kill left behind (zarr's and ours)."""
    for leftover in [*path.rglob("*.partial"), *path.rglob(".*.tmp")]:
        leftover.unlink(missing_ok=True)


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
            "flags": {"empty": FLAG_EMPTY, "predicted": FLAG_PREDICTED, "read_error": FLAG_READ_ERROR},
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


class StoreWriter:
    """Appends finished tile rows to a store that :func:`create_store` made.

    Parameters
    ----------
    path : Path
    layout : StoreLayout
    """

    def __init__(self, path: Path, layout: StoreLayout) -> None:
        self._path = path
        self._root = zarr.open_group(path, mode="r+")
        self._layout = layout
        self._files: list[ChunkFiles] = []
        levels = range(len(level_shapes(layout.grid.height, layout.grid.width)))
        self._overview = [self._open_array(self._root[str(level)]) for level in levels]
        tiles = self._root["tiles"]
        assert isinstance(tiles, zarr.Group)
        tables = {name: self._open_array(array) for name, array in tiles.arrays()}
        self._tables = {name: LineBuffer(a) for name, a in tables.items() if name not in ("x", "y")}
        self.images: dict[str, LinePyramid] = {"labels": self._open("labels/tissue", halve_labels)}
        kinds = [("probabilities", layout.probabilities), ("cams", layout.cam_grid is not None)]
        for kind, kept in kinds:
            for tissue in layout.schema.classes if kept else ():
                name = f"{kind}/{tissue.abbreviation}"
                self.images[name] = self._open(name, halve_mean)

    def _open(self, name: str, halve: Any) -> LinePyramid:
        group = self._root[name]
        assert isinstance(group, zarr.Group)
        arrays = dict(group.arrays())
        return LinePyramid([self._open_array(arrays[str(level)]) for level in range(len(arrays))], halve)

    def _open_array(self, array: zarr.Array[Any] | zarr.Group) -> ChunkFiles:
        assert isinstance(array, zarr.Array)
        self._files.append(ChunkFiles(array))
        return self._files[-1]

    def write_overview(self, overview: NDArray[np.uint8]) -> None:
        """Write the picture of the scanned area, (h, w, 3) uint8, and its coarser levels."""
        channels = np.ascontiguousarray(np.moveaxis(overview, -1, 0))
        for level in self._overview:
            level[:] = channels
            channels = np.stack([halve_mean(channel) for channel in channels])

    def check(self) -> None:
        """Check that every chunk of the store is whole; reads all of them.

        Raises
        ------
        StoreError
            When one is not: the machine went down before the system had brought it to the disk.
        """
        for array in self._files:
            for path in array.torn():
                raise StoreError(
                    f"{path} was torn when the machine went down in the middle of the run; run again with --restart."
                )

    def append_tiles(self, table: Mapping[str, NDArray[Any]]) -> None:
        """Append the tile table of one tile row; arrays of ``grid.columns`` entries."""
        for name, values in table.items():
            self._tables[name].append(values)

    def set_areas(self, areas_mm2: Mapping[str, float]) -> None:
        """Add the areas to the label image's properties."""
        layout = self._layout
        shapes = level_shapes(layout.grid.height, layout.grid.width)
        # Not by zarr, which would make the folder again if the store had been taken away.
        file = self._path / "labels" / "tissue" / "zarr.json"
        metadata = read_json(file)
        metadata["attributes"] |= ngff.label_attributes(
            "tissue", layout.schema, len(shapes), layout.mpp, layout.translation, areas_mm2
        )
        write_json_atomic(file, metadata)

    def pending(self) -> dict[str, NDArray[Any]]:
        """Return all that is in no chunk yet, for the journal."""
        lines = {
            f"{name}|{key}": value
            for name, image in self.images.items()
            for key, value in image.pending().items()
        }
        return lines | {f"tiles|{name}": table.lines() for name, table in self._tables.items()}

    def restore(self, state: Mapping[str, NDArray[Any]], rows: int, lines: Mapping[str, int]) -> None:
        """Go on after a kill, with ``rows`` tile rows written; ``lines`` are the finest lines appended per image."""
        for name, table in self._tables.items():
            table.restore(rows * self._layout.grid.columns, state[f"tiles|{name}"])
        for name, image in self.images.items():
            prefix = f"{name}|"
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            image.restore(own, lines[name])
