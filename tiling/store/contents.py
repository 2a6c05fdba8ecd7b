"""What lies in the folder of a store, name by name: content, bookkeeping, what desktops leave, or something foreign."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import re
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from tiling.errors import StoreDamagedError, StoreError, StoreFullError, WsssError
from tiling.files import LEFTOVERS, limit_of, machine_trouble
from tiling.folders import RUN
from tiling.untrusted import printable

__all__ = ["RECEIPT", "Kind", "chunk_of", "content_names", "disk_error", "entries", "sweep", "telling_damage"]

RECEIPT = "receipt.json"
"""The file of a store that proves that it is complete."""

_CHUNK = re.compile(r"(?:(?P<array>.+)/)?c(?P<index>(?:/\d+)+|(?:\.\d+)+)")
_DESKTOP = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini", re.IGNORECASE)


class Kind(Enum):
    """What a file of a store's folder is."""

    CONTENT = auto()
    """Part of the result: metadata, chunks, ``run.json``."""
    BOOK = auto()
    """The receipt and the journal, which are about the content."""
    LEFTOVER = auto()
    """A temporary file of ours, left behind by a kill."""
    DESKTOP = auto()
    """What file managers leave in every folder that they show; changes nothing."""
    FOREIGN = auto()
    """Another file, not ours."""
    SPECIAL = auto()
    """A link, a pipe, a device: reading it could lead elsewhere, or go on for ever."""


def chunk_of(name: str) -> tuple[str, int] | None:
    """Return the array of a chunk and its number along the first axis; None for a file that is no chunk."""
    found = _CHUNK.fullmatch(name)
    return None if found is None else (found["array"] or "", int(re.split(r"[/.]", found["index"])[1]))


def entries(store: Path, *, chunks: bool = True) -> Iterator[tuple[str, Kind]]:
    """Yield the name, relative to the store, and the kind of everything in it that is no folder.

    Parameters
    ----------
    store : Path
    chunks : bool
        Also what lies in folders of chunks, which are most of the files.

    Raises
    ------
    OSError
        When a folder cannot be listed.
    """
    folders = [""]
    while folders:
        prefix = folders.pop()
        with os.scandir(store / prefix) as inside:
            for entry in inside:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    if chunks or entry.name != "c":
                        folders.append(name + "/")
                else:
                    yield name, _kind(name, entry) if entry.is_file(follow_symlinks=False) else Kind.SPECIAL


def _kind(name: str, entry: os.DirEntry[str]) -> Kind:
    if fnmatch.fnmatchcase(entry.name, LEFTOVERS):
        return Kind.LEFTOVER
    if _DESKTOP.fullmatch(entry.name):
        return Kind.DESKTOP
    if name == RECEIPT or (name.startswith("journal/") and name.endswith(".row")):
        return Kind.BOOK
    is_content = name == RUN or entry.name == "zarr.json" or _CHUNK.fullmatch(name)
    return Kind.CONTENT if is_content else Kind.FOREIGN


def content_names(store: Path) -> list[str]:
    """Return the names of all files that are content, relative to the store, in a fixed order.

    Raises
    ------
    StoreDamagedError
        When the store holds anything that is no part of one.
    OSError
        When a folder cannot be listed.
    """
    names = []
    for name, kind in entries(store):
        if kind in (Kind.FOREIGN, Kind.SPECIAL, Kind.LEFTOVER):
            raise StoreDamagedError(
                f"{store} holds {printable(name)}, which is no part of a result store; take it out."
            )
        if kind is Kind.CONTENT:
            names.append(name)
    return sorted(names)


def sweep(store: Path) -> None:
    """Remove half-written temporary files that a kill left behind."""
    for name, kind in entries(store):
        if kind is Kind.LEFTOVER:
            (store / name).unlink(missing_ok=True)


@contextlib.contextmanager
def telling_damage(store: Path) -> Iterator[None]:
    """Turn whatever zarr, a codec or numpy make of damaged files into one kind of error.

    Raises
    ------
    StoreDamagedError, StoreError
        In place of every error inside that is not ours.
    """
    try:
        yield
    except WsssError:
        raise
    except Exception as error:  # their kinds have no common base, and none is documented
        if trouble := machine_trouble(error):
            raise StoreError(f"{store} cannot be read: {trouble}; mend that and try again.") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreDamagedError(
            f"{store} is damaged ({reason[:200]}); run the slide again with --restart."
        ) from error


def disk_error(store: Path, what: str, error: OSError, advice: str) -> StoreError:
    """Return our error for one of the file system: what failed, why, and what to do.

    A full disk is a kind of its own, and against the limits of a process another folder does not help.
    """
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return StoreFullError(f"The disk is full while writing {store}; free some space and run again.")
    if more := limit_of(error):
        advice = f"{more} and run again"
    return StoreError(f"{store} {what}: {error.strerror or error}; {advice}.")
