"""Results in other programs' formats, chosen by the ending of the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tiling.classes import ClassSchema
from tiling.errors import ExportError
from tiling.export import export_file
from tiling.plugins import loaded
from tiling.store import Store

__all__ = ["FORMATS", "ExportFormat", "copy_store", "export_store", "suggested_path"]


@dataclass(frozen=True)
class ExportFormat:
    """One format.

    Attributes
    ----------
    title : str
        For a button.
    ending : str
        What the file name ends in.
    tip : str
        What it is good for.
    write : callable or str
        Writes a store to a path; ``module:name`` is loaded when it is first needed.
    """

    title: str
    ending: str
    tip: str
    write: Callable[[Store, Path], object] | str


def _report(store: Store, path: Path) -> None:
    from tiling.batch import slide_page

    with export_file(path) as file:
        file.write(slide_page(store))


def _pdf(store: Store, path: Path) -> None:
    from napari_wsss.plugin.files.pdf_parts import can_print, pdf_of
    from tiling.batch import slide_page

    if not can_print():
        raise ExportError("A PDF is printed by napari's window; without one, write the report as HTML.")
    with export_file(path) as file:
        file.write(pdf_of(slide_page(store).decode(), store.name))


def copy_store(store: Store, path: Path) -> None:
    """Copy a store to another place; it appears there complete or not at all.

    Raises
    ------
    ExportError
        When something is there already, or it cannot be written.
    """
    if path.exists():
        raise ExportError(f"{path} exists; choose another name.")
    partial = path.with_name(f".{path.name}.tmp")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(store.path, partial)
        partial.rename(path)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"{path} cannot be written: {reason}; choose another place.") from error


class _RenamedStore(Store):
    """A store whose classes have other names and colours; areas are known under the new names."""

    def __init__(self, path: Path, schema: ClassSchema) -> None:
        super().__init__(path)
        self._own, self.schema = self.schema, schema

    @property
    def areas(self) -> dict[str, float]:
        """Class name → mm²; empty while the store is incomplete."""
        areas = super().areas
        return {
            new: areas[old]
            for old, new in zip(self._own.names, self.schema.names, strict=True)
            if old in areas
        }


_EXPORT = "tiling.export"
_GEOJSON, _AREAS, _TILES = f"{_EXPORT}:write_geojson", f"{_EXPORT}:write_areas", f"{_EXPORT}:write_tiles"
_TIFF, _PICTURE = f"{_EXPORT}:write_tiff", f"{_EXPORT}:write_overview"

FORMATS = (
    ExportFormat("GeoJSON…", ".geojson", "Outlines for QuPath, in level-0 pixels", _GEOJSON),
    ExportFormat("Areas…", ".areas.csv", "mm² and share of each class", _AREAS),
    ExportFormat("Tiles…", ".tiles.csv", "One line per tile: place, presence, shares, confidence", _TILES),
    ExportFormat("Picture…", ".overview.png", "Slide beside overlay, with legend and scale bar", _PICTURE),
    ExportFormat(
        "Report…", ".report.html", "One page to hand on: pictures, areas, model, provenance", _report
    ),
    ExportFormat("Report as PDF…", ".report.pdf", "The same on one printed page", _pdf),
    ExportFormat("TIFF…", ".labels.ome.tif", "Pyramidal label image", _TIFF),
    ExportFormat("Zarr…", ".zarr", "A copy of the whole result (OME-Zarr)", copy_store),
)


def suggested_path(store: Path, ending: str) -> Path:
    """Return the usual name of an export: beside the store, under its name."""
    return store.with_name(store.name.removesuffix(".zarr") + ending)


def export_store(store: Store, path: str | Path, schema: ClassSchema | None = None) -> Path:
    """Write a finished store in the format that the file name says.

    Parameters
    ----------
    store : Store
    path : str or Path
        Ends in ``.geojson``, ``.tiles.csv``, ``.csv``, ``.png``, ``.report.html``, ``.report.pdf``, ``.tif``/``.tiff``
        or ``.zarr``.
    schema : ClassSchema, optional
        Other names and colours of the classes than the store's own.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ExportError
        When the store is not complete, the ending is unknown, or the file cannot be written.
    """
    path = Path(path)
    if not store.is_complete:
        raise ExportError(f"{store.path} is not complete; let the run finish (Resume), then export.")
    if schema is not None and schema != store.schema:
        store = _RenamedStore(store.path, schema)
    endings: dict[str, Callable[[Store, Path], object] | str] = {
        ".geojson": _GEOJSON,
        ".tiles.csv": _TILES,
        ".csv": _AREAS,
        ".png": _PICTURE,
        ".report.html": _report,
        ".report.pdf": _pdf,
        ".tif": _TIFF,
        ".tiff": _TIFF,
        ".zarr": copy_store,
    }
    for ending, write in endings.items():
        if path.name.lower().endswith(ending):
            loaded(write)(store, path)
            return path
    raise ExportError(f"{path} has no known ending; use one of {', '.join(endings)}.")
