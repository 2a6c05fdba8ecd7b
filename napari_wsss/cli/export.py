"""`wsss-tile export` and `run --export`: a store in other programs' formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_wsss.cli.border import answer
from tiling.errors import ExportError, StoreDamagedError, UsageProblem

if TYPE_CHECKING:
    from tiling.export import Frame
    from tiling.store import Store

__all__ = ["export_store", "export_targets", "files_beside", "write_exports"]


def export_targets(others: Sequence[str], **own: Path | None) -> list[tuple[str, Path]]:
    """Return where each export goes, by name: ours that have a file, and ``NAME=FILE`` of other packages."""
    from tiling.export import other_exports

    targets = [(name, file) for name, file in own.items() if file is not None]
    for text in others:
        name, equals, file = text.partition("=")
        if not (equals and file) or name not in other_exports():
            known = ", ".join(other_exports()) or "none is installed"
            raise UsageProblem(
                f"--to {text!r} is not NAME=FILE with the export of an installed package ({known})."
            )
        targets.append((name, Path(file)))
    return targets


def export_store(
    path: Path, targets: Sequence[tuple[str, Path]], min_area: float, simplify: float, frame: Frame
) -> int:
    """Run the command; prints the files written."""
    if not targets:
        raise UsageProblem("Nothing to write: give at least one of --geojson, --tiff, --csv, --png and --to.")
    from tiling.store import open_store, verify

    store = open_store(path)
    if not store.is_complete:
        raise ExportError(f"{path} is not complete; run the slide again to finish it, then export.")
    # A lost chunk would be exported as "nothing here".
    checked = verify(path, recount=False)
    if not checked.ok:
        raise StoreDamagedError(checked.problem)
    for file in write_exports(store, targets, min_area, simplify, frame):
        answer(file)
    return 0


def files_beside(store: Path, formats: Sequence[str]) -> dict[str, Path]:
    """Return the names of the exports of ``<slide_id>.zarr``: none can be that of a slide or of another's export."""
    from tiling.export import OWN_EXPORTS, other_exports

    stem = store.with_suffix("")
    endings = OWN_EXPORTS | {name: export.ending for name, export in other_exports().items()}
    return {name: stem.with_name(stem.name + endings[name]) for name in formats}


def write_exports(
    store: Store,
    targets: Iterable[tuple[str, Path]],
    min_area: float = 0.0,
    simplify: float = 0.0,
    frame: Frame = "qupath",
) -> Iterator[Path]:
    """Write what is wanted; yields each file when it is there."""
    from tiling import export

    for name, file in targets:
        if name == "geojson":
            export.write_geojson(store, file, frame=frame, min_area_um2=min_area, simplify_um=simplify)
        elif name == "tiff":
            export.write_tiff(store, file)
        elif name == "csv":
            export.write_areas(store, file)
            export.write_tiles(store, _tiles_file(file))
        elif name == "png":
            export.write_overview(store, file)
        else:
            export.other_exports()[name](store, file)
        yield file
        if name == "csv":
            yield _tiles_file(file)


def _tiles_file(areas: Path) -> Path:
    """Return ``a.tiles.csv`` for ``a.csv`` and for ``a.areas.csv``."""
    return areas.with_name(areas.name.removesuffix(".csv").removesuffix(".areas") + ".tiles.csv")
