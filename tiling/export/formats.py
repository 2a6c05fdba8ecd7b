"""Exports of other packages by name: ours are options of their own, theirs are found here.

Another package adds one with :func:`register_export`, or by an entry point of the group ``napari_wsss.exports`` whose
object is an :class:`Export`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tiling.errors import ExportError, WsssError
from tiling.plugins import loaded, others
from tiling.store import Store

__all__ = ["GROUP", "OWN_EXPORTS", "Export", "other_exports", "register_export"]

GROUP = "napari_wsss.exports"
"""Entry-point group of exports."""

OWN_EXPORTS = {"geojson": ".geojson", "tiff": ".labels.ome.tif", "csv": ".areas.csv", "png": ".overview.png"}
"""Names of ours, and what their files beside a store end in."""


@dataclass(frozen=True)
class Export:
    """A format in which a finished store can be written.

    Attributes
    ----------
    name : str
        As in ``--export NAME``; lower case, no comma.
    ending : str
        What its file beside ``<slide_id>.zarr`` ends in.
    write : callable or str
        Takes an open store and a path, and writes the file; ``module:name`` loads it when it is first needed.
    """

    name: str
    ending: str
    write: Callable[[Store, Path], object] | str

    def __post_init__(self) -> None:
        if not self.name or self.name != self.name.casefold().strip() or "," in self.name or "=" in self.name:
            raise ValueError(f"an export cannot be called {self.name!r}: lower case, without commas and '='")
        if not self.ending.startswith(".") or "/" in self.ending:
            raise ValueError(
                f"files of the export {self.name!r} cannot end in {self.ending!r}: a dot and letters"
            )

    def __call__(self, store: Store, path: Path) -> None:
        """Write the file.

        Raises
        ------
        ExportError
            Whatever goes wrong, with the export's name.
        """
        try:
            loaded(self.write)(store, path)
        except WsssError:
            raise
        except Exception as error:
            raise ExportError(f"{path} cannot be written by the export {self.name!r}: {error}.") from error


def register_export(export: Export) -> None:
    """Make an export known by its name.

    Raises
    ------
    ValueError
        When the name is taken.
    """
    if export.name in OWN_EXPORTS or other_exports().setdefault(export.name, export) is not export:
        raise ValueError(f"there is an export {export.name!r} already; register it under another name")


@cache
def other_exports() -> dict[str, Export]:
    """Return the exports of other packages by name, filled once; ours go before one of the same name."""
    return others(GROUP, Export, "export", OWN_EXPORTS)
