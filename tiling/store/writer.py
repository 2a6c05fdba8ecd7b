"""The writing side of a result store: rows appended to a store that was made before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.errors import StoreError
from tiling.files import read_json, write_json_atomic
from tiling.store import ngff
from tiling.store.chunks import ChunkFiles
from tiling.store.layout import StoreLayout
from tiling.store.pyramid import LineBuffer, LinePyramid, halve_labels, halve_mean, level_shapes

__all__ = ["StoreWriter", "sweep"]


def sweep(path: Path) -> None:
    """Remove half-written temporary files that a kill left behind (zarr's and ours)."""
    for leftover in [*path.rglob("*.partial"), *path.rglob(".*.tmp")]:
        leftover.unlink(missing_ok=True)


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
