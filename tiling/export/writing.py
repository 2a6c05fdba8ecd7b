"""A file that is written for other programs: complete or not there, and one sentence when it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tiling.errors import ExportError, disk_errors_as
from tiling.files import replacing

__all__ = ["export_file"]


@contextmanager
def export_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing, in a folder that is made if needed.

    Raises
    ------
    ExportError
        When it cannot be written.
    """
    with disk_errors_as(ExportError, f"{path} cannot be written", "choose another place"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            yield file
