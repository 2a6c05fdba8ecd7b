"""The presenter of the Correct dock: a box of a result becomes a layer to paint in, and a corrected result. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.common import Job, Starter, explain, person, start_in_thread
from napari_wsss.plugin.correct.corrected import (
    build_corrected,
    corrected_path,
    original_path,
    remove_corrected,
)
from napari_wsss.plugin.correct.earlier import regions_for
from napari_wsss.plugin.correct.regions import (
    Region,
    corrections_folder,
    read_regions,
    remove_regions,
    write_region,
)
from napari_wsss.plugin.segment import SegmentSession, session_for, view_box
from napari_wsss.plugin.teach import slide_of_store
from napari_wsss.plugin.view import METADATA_KEY, class_features, follow, label_colormap, layers_of_kind
from tiling.errors import ProjectError, RegionError, WsssError
from tiling.geometry import Box
from tiling.store import Store, open_store

if TYPE_CHECKING:
    from napari_wsss.project import Project

__all__ = ["LARGEST_SIDE", "Corrector", "Painting"]

LARGEST_SIDE = 4096
"""Pixels: a larger box would make every stroke of the brush slow."""


@dataclass
class Painting:
    """A box of a result that is being painted.

    Attributes
    ----------
    store : Store
        Whose labels were taken: the original, or its corrected one.
    box : Box
        In pixels of the store's finest level.
    before : (h, w) uint8
    layer : napari.layers.Labels
    """

    store: Store
    box: Box
    before: NDArray[np.uint8] = field(repr=False)
    layer: Any = field(repr=False)


class Corrector:
    """Lets a person paint over a result.

    Parameters
    ----------
    viewer : napari.Viewer
    start : callable, optional
        Starts a job in another thread.
    project : callable, optional
        Returns the project that is open, if any: regions of its slides are kept there, too.

    Attributes
    ----------
    result : napari.layers.Labels or None
        The result that is corrected.
    painting : Painting or None
    brush_um : float
        Diameter of the brush.
    only_tissue : bool
        Whether what the result calls no tissue stays so.
    problem, notice : str
    revision : int
    """

    def __init__(
        self,
        viewer: Any,
        *,
        start: Starter = start_in_thread,
        project: Callable[[], Project | None] | None = None,
    ) -> None:
        self.viewer = viewer
        self.result: Any | None = None
        self.painting: Painting | None = None
        self.brush_um = 40.0
        self.only_tissue = True
        self.problem = ""
        self.notice = ""
        self.revision = 0
        self._project = project
        self._start = start
        self._job: Job[Store | None] | None = None
        self._session: SegmentSession | None = None

    # --- which result ------------------------------------------------------------------------------------------

    def results(self) -> list[Any]:
        """Return the layers that show a result."""
        return layers_of_kind(self.viewer, "store")

    def follow_layers(self) -> None:
        """Choose the result that came last when the chosen one has gone, and notice a painting that was deleted."""
        layers = self.results()
        if self.result not in layers:
            self.choose(layers[-1] if layers else None)
        if self.painting is not None and self.painting.layer not in self.viewer.layers:
            self._leave()
            self._changed()

    def choose(self, layer: Any | None) -> None:
        """Choose the result to correct."""
        if layer != self.result:
            self.result = layer
            self._changed()

    @property
    def store(self) -> Path | None:
        """The original of the chosen result."""
        return (
            None if self.result is None else original_path(Path(self.result.metadata[METADATA_KEY]["path"]))
        )

    @property
    def is_busy(self) -> bool:
        """Whether a corrected result is being made."""
        return self._job is not None

    def saved_regions(self) -> int:
        """Return how many regions of the chosen result are corrected."""
        folder = None if self.store is None else corrections_folder(self.store)
        return 0 if folder is None or not folder.is_dir() else len(list(folder.glob("*.json")))

    # --- painting ----------------------------------------------------------------------------------------------

    def begin(self) -> bool:
        """Make what the view shows of the result paintable; tell whether it is."""
        if self.result is None or self.painting is not None:
            return False
        try:
            store = open_store(Path(self.result.metadata[METADATA_KEY]["path"]))
            box = view_box(self.viewer, self.result)
            if max(box.width, box.height) > LARGEST_SIDE:
                width, height, most = (n * store.mpp / 1000 for n in (box.width, box.height, LARGEST_SIDE))
                raise RegionError(
                    f"The view shows {width:.1f} × {height:.1f} mm of the result; zoom in until it is at most "
                    f"{most:.1f} mm wide and high."
                )
            labels = np.array(store.labels()[0][box.y : box.bottom, box.x : box.right])
        except WsssError as error:
            return self._report(error)
        layer = self.viewer.add_labels(
            labels.copy(),
            name=f"Correction of {self.result.name}",
            opacity=self.result.opacity,
            colormap=label_colormap(store.schema),
            features=class_features(store.schema),
            metadata={METADATA_KEY: {"kind": "correction", "path": str(store.path), "schema": store.schema}},
            axis_labels=("y", "x"),
            **follow(self.result, (float(box.x), float(box.y)), 1.0),
        )
        layer.mode = "paint"
        layer.selected_label = 1
        layer.events.paint.connect(self._painted)
        self.result.visible = False
        self.painting = Painting(store, box, labels, layer)
        self.set_brush(self.brush_um)
        self._say("Paint; Ctrl+Z takes a stroke back, Space and drag moves the view.")
        return True

    def set_brush(self, um: float) -> None:
        """Set the diameter of the brush in µm."""
        self.brush_um = um
        if self.painting is not None:
            self.painting.layer.brush_size = max(1, round(um / self.painting.store.mpp))
        self._changed()

    def take_class(self, label: int) -> None:
        """Paint with a class: store label, 0 wipes out."""
        if self.painting is not None and 0 <= label <= len(self.painting.store.schema):
            layer = self.painting.layer
            layer.mode = "erase" if label == 0 else "paint"
            if label:
                layer.selected_label = label
            self._changed()

    @property
    def label(self) -> int:
        """The store label that the brush paints; 0 wipes out."""
        if self.painting is None:
            return 0
        layer = self.painting.layer
        return 0 if str(layer.mode) == "erase" else int(layer.selected_label)

    def keep_to_tissue(self, wanted: bool) -> None:
        """Paint only over tissue, or also beside it."""
        self.only_tissue = wanted
        self._changed()

    def undo_stroke(self) -> None:
        """Take the last stroke back."""
        if self.painting is not None:
            self.painting.layer.undo()

    def _painted(self, _event: Any = None) -> None:
        """Give glass back what a stroke put on it."""
        painting = self.painting
        if painting is None or not self.only_tissue:
            return
        glass = painting.before == 0
        data = painting.layer.data
        if data[glass].any():
            data[glass] = 0
            painting.layer.refresh()

    def discard(self) -> None:
        """Leave the painting without saving."""
        if self.painting is not None:
            self._leave()
            self._say()

    def _leave(self) -> None:
        assert self.painting is not None
        layer, self.painting = self.painting.layer, None
        if layer in self.viewer.layers:
            self.viewer.layers.remove(layer)
        if self.result is not None and self.result in self.viewer.layers:
            self.result.visible = True

    # --- saving ------------------------------------------------------------------------------------------------

    def save(self) -> bool:
        """Write the painted region and make the corrected result in the background; tell whether that was started."""
        painting, original = self.painting, self.store
        if painting is None or original is None or self._job is not None:
            return False
        labels = np.array(painting.layer.data, np.uint8)
        if np.array_equal(labels, painting.before):
            self._say("Nothing was painted, so there is nothing to save.")
            return False
        try:
            project, slide_id = self._project_of(painting.store)
            kept = "" if project is None else str(project.folder.resolve())
            region = Region(painting.box, labels, person(), project=kept)
            write_region(corrections_folder(original), painting.store, region)
            if project is not None:
                box = _on_slide(project, slide_id, painting.store, region)
                project.correct(slide_id, box, labels, region.reader, mpp=painting.store.mpp)
        except WsssError as error:
            return self._report(error)
        self._say("Saved; counting anew …")
        self._begin(partial(_rebuilt, original))
        return True

    @property
    def has_project(self) -> bool:
        """Whether a project is open, which may keep regions of the result's slide."""
        return self._project is not None and self._project() is not None

    def bring_in(self) -> bool:
        """Put what the project keeps of this slide onto the result, as a new model has made it; tell whether it did."""
        original = self.store
        if original is None or self.painting is not None or self._job is not None:
            return False
        try:
            store, folder = open_store(original), corrections_folder(original)
            project, slide_id = self._project_of(store)
            if project is None:
                self._say("The project that is open does not hold this slide.")
                return False
            here = read_regions(folder, store.schema)
            # Painted here it has a place in the project, brought in before it has kept its time.
            painted = {_on_slide(project, slide_id, store, region) for region in here if region.project}
            brought = {(region.reader, region.time) for region in here}
            lacking = [
                kept
                for kept in project.corrections(slide_id)
                if kept.box not in painted and (kept.reader, kept.time) not in brought
            ]
            missing = regions_for(store, lacking, project.schema.names)
            for region in missing:
                write_region(folder, store, region)
        except WsssError as error:
            return self._report(error)
        if not missing:
            beside = "The regions that this result lacks lie beside it, or name none of its classes."
            self._say(beside if lacking else "The project keeps no corrected region that this result lacks.")
            return False
        self._say(f"{len(missing)} corrected regions are brought in; counting anew …")
        self._begin(partial(_rebuilt, original))
        return True

    def _project_of(self, store: Store) -> tuple[Project | None, str]:
        """Return the open project that a result's regions are kept in, too, and the slide's id there; or None."""
        project = None if self._project is None else self._project()
        slide_id = slide_of_store(project, store)
        return (None, "") if slide_id is None else (project, slide_id)

    def undo_all(self) -> bool:
        """Remove all corrections of the chosen result, those in the project too; tell whether there were any."""
        original = self.store
        if original is None or self._job is not None or not self.saved_regions():
            return False
        try:
            self._take_back_in_project(open_store(original))
            self._results_panel().let_go(corrected_path(original))
            remove_regions(corrections_folder(original))
            remove_corrected(original)
        except WsssError as error:
            return self._report(error)
        self._show(original)
        self._say("All corrections of this result are taken back.")
        return True

    def _take_back_in_project(self, store: Store) -> None:
        """Remove the regions from the project that keeps them.

        Raises
        ------
        ProjectError
            When it is there and not open, or not for writing: they would go on teaching or judging there.
        """
        regions = read_regions(corrections_folder(store.path), store.schema)
        project, slide_id = self._project_of(store)
        here = "" if project is None else str(project.folder.resolve())
        for folder in {region.project for region in regions} - {"", here}:
            if Path(folder).is_dir():
                raise ProjectError(
                    f"These corrections are kept in the project {folder}, too: open it in Teach, where it can be "
                    "changed, and take them back then."
                )
        for region in regions:
            if project is not None and region.project:
                project.take_correction_back(slide_id, _on_slide(project, slide_id, store, region))

    def _begin(self, work: Callable[[], Generator[Store | None]]) -> None:
        self._job = Job(work)
        self._start(self._job)
        self._changed()

    def poll(self) -> bool:
        """Take the corrected result when it is made; tell whether there was something."""
        job = self._job
        if job is None or not job.has_ended:
            return False
        self._job = None
        if job.error is not None:
            self._report(job.error)
            return True
        if self.painting is not None:
            self._leave()
        for store in job.poll():
            if store is not None:
                self._show(store.path)
                areas = ", ".join(f"{name} {area:.3g}" for name, area in store.areas.items())
                self._say(f"Counted anew, mm²: {areas}.")
        return True

    def _show(self, store: Path) -> None:
        """Show a result with its numbers, read anew, and hide the other one of the same original."""
        for layer in self.results():
            if original_path(Path(layer.metadata[METADATA_KEY]["path"])) == original_path(store):
                layer.visible = False
        layer = self._results_panel().take_in(store)
        if layer is not None:
            layer.visible = True
            if store != original_path(store):
                layer.name = f"{open_store(store).name} corrected"
        self.choose(layer)

    def _results_panel(self) -> SegmentSession:
        """Return what knows the results of this viewer; held, so that it lives as long as we do."""
        self._session = session_for(self.viewer)
        return self._session

    def _say(self, notice: str = "") -> None:
        self.notice, self.problem = notice, ""
        self._changed()

    def _report(self, error: BaseException) -> bool:
        self.problem, self.notice = explain(error), ""
        self._changed()
        return False

    def _changed(self) -> None:
        self.revision += 1


def _on_slide(project: Project, slide_id: str, store: Store, region: Region) -> Box:
    """Return a region's box in level-0 pixels, as far as it lies on the slide."""
    x, y = store.grid.level0(region.box.x, region.box.y)
    width, height = (round(n * store.scale) for n in (region.box.width, region.box.height))
    return Box(round(x), round(y), width, height).intersection(project.entry(slide_id).bounds)


def _rebuilt(original: Path) -> Generator[Store | None]:
    store = open_store(original)
    yield build_corrected(store, read_regions(corrections_folder(original), store.schema))
