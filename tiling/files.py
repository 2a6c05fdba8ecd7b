"""Small files that are either complete or absent: atomic, durable writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["read_json", "replacing", "sync_folder", "write_json_atomic"]


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing so that a kill at any moment leaves the old content or the new, never a part.

    Raises
    ------
    OSError
        As the file system gives it; the old content is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_json_atomic(path: Path, data: Any) -> None:
    """Write JSON (two-space indent, keys in the given order) atomically."""
    with replacing(path) as file:
        file.write((json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows cannot open folders and does not need it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
