"""What comes into a project by other ways than a click: painted regions, files, answers taken back, other classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_wsss.project.classes import change_classes
from napari_wsss.project.core import ProjectCore, now
from napari_wsss.project.corrections import (
    read_corrections,
    remove_correction,
    write_correction,
)
from napari_wsss.project.decisions import Source, standing
from napari_wsss.project.exchange import export_labels, import_corrections, import_labels
from napari_wsss.project.painted import Correction
from napari_wsss.project.tiles import Tile
from tiling.classes import ClassSchema
from tiling.export import Frame
from tiling.geometry import Box

__all__ = ["AnnotatedProject"]


class AnnotatedProject(ProjectCore):
    """A project that is open; see :class:`napari_wsss.project.Project`."""

    def change_classes(self, schema: ClassSchema) -> None:
        """Rename, recolour, add or remove classes. Labels go by the place of a class in the schema and stay.

        Parameters
        ----------
        schema : ClassSchema
            The classes in their present order; others may follow, and those at the end may be left out.

        Raises
        ------
        ProjectError
            When a class would go that a label or a painted region names.
        ProjectReadOnlyError
        """
        change_classes(self, schema)

    def take_back(self, tile: Tile, reader: str, classes: Iterable[str], source: Source) -> bool:
        """Take one reader's last decision about one tile back, if it is this one; tell whether it was.

        What the tile's label was before is in force again, whatever was labelled elsewhere meanwhile.
        """
        present = self._present(classes)
        with self._mutex:
            self.require_writable()
            log = self.log(tile.slide_id)
            place = round(tile.x), round(tile.y)
            theirs = [d for d in standing(log.decisions()) if (d.tile, d.reader) == (place, reader)]
            if not theirs or (theirs[-1].labels, theirs[-1].source) != (present, source):
                return False
            log.append([replace(theirs[-1], line=0, time=now(), labels=None, cancels=theirs[-1].line)])
            return True

    def correct(
        self, slide_id: str, box: Box, mask: NDArray[np.uint8], reader: str = "", *, mpp: float | None = None
    ) -> Path:
        """Keep a painted region: two of three teach models, every third judges them; those that overlap do the same.

        Parameters
        ----------
        slide_id : str
        box : Box
            Level-0 pixels, on the slide.
        mask : (h, w) uint8
            Store labels: class index + 1; 0 where nothing is said.
        reader : str, optional
        mpp : float, optional
            µm per pixel of the mask; default: from the box.

        Returns
        -------
        Path
            The palette mask in ``corrections/``; painting the same box again replaces it.

        Raises
        ------
        LabelError, ProjectReadOnlyError
        """
        return write_correction(self, slide_id, box, mask, reader, mpp)

    def take_correction_back(self, slide_id: str, box: Box) -> bool:
        """Remove the painted region of a box; tell whether there was one.

        Raises
        ------
        LabelError, ProjectReadOnlyError
        """
        return remove_correction(self, slide_id, box)

    def corrections(self, slide_id: str) -> list[Correction]:
        """Return the painted regions of a slide."""
        return list(read_corrections(self, slide_id))

    def import_labels(
        self,
        slide_id: str,
        path: str | Path,
        reader: str = "",
        *,
        frame: Frame = "qupath",
        min_share: float = 0.05,
        min_annotated: float = 0.95,
        match: Mapping[str, str] | None = None,
        skip_unknown: bool = False,
        on_note: Callable[[str], object] | None = None,
    ) -> list[Tile]:
        """Label tiles from polygons with class names (GeoJSON and whatever else :mod:`tiling.annotations` reads).

        Parameters
        ----------
        slide_id : str
        path : str or Path
        reader : str, optional
        frame : {"qupath", "openslide"}, optional
            Whether coordinates count from the scanned area's corner or from the slide's.
        min_share : float, optional
            Share of a tile that a class must cover to be named.
        min_annotated : float, optional
            Share of a tile that must be annotated: what is not may be any class.
        match : mapping of str to str, optional
            What names of annotations mean (:func:`tiling.annotations.match_classes`).
        skip_unknown : bool, optional
            Leave out annotations of classes that the project does not have.
        on_note : callable, optional
            Takes each sentence about what was left out.

        Returns
        -------
        list of Tile
            The tiles that got a label.

        Raises
        ------
        DataError, LabelError, ProjectReadOnlyError
        """
        return import_labels(
            self, slide_id, Path(path), reader, frame, min_share, min_annotated, match, skip_unknown, on_note
        )

    def import_corrections(
        self,
        slide_id: str,
        path: str | Path,
        reader: str = "",
        *,
        frame: Frame = "qupath",
        match: Mapping[str, str] | None = None,
        skip_unknown: bool = False,
        on_note: Callable[[str], object] | None = None,
    ) -> Path:
        """Keep polygons with class names as one painted region, as :meth:`correct` does; nothing is said between them.

        Parameters and errors are those of :meth:`import_labels`; returns the palette mask.
        """
        return import_corrections(self, slide_id, Path(path), reader, frame, match, skip_unknown, on_note)

    def export_labels(self, slide_id: str, path: str | Path, *, frame: Frame = "qupath") -> int:
        """Write the labels in force of a slide as GeoJSON squares for QuPath; return how many."""
        return export_labels(self, slide_id, Path(path), frame)
