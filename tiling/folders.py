"""What a folder is, told by its names alone: one of our result stores, an OME-Zarr image, or neither."""

from __future__ import annotations

from pathlib import Path

__all__ = ["LABELS_MARK", "RUN", "is_ome_zarr", "is_own_export", "is_store"]

RUN = "run.json"
"""The file of a store that holds what the run was asked for."""


LABELS_MARK = "Store labels of napari-wsss"
"""How the description of a label TIFF that we export begins: by it we know not to take it for a slide."""

_OVERVIEW = ".overview.png"
_MARK_STANDS_WITHIN = 1 << 16


def is_own_export(path: Path) -> bool:
    """Tell whether we exported a file from a store: a label TIFF by its content, an overview by its name."""
    if path.name.casefold().endswith(_OVERVIEW):
        return path.with_name(path.name[: -len(_OVERVIEW)] + ".zarr").is_dir()
    if path.suffix.casefold() not in (".tif", ".tiff") or not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            return LABELS_MARK.encode() in stream.read(_MARK_STANDS_WITHIN)
    except OSError:
        return False


def is_store(path: str | Path) -> bool:
    """Tell whether a folder is one of our result stores, complete or not; reads nothing of its content."""
    path = Path(path)
    return (path / RUN).is_file() and (path / "zarr.json").is_file()


def is_ome_zarr(path: Path) -> bool:
    """Tell whether a folder looks like a zarr group of version 2 or 3, so that a scan takes it as one slide."""
    return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))
