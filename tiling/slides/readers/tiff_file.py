"""A TIFF file as a stranger's: opened without endless loops, mended where that is clear, read by several threads."""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import tifffile

from tiling.errors import SlideError
from tiling.files import unreadable
from tiling.slides.ome_xml import is_ome_xml, mended

__all__ = ["MAX_DIRECTORIES", "PositionedFile", "is_tiff", "opened"]

# Without a handler, logging would print tifffile's remarks on odd files between our own messages.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

MAX_DIRECTORIES = 1 << 16
"""Most pages that a file may have: a slide has ten, a stack of focal planes a few hundred."""

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_tiff(path: Path) -> bool:
    """Say whether the file starts like a TIFF or BigTIFF of either byte order."""
    with path.open("rb") as stream:
        return stream.read(4) in _MAGIC


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a TIFF with tifffile; what goes wrong with a damaged one becomes a :class:`SlideError`.

    No other file is opened, whatever an OME-XML inside names. OME-XML that is damaged at its end or holds control
    characters is mended before tifffile reads it.
    """
    try:
        with path.open("rb") as stream:
            _refuse_loops(path, stream)
        with contextlib.ExitStack() as stack:
            tiff = stack.enter_context(tifffile.TiffFile(path, _multifile=False))
            description = _first_description(tiff)
            if is_ome_xml(description):
                clean = mended(description)
                if clean != description or not tiff.is_ome:
                    tiff = stack.enter_context(tifffile.TiffFile(path, _multifile=False, omexml=clean))
            yield tiff
    except (SlideError, OSError):
        raise
    # A damaged directory shows as almost any exception (struct, index, value, type errors, zero division).
    except Exception as error:
        reason = str(error)[:200]
        said = f" ({reason})" if " " in reason else ""  # a key or an index alone says nothing
        damaged = f"{path} is a damaged TIFF{said}; copy or export it again."
        raise unreadable(path, error, damaged) from error


class PositionedFile:
    """Positioned reads that several threads may make at once; closed when the last of them is done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("rb", buffering=0)
        self._lock = threading.Lock()
        self._readers = 0
        self._closed = False

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes."""
        with self._lock:
            if self._closed:
                raise SlideError(f"{self._path} was closed while it was being read.")
            self._readers += 1
        try:
            data = self._read(offset, size)
        finally:
            with self._lock:
                self._readers -= 1
                self._close_if_unused()
        if len(data) != size:
            raise SlideError(f"{self._path} ends too early; copy or export it again.")
        return data

    def close(self) -> None:
        """Close the file as soon as nobody reads; a second call does nothing."""
        with self._lock:
            self._closed = True
            self._close_if_unused()

    def _read(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._stream.fileno(), size, offset)
        with self._lock:  # Windows
            self._stream.seek(offset)
            return self._stream.read(size) or b""

    def _close_if_unused(self) -> None:
        # A descriptor closed under a reader may already be another file's.
        if self._closed and not self._readers:
            self._stream.close()


def _first_description(tiff: Any) -> str:
    """Return the ImageDescription of the first page; empty when it has none that is text."""
    text = tiff.pages.first.description
    return text if isinstance(text, str) else ""


def _refuse_loops(path: Path, stream: BinaryIO) -> None:
    """Follow the chain of directories and refuse one that comes back to itself: tifffile would follow it for ever."""
    head = stream.read(8)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    # NDPI writes 64-bit pointers into what else is a classic TIFF.
    wide = big or path.suffix.casefold() == ".ndpi"
    pointer, count, entry = order + ("Q" if wide else "I"), order + ("Q" if big else "H"), 20 if big else 12
    stream.seek(8 if big else 4)
    seen: set[int] = set()
    try:
        while offset := struct.unpack(pointer, stream.read(struct.calcsize(pointer)))[0]:
            if offset in seen or len(seen) >= MAX_DIRECTORIES:
                what = "its pages form a loop" if offset in seen else f"more than {MAX_DIRECTORIES} pages"
                raise SlideError(f"{path} is a damaged TIFF ({what}); copy or export it again.")
            seen.add(offset)
            stream.seek(offset)
            tags = struct.unpack(count, stream.read(struct.calcsize(count)))[0]
            stream.seek(offset + struct.calcsize(count) + tags * entry)
    except (struct.error, OverflowError, ValueError, OSError):
        return  # the chain leads out of the file: tifffile takes what lies before that
