"""Looking for slides in folders: by suffix, by DICOM series, without what we wrote ourselves."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tiling.errors import JobError
from tiling.folders import is_ome_zarr, is_own_export, is_store
from tiling.slides import dicom_series, may_be_dicom, slide_suffixes

__all__ = ["IMAGE_SUFFIXES", "dicom_slides", "real", "slide_name", "slides_below"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".jp2"})
"""Plain images: slides only when they are named, because folders of slides are full of labels and thumbnails."""


def slides_below(folder: Path, excluded: Collection[Path], seen: set[Path]) -> Iterator[Path]:
    """Yield the slides of a folder and then of its subfolders, each sorted by name.

    Parameters
    ----------
    folder : Path
    excluded : collection of Path
        Resolved folders that are not searched.
    seen : set of Path
        Resolved folders that were searched already; ends loops of symbolic links.

    Raises
    ------
    JobError
        When the folder cannot be listed.
    """
    resolved = real(folder)
    if resolved in excluded or resolved in seen:
        return
    seen.add(resolved)
    try:
        entries = sorted((e for e in folder.iterdir() if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise JobError(f"Folder {folder} cannot be listed: {error.strerror or error}.") from error
    suffixes = slide_suffixes()
    files, dicom = [], []
    for entry in entries:
        if may_be_dicom(entry) and entry.is_file():
            dicom.append(entry)
        elif entry.suffix.casefold() in suffixes and entry.is_file() and not is_own_export(entry):
            files.append(entry)
    yield from sorted([*files, *dicom_slides(folder, dicom, alone=not files)], key=lambda e: e.name)
    companions = {e.stem for e in files if e.suffix.casefold() == ".mrxs"}  # a.mrxs keeps its data in a/
    for entry in entries:
        if entry.name in companions or not entry.is_dir():
            continue
        if not is_ome_zarr(entry):
            yield from slides_below(entry, excluded, seen)
        elif not is_store(entry):
            yield entry


def dicom_slides(folder: Path, files: Sequence[Path], *, alone: bool) -> list[Path]:
    """Return one path per DICOM series: the folder, when it holds nothing but one series, else a file of each.

    Parameters
    ----------
    folder : Path
    files : sequence of Path
        The DICOM files in it, sorted.
    alone : bool
        Whether the folder holds no other slides.
    """
    series = dicom_series(files)
    if alone and len(series) == 1:
        return [folder]
    return [found[0] for found in series.values()]


def slide_name(path: Path) -> str:
    """Return the id of a slide by its file name, without the suffix if it has one that means something."""
    absolute = path.absolute()
    # A DICOM folder's name has no suffix to lose ("case.1"), nor has a file that is named by its UID.
    whole = path.is_dir() and not is_ome_zarr(path)
    return absolute.name if whole or not path.suffix.strip(".0123456789") else absolute.stem


def real(path: Path) -> Path:
    """Return a path without symbolic links."""
    return Path(os.path.realpath(path))
