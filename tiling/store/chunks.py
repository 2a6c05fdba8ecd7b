"""Whole chunks of a zarr array, written and read as files of their own.

A run appends whole chunks and nothing else, thousands of small ones. The general way of zarr costs a visit to its
event loop, its index algebra and its codec threads per call, all of it under Python's lock while two threads are
reading; here a chunk is one compression and one file. A viewer that reads waits for none of zarr's threads. And where
zarr makes folders again that were taken away in the middle of a run, this fails.
"""
# Paths are strings here: making Path objects took a fifth of the time of a chunk.
# ruff: noqa: PTH102, PTH105, PTH108, PTH110, PTH112, PTH120, PTH123

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, ZstdCodec
from zarr.storage import LocalStore

from tiling.errors import StoreError
from tiling.files import create_new, temporary_name
from tiling.store.tally import Tally

__all__ = ["ChunkFiles", "StoredArray", "read_here"]


class ChunkFiles:
    """Writes whole chunks of a zarr array that lies in a folder.

    Parameters
    ----------
    array : zarr.Array
        Zarr format 3, zstd-compressed, on the local file system: as ``tiling.store.writer`` creates them.

    Raises
    ------
    StoreError
        When the array is stored in another way.

    Notes
    -----
    A chunk appears under its name when it is complete: whoever reads while a run writes sees it whole or not at all. A
    chunk of nothing but the array's fill value has no file.
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        self.shape: tuple[int, ...] = array.shape
        self.chunks: tuple[int, ...] = array.chunks
        where, codec = _place(array), _compression(array)
        if where is None or codec is None:
            raise StoreError(
                f"{array.store_path} is stored in a way that this version does not write; run again with --restart."
            )
        self.name: str = array.path
        self.tally = Tally()
        """Counts the chunks that are written."""
        self._folder, self._name = where
        self.dtype: np.dtype[Any] = array.dtype
        self._stored = array.dtype.newbyteorder("<")
        self._fill = array.fill_value
        self._zstd = Zstd(level=codec.level, checksum=codec.checksum)
        self._blank: bytes = self._zstd.encode(np.full(self.chunks, self._fill, self._stored))
        self._temporary = temporary_name()

    def __setitem__(self, key: slice | tuple[slice, ...], values: NDArray[Any]) -> None:
        """Write whole chunks.

        Parameters
        ----------
        key : slice or tuple of slice
            One per axis (axes that are left out are whole), from the start of a chunk to the end of one or of the
            array.
        values : array
            Of the shape that ``key`` describes.

        Raises
        ------
        ValueError
            When a chunk would be written in part.
        OSError
            When a file cannot be written; FileNotFoundError when the array's folder is gone.
        """
        slices = key if isinstance(key, tuple) else (key,)
        slices += (slice(None),) * (len(self.shape) - len(slices))
        spans = [s.indices(length) for s, length in zip(slices, self.shape, strict=True)]
        for (start, stop, step), length, chunk in zip(spans, self.shape, self.chunks, strict=True):
            if step != 1 or start % chunk or (stop % chunk and stop != length):
                raise ValueError(f"{key} is not made of whole chunks of {self.chunks}")
        if values.shape != tuple(stop - start for start, stop, _ in spans):
            raise ValueError(f"{key} cannot take an array of shape {values.shape}")
        numbers = [
            range(start // chunk, -(-stop // chunk))
            for (start, stop, _), chunk in zip(spans, self.chunks, strict=True)
        ]
        for index in itertools.product(*numbers):
            part = tuple(
                slice(i * chunk - start, min((i + 1) * chunk, stop) - start)
                for i, chunk, (start, stop, _) in zip(index, self.chunks, spans, strict=True)
            )
            self._write(index, values[part])

    def _write(self, index: tuple[int, ...], values: NDArray[Any]) -> None:
        if values.shape != self.chunks:  # at the edge of the array: files always hold whole chunks
            whole = np.full(self.chunks, self._fill, self._stored)
            whole[tuple(slice(n) for n in values.shape)] = values
            values = whole
        content = self._zstd.encode(np.ascontiguousarray(values, self._stored))
        path = f"{self._folder}/{self._name(index)}"
        folder = path.rpartition("/")[0]
        temporary = f"{folder}/{self._temporary}"
        try:
            if content == self._blank:
                if os.path.exists(path):
                    os.unlink(path)
                return
            try:
                _write_file(temporary, content)
            except FileNotFoundError:
                self._make_folders(folder)
                _write_file(temporary, content)
            os.replace(temporary, path)
            self.tally.add(f"{self.name}/{self._name(index)}", hashlib.sha256(content).digest())
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _make_folders(self, wanted: str) -> None:
        """Make the folders of a chunk below the array's own, which must be there."""
        missing = []
        while wanted != self._folder and not os.path.isdir(wanted):
            missing.append(wanted)
            wanted = os.path.dirname(wanted)
        for folder in reversed(missing):
            os.mkdir(folder)


