"""The journal of a run: which tile rows are committed, and what the next row needs from them.

A committed row is one line of ``journal/rows.jsonl`` (synced to disk), written after everything that the row made
final is stored and after the state that the next row starts from, the *carry*, is on disk. A kill loses at most the
row whose line is not there yet. The last carry and the one before it are kept, no more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.errors import StoreError
from tiling.files import replacing

__all__ = ["Journal", "RowRecord"]

_BLANK = "blank"
"""Name in a carry file of the list of arrays that hold nothing."""


@dataclass(frozen=True)
class RowRecord:
    """One committed tile row.

    Attributes
    ----------
    row : int
        Tile row; rows are committed in order, from 0.
    tiles : int
        Predicted tiles of this row.
    counts : tuple of int
        Pixels per store label, over all rows so far.
    seconds : float
        Time spent on this row, for the receipt.
    read_errors : int
        Tiles of this row that could not be read and were left blank on request.
    """

    row: int
    tiles: int
    counts: tuple[int, ...]
    seconds: float
    read_errors: int = 0


class Journal:
    """Reads and appends the rows of one store.

    Parameters
    ----------
    folder : Path
        ``<store>/journal``; made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines = folder / "rows.jsonl"

    def read(self) -> list[RowRecord]:
        """Return the committed rows in order; a torn last line (a kill while it was written) counts as absent.

        Raises
        ------
        StoreError
            When an earlier line is damaged or rows are out of order.
        """
        if not self._lines.exists():
            return []
        records: list[RowRecord] = []
        lines = self._lines.read_bytes().split(b"\n")
        for number, line in enumerate(lines):
            if not line:
                continue
            try:
                entry: dict[str, Any] = json.loads(line)
                record = RowRecord(**{**entry, "counts": tuple(entry["counts"])})
            except (ValueError, TypeError, KeyError) as error:
                if number == len(lines) - 1:
                    break
                raise StoreError(
                    f"{self._lines} is damaged in line {number + 1}; run again with --restart."
                ) from error
            if record.row != len(records):
                raise StoreError(f"{self._lines} lacks row {len(records)}; run again with --restart.")
            records.append(record)
        return records

    def commit(self, record: RowRecord, carry: Mapping[str, NDArray[Any]]) -> None:
        """Make a row durable: first its carry, then its line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Each array costs a quarter of a millisecond; those without content are only named.
        blank = {name: (array.shape, array.dtype.str) for name, array in carry.items() if not array.size}
        held = {name: array for name, array in carry.items() if array.size}
        held[_BLANK] = np.frombuffer(json.dumps(blank).encode(), np.uint8)
        with replacing(self._carry_file(record.row)) as file:
            np.savez(file, allow_pickle=False, **held)
        line = json.dumps({**record.__dict__, "counts": list(record.counts)}) + "\n"
        with self._lines.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        self._carry_file(record.row - 2).unlink(missing_ok=True)

    def resume(self) -> tuple[list[RowRecord], dict[str, NDArray[Any]]]:
        """Return the committed rows and the carry after the last one (empty when there is none).

        A torn last line is cut off, so that the next commit starts a line of its own.
        """
        records = self.read()
        if self._lines.exists():
            whole = b"".join(line + b"\n" for line in self._lines.read_bytes().split(b"\n")[: len(records)])
            with replacing(self._lines) as file:
                file.write(whole)
        if not records:
            return [], {}
        return records, _unpack(self._carry_file(records[-1].row))

    def remove(self) -> None:
        """Delete the journal: the receipt has taken its place."""
        if self.folder.exists():
            for file in self.folder.iterdir():
                file.unlink()
            self.folder.rmdir()

    def _carry_file(self, row: int) -> Path:
        return self.folder / f"carry-{row}.npz"


def _unpack(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {key: file[key] for key in file.files}
        blank = json.loads(bytes(held.pop(_BLANK, b"{}")))
        return held | {name: np.zeros(shape, dtype) for name, (shape, dtype) in blank.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} cannot be read, so the run cannot be resumed; run again with --restart."
        ) from error
