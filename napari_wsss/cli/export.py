"""`wsss-tile export` and `run --export`: a store in other programs' formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from napari_wsss.cli.border import answer
from tiling.errors import ExportError, StoreDamagedError, UsageProblem

if TYPE_CHECKING:
    from tiling.export import Frame
    from tiling.store import Store

__all__ = ["ExportTargets", "export_store", "files_beside", "write_exports"]


@dataclass(frozen=True)
class ExportTargets:
    """Where each format goes; None: not wanted."""

    geojson: Path | None = None
    tiff: Path | None = None
    csv: Path | None = None
    png: Path | None = None
    others: tuple[tuple[str, Path], ...] = ()

    @classmethod
    def parse(cls, others: Sequence[str], **own: Path | None) -> ExportTargets:
        """Read ``NAME=FILE`` for exports of other packages."""
        from tiling.export import other_exports

        found = []
        for text in others:
            name, equals, file = text.partition("=")
            if not (equals and file) or name not in other_exports():
                known = ", ".join(other_exports()) or "none is installed"
                raise UsageProblem(
                    f"--to {text!r} is not NAME=FILE with the export of an installed package ({known})."
                )
            found.append((name, Path(file)))
        return cls(**own, others=tuple(found))


def export_store(path: Path, targets: ExportTargets, min_area: float, simplify: float, frame: Frame) -> int:
    """Run the command; prints the files written."""
    if not any(getattr(targets, field.name) for field in fields(targets)):
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


def files_beside(store: Path, formats: Sequence[str]) -> ExportTargets:
    """Return the names of the exports of ``<slide_id>.zarr``: none can be that of a slide or of another's export."""
    from tiling.export import OWN_EXPORTS as endings, other_exports

    stem = store.with_suffix("")
    own = {name: stem.with_name(stem.name + endings[name]) for name in formats if name in endings}
    others = [other_exports()[name] for name in formats if name not in endings]
    return ExportTargets(**own, others=tuple((e.name, stem.with_name(stem.name + e.ending)) for e in others))


def write_exports(
    store: Store,
    targets: ExportTargets,
    min_area: float = 0.0,
    simplify: float = 0.0,
    frame: Frame = "qupath",
) -> Iterator[Path]:
    """Write what is wanted; yields each file when it is there."""
    from tiling import export

    if targets.geojson:
        export.write_geojson(store, targets.geojson, frame=frame, min_area_um2=min_area, simplify_um=simplify)
        yield targets.geojson
    if targets.tiff:
        export.write_tiff(store, targets.tiff)
        yield targets.tiff
    if targets.csv:
        export.write_areas(store, targets.csv)
        yield targets.csv
        tiles = _tiles_file(targets.csv)
        export.write_tiles(store, tiles)
        yield tiles
    if targets.png:
        export.write_overview(store, targets.png)
        yield targets.png
    for name, file in targets.others:
        export.other_exports()[name](store, file)
        yield file


def _tiles_file(areas: Path) -> Path:
    """Return ``a.tiles.csv`` for ``a.csv`` and for ``a.areas.csv``."""
    return areas.with_name(areas.name.removesuffix(".csv").removesuffix(".areas") + ".tiles.csv")
