"""The features of one slide: compressed places of every tissue tile, a cache that fills while it is used.

Tiles are stored in chunks of some hundred in the order in which they are read. ``done.json`` says how many are whole;
it is written, atomically, after them. What a kill leaves behind it is written anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.errors import FeaturesError
from tiling.files import machine_trouble, read_json, sync_folder, write_json_atomic

__all__ = [
    "CHUNK",
    "FeatureWriter",
    "Features",
    "TileTable",
    "described",
    "read_part",
    "read_table",
    "tiles_done",
]

CHUNK = 256
"""Tiles per chunk: what a kill costs at most, and 1.6 MB on disk."""

_DONE = "done.json"


@dataclass(frozen=True)
class TileTable:
    """The tissue tiles of a slide, in the order in which they are read.

    Attributes
    ----------
    row, column : (N,) int32
        Place in the lattice.
    x, y : (N,) float64
        Corner in level-0 pixels.
    tissue : (N,) float32
        Share of the tile that is tissue.
    """

    row: NDArray[np.int32]
    column: NDArray[np.int32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    tissue: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Features:
    """What is known of a slide's tiles so far.

    Attributes
    ----------
    tiles : TileTable
        All tissue tiles.
    values : (done, P, P, V) float16
        Of the first ``done`` tiles, places row by row.
    description : mapping
        What they were made from: slide, encoder, reduction, scale.
    """

    tiles: TileTable
    values: NDArray[np.float16]
    description: Mapping[str, Any]

    @property
    def done(self) -> int:
        """Number of tiles whose features are there."""
        return len(self.values)

    @property
    def is_complete(self) -> bool:
        """Whether every tissue tile has its features."""
        return self.done == len(self.tiles)

    @property
    def places(self) -> int:
        """Places along the side of a tile."""
        return int(self.values.shape[1])


@contextmanager
def _telling_damage(path: Path) -> Iterator[None]:
    """Turn whatever zarr, a codec or numpy make of damaged files into one kind of error."""
    try:
        yield
    except FeaturesError:
        raise
    except Exception as error:  # their kinds have no common base, and none is documented
        if trouble := machine_trouble(error):
            raise FeaturesError(f"{path} cannot be read: {trouble}; mend that and try again.") from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise FeaturesError(
            f"{path} is damaged ({reason}); delete it and prepare the slide again."
        ) from error


def _open(path: Path, mode: Literal["r", "r+"] = "r") -> zarr.Group:
    """Open a cache that holds nothing but files and folders: a pipe would be waited for, a link may lead anywhere."""
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            found = Path(folder, name)
            if found.is_symlink() or not (found.is_file() or found.is_dir()):
                raise FeaturesError(
                    f"{path} holds {name!r}, which is no file of it; delete the folder and prepare again."
                )
    return zarr.open_group(path, mode=mode)


def read_table(path: Path) -> tuple[TileTable, tuple[int, ...], dict[str, Any]]:
    """Return the tiles of a cache, the shape (N, P, P, V) of its features and what they were made from.

    Raises
    ------
    FeaturesError
        When the cache is damaged.
    """
    with _telling_damage(path):
        group = _open(path)
        columns = [np.asarray(_array(group, name)[:]) for name in ("row", "column", "x", "y", "tissue")]
        tiles, features, attributes = TileTable(*columns), _array(group, "features"), dict(group.attrs)
        shape = tuple(features.shape)
        if len(shape) != 4 or any(column.shape != (shape[0],) for column in columns):
            raise ValueError("its columns are not of one length")
        if features.dtype != np.float16 or shape[1] != shape[2] or 0 in shape[1:]:
            raise ValueError("its features are no squares of places in half precision")
    return tiles, shape, attributes


def read_part(path: Path, first: int, last: int) -> NDArray[np.float16]:
    """Return the features (last − first, P, P, V) of some tiles; raises as :func:`read_table`."""
    with _telling_damage(path):
        found = np.asarray(_array(_open(path), "features")[first:last])
        if len(found) != last - first:
            raise ValueError("it has fewer tiles than it says are done")
        return found


def described(path: Path) -> dict[str, Any] | None:
    """Return what the features on disk were made from; None when there are none, or none that can be read."""
    if tiles_done(path) is None:
        return None
    with suppress(FeaturesError), _telling_damage(path):
        return dict(_open(path).attrs)
    return None


def tiles_done(path: Path) -> int | None:
    """Return how many tiles are whole on disk; None when there is no cache that was begun properly."""
    try:
        done = read_json(path / _DONE)["tiles"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return done if isinstance(done, int) and done >= 0 else None


class FeatureWriter:
    """Fills the cache of one slide from the start, or from where a former run stopped.

    Parameters
    ----------
    path : Path
        ``features/<slide_id>.zarr``.
    tiles : TileTable
    places, values : int
        P and V.
    description : mapping
        JSON-ready; other features than these are thrown away.

    Attributes
    ----------
    done : int
        Tiles on disk.

    Raises
    ------
    FeaturesError
        When the place cannot be written.
    """

    def __init__(
        self, path: Path, tiles: TileTable, places: int, values: int, description: Mapping[str, Any]
    ) -> None:
        self._path = path
        self._total = len(tiles)
        self._pending: list[NDArray[np.float16]] = []
        try:
            done = tiles_done(path) if described(path) == dict(description) else None
            if done is None:
                self._create(tiles, places, values, description)
            self.done = done or 0
        except OSError as error:
            raise self._problem(error) from error
        with _telling_damage(path):
            array: Any = _open(path, "r+")["features"]
        self._array = array

    def _create(self, tiles: TileTable, places: int, values: int, description: Mapping[str, Any]) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.create_group(self._path, attributes=dict(description))
        group.create_array(
            "features",
            shape=(len(tiles), places, places, values),
            chunks=(CHUNK, places, places, values),
            dtype="float16",
            compressors=None,  # half-precision features hardly get smaller, and are read at every start
        )
        for name in ("row", "column", "x", "y", "tissue"):
            group.create_array(name, data=getattr(tiles, name), chunks=(max(1, len(tiles)),))
        write_json_atomic(self._path / _DONE, {"tiles": 0})
        sync_folder(self._path.parent)

    def append(self, values: NDArray[np.floating[Any]]) -> int:
        """Add the features (n, P, P, V) of the next tiles; return how many are on disk now.

        Raises
        ------
        FeaturesError
            When they cannot be written.
        """
        limits = np.finfo(np.float16)
        self._pending.append(np.clip(values, limits.min, limits.max).astype(np.float16))
        waiting = sum(map(len, self._pending))
        if waiting >= CHUNK or self.done + waiting == self._total:
            self._flush()
        return self.done

    def _flush(self) -> None:
        block = np.concatenate(self._pending)
        whole = len(block) if self.done + len(block) == self._total else len(block) // CHUNK * CHUNK
        try:
            self._array[self.done : self.done + whole] = block[:whole]
            write_json_atomic(self._path / _DONE, {"tiles": self.done + whole})
        except OSError as error:
            raise self._problem(error) from error
        self.done += whole
        self._pending = [block[whole:]]

    def _problem(self, error: OSError) -> FeaturesError:
        return FeaturesError(
            f"{self._path} cannot be written: {error.strerror or error}; mend it and prepare again."
        )


def _array(group: zarr.Group, name: str) -> Any:
    return group[name]