class StoredArray:
    """A zarr array that lies in a folder, read in the thread that asks.

    Parameters
    ----------
    array : zarr.Array
        As :class:`ChunkFiles` writes it.

    Raises
    ------
    StoreError
        When the array is stored in another way.

    Notes
    -----
    zarr's own way goes to its event loop and its threads for every chunk, the missing ones included, and each of them
    wants Python's lock: 9 missing chunks took 5 ms, 79 ms beside a thread that computes; here 0.1.
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        where, codec = _place(array), _compression(array)
        if where is None or codec is None:
            raise StoreError(f"{array.store_path} is stored in a way that is read by zarr alone.")
        self._array = array
        self._folder, self._name = where
        self.shape: tuple[int, ...] = array.shape
        self.chunks: tuple[int, ...] = array.chunks
        self.dtype: np.dtype[Any] = array.dtype
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)
        self._stored = array.dtype.newbyteorder("<")
        self._zstd = Zstd()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return a box of the array, as zarr does; what is more than slices without steps is left to zarr."""
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) > self.ndim or not all(isinstance(p, slice) and p.step in (None, 1) for p in parts):
            return np.asarray(self._array[key])
        parts += (slice(None),) * (self.ndim - len(parts))
        spans = [range(*part.indices(length)) for part, length in zip(parts, self.shape, strict=True)]
        out = self._blank([len(span) for span in spans])
        if out.size:
            numbers = [
                range(s.start // chunk, -(-s.stop // chunk))
                for s, chunk in zip(spans, self.chunks, strict=True)
            ]
            for index in itertools.product(*numbers):
                self._read(index, spans, out)
        return out

    def _blank(self, shape: list[int]) -> NDArray[Any]:
        fill = self._array.fill_value
        return np.full(shape, fill, self.dtype) if fill else np.zeros(shape, self.dtype)

    def _read(self, index: tuple[int, ...], spans: Sequence[range], out: NDArray[Any]) -> None:
        """Put what is asked of a chunk into the box; one that has no file is of the fill value."""
        try:
            with open(f"{self._folder}/{self._name(index)}", "rb") as file:
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return
        chunk = np.frombuffer(self._zstd.decode(content), self._stored).reshape(self.chunks)
        source, target = [], []
        for i, side, span in zip(index, self.chunks, spans, strict=True):
            first, last = max(span.start, i * side), min(span.stop, (i + 1) * side)
            source.append(slice(first - i * side, last - i * side))
            target.append(slice(first - span.start, last - span.start))
        out[tuple(target)] = chunk[tuple(source)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype)


def read_here(array: Any) -> Any:
    """Return a zarr array as one that is read in the thread that asks; anything else as it is."""
    if isinstance(array, zarr.Array) and array.ndim:
        with contextlib.suppress(StoreError):  # zarr reads it
            return StoredArray(array)
    return array


def _place(array: zarr.Array[Any]) -> tuple[str, Callable[[tuple[int, ...]], str]] | None:
    """Return the folder of an array and how its chunks are named in it; None when it does not lie in a folder."""
    store, names = array.store_path.store, getattr(array.metadata, "chunk_key_encoding", None)
    if not isinstance(store, LocalStore) or names is None:
        return None
    return str(Path(store.root) / array.path), names.encode_chunk_key


def _compression(array: zarr.Array[Any]) -> ZstdCodec | None:
    """Return how the bytes of a chunk are compressed; None when it is more than that, or high bytes come first."""
    codecs: tuple[object, ...] = tuple(getattr(array.metadata, "codecs", ()))
    if len(codecs) != 2 or not isinstance(codecs[0], BytesCodec) or not isinstance(codecs[1], ZstdCodec):
        return None
    # An enumeration in older zarr, text in newer.
    endian = getattr(codecs[0].endian, "value", codecs[0].endian)
    return None if endian == "big" else codecs[1]


def _write_file(path: str, content: bytes) -> None:
    """Write a file; a bare descriptor, because a row of tiles has a dozen small chunks."""
    descriptor = create_new(path)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)
