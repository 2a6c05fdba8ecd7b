"""What a folder is, told by its names alone: one of our result stores, an OME-Zarr image, or neither."""

from __future__ import annotations

from pathlib import Path

__all__ = ["RUN", "is_ome_zarr", "is_store"]

RUN = "run.json"
"""The file of a store that holds what the run was asked for."""


def is_store(path: str | Path) -> bool:
    """Tell whether a folder is one of our result stores, complete or not; reads nothing of its content."""
    path = Path(path)
    return (path / RUN).is_file() and (path / "zarr.json").is_file()


def is_ome_zarr(path: Path) -> bool:
    """Tell whether a folder looks like a zarr group of version 2 or 3, so that a scan takes it as one slide."""
    return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))
