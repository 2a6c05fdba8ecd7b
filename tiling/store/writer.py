"""The writing side of a result store: rows appended to a store that was made before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore, StorePath

from tiling.errors import StoreDamagedError
from tiling.files import read_json, write_json_atomic
from tiling.store import ngff
from tiling.store.chunks import ChunkFiles
from tiling.store.contents import chunk_of, content_names
from tiling.store.layout import TILE_COLUMNS, StoreLayout
from tiling.store.pyramid import LineBuffer, LinePyramid, halve_labels, halve_mean, level_shapes
from tiling.store.receipt import ContentDigest, file_digests, sha256_of
from tiling.store.tally import Tally, array_of

__all__ = ["StoreWriter"]

_LABELS = "labels/tissue/zarr.json"
"""Written anew at the end, with the areas; so it is neither counted nor read."""


class StoreWriter:
    """Appends finished tile rows to a store that :func:`create_store` made.

    Parameters
    ----------
    path : Path
    layout : StoreLayout
    tallies : mapping
        Array → tally of what is written so far, from :func:`create_store` or the journal.

    Raises
    ------
    StoreDamagedError
        When the metadata are not those that were written.
    """

    def __init__(self, path: Path, layout: StoreLayout, tallies: Mapping[str, Tally]) -> None:
        self._path = path
        self._layout = layout
        self._metadata = tallies.get("", Tally())
        self._check_metadata()
        self._disk = LocalStore(path)
        self._files: dict[str, ChunkFiles] = {}
        self._buffers: dict[str, LineBuffer] = {}
        levels = range(len(level_shapes(layout.grid.height, layout.grid.width)))
        self._overview = [self._open_array(str(level)) for level in levels]
        for name in ("x", "y"):  # complete from the start
            self._open_array(f"tiles/{name}")
        self._tables = {
            name: self._kept(LineBuffer(self._open_array(f"tiles/{name}"))) for name in TILE_COLUMNS
        }
        self.images: dict[str, LinePyramid] = {"labels": self._open("labels/tissue", halve_labels)}
        kinds = [("probabilities", layout.probabilities), ("cams", layout.cam_grid is not None)]
        for kind, kept in kinds:
            for tissue in layout.schema.classes if kept else ():
                name = f"{kind}/{tissue.abbreviation}"
                self.images[name] = self._open(name, halve_mean)
        for name, file in self._files.items():
            file.tally.total = tallies.get(name, file.tally).total

    def _open(self, name: str, halve: Any) -> LinePyramid:
        grid = self._layout.cam_grid if name.startswith("cams/") else None
        shapes = level_shapes(*((grid or self._layout.grid).height, (grid or self._layout.grid).width))
        image = LinePyramid([self._open_array(f"{name}/{level}") for level in range(len(shapes))], halve)
        for level in image.levels:
            self._kept(level)
        return image

    def _kept(self, buffer: LineBuffer) -> LineBuffer:
        """Remember the buffer of an array: it knows which chunks are written."""
        self._buffers[buffer.array.name] = buffer
        return buffer

    def _open_array(self, name: str) -> ChunkFiles:
        # Not by the group, which asks zarr's event loop for each.
        about = read_json(self._path / name / "zarr.json")
        self._files[name] = ChunkFiles(zarr.Array.from_dict(StorePath(self._disk, name), about))
        return self._files[name]

    def write_overview(self, overview: NDArray[np.uint8]) -> None:
        """Write the picture of the scanned area, (h, w, 3) uint8, and its coarser levels."""
        channels = np.ascontiguousarray(np.moveaxis(overview, -1, 0))
        for level in self._overview:
            level[:] = channels
            channels = np.stack([halve_mean(channel) for channel in channels])

    def tallies(self) -> dict[str, str]:
        """Return the tally of each array, and under the empty name that of the metadata, for the journal."""
        return {"": str(self._metadata), **{name: str(file.tally) for name, file in self._files.items()}}

    def check(self) -> str:
        """Check that the store holds what was written, nothing less and nothing else; reads all of it.

        Returns
        -------
        str
            The content digest.

        Raises
        ------
        StoreDamagedError
            When files were lost, changed or added since, by a disk, a power cut or a person.
        """
        digest, found = ContentDigest(), defaultdict[str, Tally](Tally)
        for name, sha256 in file_digests(self._path):
            digest.add(name, sha256)
            if self._is_counted(name):
                found[array_of(name)].add(name, sha256)
        wanted = {"": self._metadata, **{name: file.tally for name, file in self._files.items()}}
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found[name]:
                raise self._damaged(name)
        return digest.hexdigest()

    def _check_metadata(self) -> None:
        """Check what describes the arrays, before anything is allocated as it says."""
        found = Tally()
        for name in content_names(self._path):
            if chunk_of(name) is None and self._is_counted(name):
                found.add(name, sha256_of(self._path / name))
        if found != self._metadata:
            raise self._damaged("")

    def _is_counted(self, name: str) -> bool:
        """Whether the journal's tally counts a file: not what a row left behind that was never committed."""
        if name == _LABELS:
            return False
        chunk = chunk_of(name)
        buffer = None if chunk is None else self._buffers.get(chunk[0])
        return chunk is None or buffer is None or chunk[1] < buffer.chunks_written

    def _damaged(self, array: str) -> StoreDamagedError:
        return StoreDamagedError(
            f"{self._path / array} does not hold what was written: files were lost, changed or added since; "
            "run again with --restart."
        )

    def append_tiles(self, table: Mapping[str, NDArray[Any]]) -> None:
        """Append the tile table of one tile row; arrays of ``grid.columns`` entries."""
        for name, values in table.items():
            self._tables[name].append(values)

    def set_areas(self, areas_mm2: Mapping[str, float]) -> None:
        """Add the areas to the label image's properties."""
        layout = self._layout
        shapes = level_shapes(layout.grid.height, layout.grid.width)
        attributes = ngff.label_attributes(
            "tissue", layout.schema, len(shapes), layout.mpp, layout.translation, areas_mm2
        )
        # Not by zarr, which would make the folder again if the store had been taken away.
        group = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
        write_json_atomic(self._path / _LABELS, group)

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
