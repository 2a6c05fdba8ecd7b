"""The label log of one slide: an append-only CSV file in which every decision is on disk before the next is made.

A kill can only tear the line that was being written. A line counts when its end is there; what follows the last line
end is never read as a label, and the next writer sets it aside beside the log.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_wsss.project.decisions import SOURCES, Decision
from tiling.errors import LabelError
from tiling.files import read_regular, sync, sync_folder

__all__ = ["COLUMNS", "LabelLog"]

COLUMNS = ("time", "reader", "x", "y", "side", "mpp", "labels", "source", "cancels")
_HEADING = (",".join(COLUMNS) + "\n").encode()


class LabelLog:
    """Reads and extends one log.

    Parameters
    ----------
    path : Path
        ``labels/<slide_id>.csv``; need not exist.
    classes : int
        Number of classes of the project's schema.
    counts : (int, int), optional
        The fewest and the most classes that there have been: a decision names the classes of its time.
    """

    def __init__(self, path: Path, classes: int, counts: tuple[int, int] | None = None) -> None:
        self.path = path
        self._classes = classes
        self._counts = counts or (classes, classes)
        self._decisions: tuple[Decision, ...] = ()
        self._stamp: tuple[int, int] | None = None
        self.torn = b""
        """What follows the last whole line: a decision that a kill interrupted."""

    def decisions(self) -> tuple[Decision, ...]:
        """Return every whole line, read anew when the file has changed.

        Raises
        ------
        LabelError
            When the file cannot be read or a whole line is no label; the message names the line.
        """
        stamp = self._look()
        if stamp != self._stamp:
            self._decisions, self.torn = self._read()
            self._stamp = stamp
        return self._decisions

    def append(self, decisions: Sequence[Decision]) -> tuple[Decision, ...]:
        """Write decisions with one synced write and return them with their line numbers.

        Raises
        ------
        LabelError
            When they cannot be written; then nothing of them is in the log.
        """
        before = self.decisions()
        if not decisions:
            return ()
        first = len(before) + 2
        numbered = tuple(replace(d, line=first + i) for i, d in enumerate(decisions))
        try:
            self._set_torn_aside()
            self._write(b"".join(map(_line, numbered)))
        except OSError as error:
            raise LabelError(
                f"{self.path} cannot be written ({error.strerror or error}), so the last label was not kept; "
                "mend it and label again."
            ) from error
        self._decisions = (*before, *numbered)
        self._stamp = self._look()
        return numbered

    def _look(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        return status.st_size, status.st_mtime_ns

    def _read(self) -> tuple[tuple[Decision, ...], bytes]:
        try:
            content = read_regular(self.path)
        except FileNotFoundError:
            return (), b""
        except OSError as error:
            raise self._unreadable(error) from error
        whole, newline, torn = content.rpartition(b"\n")
        if not newline:
            return (), content
        heading, *lines = whole.replace(b"\r", b"").split(b"\n")
        if heading + b"\n" != _HEADING:
            raise LabelError(f"{self.path} has other columns than {', '.join(COLUMNS)}; restore the file.")
        return tuple(self._parse(number, line) for number, line in enumerate(lines, 2)), torn

    def _parse(self, number: int, line: bytes) -> Decision:
        try:
            (row,) = csv.reader([line.decode("utf-8")], strict=True)
            time, reader, x, y, side, mpp, labels, source, cancels = row
            decision = Decision(
                line=number,
                time=time,
                reader=reader,
                x=_number(x),
                y=_number(y),
                side=_number(side),
                mpp=_number(mpp),
                labels=_labels(labels, self._classes, self._counts) if labels else None,
                source=SOURCES[SOURCES.index(source)],
                cancels=int(cancels) if cancels else None,
            )
            if decision.cancels is not None and not 2 <= decision.cancels < number:
                raise ValueError(f"it cancels line {decision.cancels}, which is no earlier decision")
            if decision.labels is None and decision.cancels is None:
                raise ValueError("it has neither labels nor a line that it cancels")
        except (ValueError, csv.Error) as error:
            reason = str(error).partition("\n")[0]
            raise LabelError(f"{self.path}: line {number} is no label ({reason}); correct it.") from error
        return decision

    def _unreadable(self, error: OSError) -> LabelError:
        return LabelError(f"{self.path} cannot be read: {error.strerror or error}; mend it.")

    def _set_torn_aside(self) -> None:
        """Move what a kill left of its last line to ``<slide_id>.csv.torn``, so that the log ends with a whole line."""
        if not self.torn:
            return
        with self.path.with_name(self.path.name + ".torn").open("ab") as aside:
            aside.write(self.torn + b"\n")
            aside.flush()
            sync(aside.fileno())
        with self.path.open("r+b") as log:
            log.truncate(log.seek(0, os.SEEK_END) - len(self.torn))
            sync(log.fileno())
        self.torn = b""

    def _write(self, lines: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as log:
            size = log.seek(0, os.SEEK_END)
            content = lines if size else _HEADING + lines
            try:
                written = log.write(content)
                while written < len(content):
                    written += log.write(content[written:])
                sync(log.fileno())
            except OSError:
                log.truncate(size)
                raise
        if not size:
            sync_folder(self.path.parent)


def _line(decision: Decision) -> bytes:
    """Return a decision as one line; the reader's name loses line breaks, which would end it."""
    labels = "" if decision.labels is None else " ".join(str(int(held)) for held in decision.labels)
    numbers = (decision.x, decision.y, decision.side, decision.mpp)
    row = (
        decision.time,
        " ".join(decision.reader.split()),
        *(f"{round(v, 4):.10g}" for v in numbers),
        labels,
        decision.source,
        "" if decision.cancels is None else str(decision.cancels),
    )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode()


def _labels(text: str, classes: int, counts: tuple[int, int]) -> tuple[bool, ...]:
    """Return which classes of today a line names: none of those that came later, and those that went are left out."""
    digits = text.split()
    if not counts[0] <= len(digits) <= counts[1]:
        raise ValueError(f"it has {len(digits)} labels, and the project has {classes} classes")
    if any(d not in ("0", "1") for d in digits):
        raise ValueError(f"its labels are {text!r}, not 0 and 1")
    return tuple(i < len(digits) and digits[i] == "1" for i in range(classes))


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value
