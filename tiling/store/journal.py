"""The journal of a run: how many tile rows are committed, and what the next row needs from them.

A row is committed by one file, synced to disk after everything that the row made final is stored: the totals over all
rows so far and the state that the next row starts from, the *carry*. Two files take turns, so the one before is whole
while one is written; each proves by a checksum that it is. A kill loses at most the row that was being committed.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from tiling.errors import StoreDamagedError, StoreError
from tiling.files import open_own, open_regular, read_regular, sync, sync_folder

__all__ = ["Committed", "Journal"]

_MAGIC = b"wsss-row"
_NUMBER = 4  # bytes of a number before the header: checksum, length of the header
_LONGEST_HEADER = 2**24
_PART = 2**20  # bytes checked at a time

_UNKNOWN = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What a header raises that another version wrote, or that is torn."""

T = TypeVar("T")


@dataclass(frozen=True)
class Committed:
    """What is committed: totals over all rows so far.

    Attributes
    ----------
    rows : int
        Committed tile rows; they are committed in order, from 0.
    tiles : int
        Predicted tiles.
    counts : tuple of int
        Pixels per store label.
    seconds : float
        Wall-clock time of all runs so far, each up to its last committed row.
    read_errors : int
        Tiles that could not be read and were left blank on request.
    chunks : mapping of str to str
        Array → tally of its chunks that are written (:class:`tiling.store.tally.Tally`); the empty name: metadata.
    """

    rows: int = 0
    tiles: int = 0
    counts: tuple[int, ...] = ()
    seconds: float = 0.0
    read_errors: int = 0
    chunks: Mapping[str, str] = field(default_factory=dict)


class Journal:
    """Commits the rows of one store.

    Parameters
    ----------
    folder : Path
        ``<store>/journal``; made by the first commit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def committed(self) -> Committed:
        """Return what is committed; of the carry, which is as wide as the slide, nothing is kept in memory.

        Raises
        ------
        StoreError
            When no file of the journal is whole although a row was committed.
        """
        return self._last(_committed) or Committed()

    def resume(self) -> tuple[Committed, dict[str, NDArray[Any]]]:
        """Return what is committed and the carry after the last row (empty when there is none).

        Raises
        ------
        StoreError
            As :meth:`committed`.
        """
        return self._last(_read) or (Committed(), {})

    def _last(self, read: Callable[[Path], T | None]) -> T | None:
        """Read the last row whose file is whole; None when no row was committed."""
        there = [path for path in self._files if path.exists()]
        try:
            # Of two whole files only one need be read.
            for path in sorted(there, key=_rows, reverse=True):
                if (entry := read(path)) is not None:
                    return entry
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be read: {error.strerror or error}; mend it.") from error
        # One torn file: the first commit of all was killed. With two there was a committed row.
        if len(there) == len(self._files):
            raise StoreDamagedError(
                f"{self.folder} is damaged, so the run cannot be resumed; run again with --restart."
            )
        return None

    def commit(self, committed: Committed, carry: Mapping[str, NDArray[Any]]) -> None:
        """Make a row durable.

        Parameters
        ----------
        committed : Committed
            Totals, this row included.
        carry : mapping
            Arrays that the next row starts from.

        Raises
        ------
        OSError
            When it cannot be written; the row before stays committed.
        """
        self.folder.mkdir(exist_ok=True)
        path = self._files[committed.rows % 2]
        is_new = not path.exists()
        with os.fdopen(open_own(path, 0), "r+b") as file:
            file.writelines(_pack(committed, carry))
            file.truncate()
            file.flush()
            sync(file.fileno())
        if is_new:
            sync_folder(self.folder)

    def remove(self) -> None:
        """Delete the journal: the receipt has taken its place."""
        if self.folder.exists():
            for file in self.folder.iterdir():
                file.unlink()
            self.folder.rmdir()

    @property
    def _files(self) -> tuple[Path, Path]:
        return self.folder / "even.row", self.folder / "odd.row"


def _pack(committed: Committed, carry: Mapping[str, NDArray[Any]]) -> list[bytes | memoryview]:
    """Return the content of a file: magic, checksum of the rest, length of the header, header, arrays."""
    arrays = {name: (array.shape, array.dtype.str) for name, array in carry.items()}
    header = json.dumps({"committed": vars(committed), "arrays": arrays}).encode()
    held = [np.ascontiguousarray(array) for array in carry.values() if array.size]
    parts: list[bytes | memoryview] = [
        len(header).to_bytes(_NUMBER, "little"),
        header,
        *(array.reshape(-1).view(np.uint8).data for array in held),
    ]
    check = 0
    for part in parts:
        check = zlib.crc32(part, check)
    return [_MAGIC, check.to_bytes(_NUMBER, "little"), *parts]


def _rows(path: Path) -> int:
    """Return how many rows a file claims to commit, whether it is whole or not; -1 where it does not say."""
    with open_regular(path) as file:
        file.seek(len(_MAGIC) + _NUMBER)
        header = _header(file)
    return -1 if header is None else _totals(header).rows


def _committed(path: Path) -> Committed | None:
    """Return the totals of a file, None when it is not whole (or holds what this version does not write)."""
    with open_regular(path) as file:
        start = file.read(len(_MAGIC) + _NUMBER)
        header = _header(file)
        if header is None:
            return None
        end = file.tell() + sum(_sizes(header))
        file.seek(len(start))
        check = 0
        while part := file.read(_PART):
            check = zlib.crc32(part, check)
        whole = start == _MAGIC + check.to_bytes(_NUMBER, "little") and end <= file.tell()
    return _totals(header) if whole else None


def _header(file: BinaryIO) -> dict[str, Any] | None:
    """Read a header and its length; None where there is none that this version writes."""
    length = int.from_bytes(file.read(_NUMBER), "little")
    if length > _LONGEST_HEADER:
        return None
    try:
        header: dict[str, Any] = json.loads(file.read(length))
        _totals(header)
        _sizes(header)
    except _UNKNOWN:
        return None
    return header


def _totals(header: Mapping[str, Any]) -> Committed:
    committed = header["committed"]
    if not isinstance(committed["rows"], int):
        raise ValueError("rows are counted")
    return Committed(**{**committed, "counts": tuple(committed["counts"])})


def _sizes(header: Mapping[str, Any]) -> list[int]:
    """Return the bytes of each array."""
    sizes = [math.prod(shape) * np.dtype(kind).itemsize for shape, kind in header["arrays"].values()]
    if min(sizes, default=0) < 0:
        raise ValueError("no array has less than nothing")
    return sizes


def _read(path: Path) -> tuple[Committed, dict[str, NDArray[Any]]] | None:
    """Return the content of a file, None when it is not whole (or holds what this version does not write)."""
    content = read_regular(path)
    start = len(_MAGIC) + _NUMBER
    check = zlib.crc32(memoryview(content)[start:])
    if content[:start] != _MAGIC + check.to_bytes(_NUMBER, "little"):
        return None
    try:
        return _unpacked(content, start)
    except _UNKNOWN:  # whole, but written by another version
        return None


def _unpacked(content: bytes, start: int) -> tuple[Committed, dict[str, NDArray[Any]]]:
    length = int.from_bytes(content[start : start + _NUMBER], "little")
    start += _NUMBER
    header = json.loads(content[start : start + length])
    places = itertools.accumulate(_sizes(header), initial=start + length)
    carry = {
        name: np.frombuffer(content, kind, math.prod(shape), place).reshape(shape).copy()
        for (name, (shape, kind)), place in zip(header["arrays"].items(), places, strict=False)
    }
    return _totals(header), carry
