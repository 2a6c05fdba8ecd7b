"""The results of the chosen slide: brought back when it is opened, named, shown, counted, exported. No Qt."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from napari_wsss.plugin.common import Starter
from napari_wsss.plugin.files import export_store
from napari_wsss.plugin.results import (
    LegendRow,
    Result,
    ResultBook,
    legend,
    read_result,
    save_look,
    stores_of_slide,
    with_class,
)
from napari_wsss.plugin.segment.choices import Choices
from napari_wsss.plugin.segment.exports import ExportQueue
from napari_wsss.plugin.segment.live import LiveResult
from napari_wsss.plugin.segment.measuring import (
    drawn_annotations,
    measure_file,
    measure_shapes,
    table_of_shapes,
)
from napari_wsss.plugin.segment.request import default_folder, slide_id
from napari_wsss.plugin.segment.shown import ShownResults
from napari_wsss.plugin.segment.tissue import TissueView
from napari_wsss.plugin.view import (
    METADATA_KEY,
    SlideKey,
    fit,
    layer_size,
    layers_of_kind,
    show_only,
    slide_of,
    world_to_data,
)
from tiling.annotations import Annotation
from tiling.classes import ClassSchema
from tiling.errors import JobError, StoreError, WsssError
from tiling.folders import is_store
from tiling.plan import Roi
from tiling.store import open_store

__all__ = ["SlideResults"]

LOOK_SECONDS = 1.0
"""How often the disk is asked whether the stores are still there."""


class SlideResults(Choices):
    """Choices, and the results of the slide that is chosen.

    How another dock binds to the chosen slide: ``slide`` is its layer and ``slide_key`` its identity; ``result`` is
    the result that the panel speaks of (with its store, classes and areas), ``live`` its layer. All four change
    together, and ``revision`` grows whenever one of them does.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    start : callable
        Starts a job in another thread.

    Attributes
    ----------
    book : ResultBook
        All results known in this viewer.
    exports : ExportQueue
    copied : str
        A table that waits to be put on the clipboard.
    tissue : TissueView
        What counts as tissue on each slide, as far as it was looked at.
    """

    def __init__(self, viewer: Any, start: Starter) -> None:
        super().__init__(viewer)
        self.book = ResultBook()
        self.exports = ExportQueue(start)
        self.copied = ""
        self.tissue = TissueView(viewer, start)
        self._shown = ShownResults(viewer)
        self._looked = 0.0

    @property
    def writing(self) -> Path | None:
        """The store that is being written, which comes and goes as its run wants."""
        return None

    @property
    def slide_key(self) -> SlideKey | None:
        """The chosen slide; without one that of a result that was opened alone."""
        if self.slide is not None:
            return slide_of(self.slide)
        alone = layers_of_kind(self.viewer, "store")
        return slide_of(alone[-1]) if alone else None

    @property
    def result(self) -> Result | None:
        """The result of the chosen slide that the panel speaks of: legend, exports and messages are its."""
        return self.book.chosen(self.slide_key)

    def results(self) -> list[Result]:
        """Return all results of the chosen slide."""
        return self.book.of(self.slide_key)

    @property
    def live(self) -> LiveResult | None:
        """What shows the result in the viewer; None when there is no result."""
        result = self.result
        return None if result is None else self._shown.get(result.store)

    @property
    def result_layer(self) -> Any | None:
        """The layer of the result, or None."""
        return None if self.live is None else self.live.shown_layer

    @property
    def result_name(self) -> str:
        """What the result is called; empty without one."""
        return "" if self.result is None else self.book.name(self.result)

    @property
    def slide_name(self) -> str:
        """The file name of the chosen slide; empty without one."""
        return "" if self.slide_key is None else self.slide_key.name

    def choose_slide(self, layer: Any | None) -> None:
        """Choose a slide: it is shown with its results, those of earlier sessions too; other slides are hidden."""
        if layer == self.slide:
            return
        super().choose_slide(layer)
        key = self.slide_key
        if layer is None or key is None:
            return
        show_only(self.viewer, key)
        if len(self.slide_layers()) > 1:
            fit(self.viewer, layer)
        self._recall(key)
        selection = self.viewer.layers.selection
        if selection.active is None or slide_of(selection.active) not in (None, key):
            # The status bar and the layer controls speak of what is seen, and not of what was hidden.
            selection.active = self.result_layer or layer

    def chosen_tissue(self) -> tuple[float | None, Roi | None]:
        """Return what a run takes as tissue: exactly what is shown, once it was looked at."""
        return self.tissue.choice(self.slide_key) if self.preferences.skip_background else (None, None)

    def show_tissue(self) -> None:
        """Look for the tissue of the chosen slide, and show its outline."""
        if self.slide is not None:
            self.tissue.show(self.slide, self.mpp)
            self._changed()

    def wait_for_tissue(self, timeout: float = 60.0) -> None:
        """Wait until the tissue was looked at (for scripts)."""
        self.tissue.wait(timeout)
        self._changed()

    def choose_result(self, store: Path) -> None:
        """Look at another result of the chosen slide."""
        self._show(self.book.choose(store))
        self._changed()

    def follow_layers(self) -> None:
        """Take notice of slides and results that were opened, renamed or removed elsewhere in napari."""
        super().follow_layers()
        for store in self._shown.unknown_stores():
            self._adopt(store)

    def take_in(self, store: Path) -> Any | None:
        """Take in a store that was made, or made anew, elsewhere: read again, shown and chosen; return its layer."""
        store = store.absolute()
        self._drop(store)
        self._adopt(store)
        live = self._shown.get(store)
        return None if live is None else live.shown_layer

    def let_go(self, store: Path) -> None:
        """Take a store's layers away and forget it: it is removed elsewhere."""
        self._drop(store.absolute())
        self._changed()

    def _recall(self, key: SlideKey) -> None:
        """Bring the results of a slide back: those on disk, and the one looked at last into the viewer."""
        path = Path(self.slide.metadata[METADATA_KEY]["path"])  # type: ignore[union-attr]
        folders = [default_folder(path)]
        with suppress(JobError):  # one that cannot be is said before a run
            folders.append(self._folder(path))
        for folder in dict.fromkeys(folders):
            for result in stores_of_slide(folder.absolute(), slide_id(path), key):
                if result.store not in self.book:
                    self.book.put(result)
                    self.book.choose(result.store)
        for result in self.results():
            self._shown.put_in_place(result.store)
        chosen = self.result
        if chosen is not None and (self.live is None or self.live.slide is None):
            self._show(chosen)

    def _show(self, result: Result) -> None:
        try:
            self._shown.choose(result)
        except StoreError as error:
            self.report(error)

    def _adopt(self, store: Path) -> None:
        """Take a store into the book that napari opened; on another slide than its own it is hidden and marked."""
        try:
            result = self.book.get(store) or read_result(store)
            self.book.put(result)
            self._shown.open(result)
        except StoreError as error:
            self._shown.forget(store)
            self.report(error)
            return
        if self._shown.slide_layer(result.slide) is not None:
            self.book.choose(store)
            self._shown.choose(result)
            if result.slide != self.slide_key:
                show_only(self.viewer, self.slide_key or result.slide)
                self.problem = f"{store.name} is of another slide; choose {result.slide.name} to look at it."
        elif self.slide is not None:
            self._shown.mark_out_of_place(store)
            self.problem = (
                f"{store.name} was made from another slide ({result.slide.name or 'an unknown one'}), so it is hidden; "
                "open that slide to look at it."
            )
        self._changed()

    def _look_at_disk(self) -> bool:
        """Forget results of the chosen slide whose stores were deleted; tell whether there were any."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        gone = [r for r in self.results() if r.store != self.writing and not is_store(r.store)]
        for result in gone:
            name = self.book.name(result)
            self._drop(result.store)
            self.problem = f"The result “{name}” was deleted from the disk; its layer is taken away."
        return bool(gone)

    def _drop(self, store: Path) -> None:
        gone = self.book.forget(store)
        self._shown.forget(store.absolute())
        if gone is not None and self.result is not None:
            self._show(self.result)

    @property
    def schema(self) -> ClassSchema | None:
        """Classes of the result, or of the chosen model before there is one."""
        if self.result is not None:
            return self.result.schema
        return self.bundle.schema if self.bundle else None

    def legend(self) -> list[LegendRow]:
        """Return the classes of the result with their areas so far; empty without a result."""
        result = self.result
        if result is None:
            return []
        return legend(result.schema, result.areas, self.live.hidden_labels if self.live else ())

    def show_result(self) -> None:
        """Put the result into the viewer again."""
        if self.live is not None:
            self.live.show()
            self._changed()

    def is_result_of(self, slide: Path) -> bool:
        """Whether there is a result of a slide and the panel speaks of it."""
        return (
            self.result is not None
            and self.slide is not None
            and Path(self.slide.metadata[METADATA_KEY]["path"]) == slide
        )

    @property
    def can_export(self) -> bool:
        """Whether the result is finished."""
        return self.result is not None and self.result.is_finished

    def export(self, path: str | Path) -> bool:
        """Write the result in the format that the file name says, in another thread, after those asked for before."""
        result = self.result
        if result is None:
            return False
        self._export(Path(path), partial(_export, result, Path(path)))
        return True

    def measure_drawn(self, shapes: Any, path: str | Path) -> bool:
        """Write mm² and per cent of every class in each drawn shape as CSV; tell whether that was started."""
        drawn = self._drawn(shapes)
        if drawn is None:
            return False
        self._export(Path(path), partial(measure_shapes, *drawn, Path(path)))
        return True

    def copy_drawn(self, shapes: Any) -> bool:
        """Make the same table for the clipboard, as ``copied``; tell whether that was started."""
        drawn = self._drawn(shapes)
        if drawn is None:
            return False

        def make() -> None:
            self.copied = table_of_shapes(*drawn)

        self._export(Path("the table"), make, "The table is on the clipboard.")
        return True

    def _drawn(self, shapes: Any) -> tuple[Result, tuple[Annotation, ...]] | None:
        result = self.result
        if result is None or self.slide is None:
            return None
        try:
            return result, drawn_annotations(self.viewer, self.slide, shapes)
        except WsssError as error:
            self.report(error)
            return None

    def measure_annotations(self, annotations: str | Path, path: str | Path) -> bool:
        """Do the same for an annotation file of another program."""
        result = self.result
        if result is None:
            return False
        self._export(Path(path), partial(measure_file, result, Path(annotations), Path(path)))
        return True

    def _export(self, path: Path, write: Callable[[], object], done: str = "") -> None:
        self.problem = ""
        self.exports.add(path, write, done)
        self._changed()

    def under_cursor(self) -> str:
        """Return where the mouse is on the slide, in mm, and which class is there, whatever layer is selected."""
        if self.slide is None:
            return ""
        y, x = world_to_data(self.viewer, self.slide)(self.viewer.cursor.position[-2:]) + 0.5
        height, width = layer_size(self.slide)
        if not (0 <= x < width and 0 <= y < height):
            return ""
        mpp = self.slide_mpp
        place = f"{x:.0f}, {y:.0f} px" if mpp is None else f"{x * mpp / 1000:.3f}, {y * mpp / 1000:.3f} mm"
        name = "" if self.live is None else self.live.class_at(x, y)
        return f"{place} · {name}" if name else place

    def show_class(self, label: int, visible: bool) -> None:
        """Show or hide one class of the result."""
        if self.live is not None:
            self.live.show_class(label, visible)
            self._changed()

    def name_class(self, label: int, *, name: str | None = None, color: str | None = None) -> bool:
        """Give a class of the result another name or colour, kept beside the store; tell whether it was taken."""
        result = self.result
        if result is None:
            return False
        try:
            schema = with_class(result.schema, label - 1, name=name, color=color)
            self.book.put(replace(result, schema=schema))
            if self.live is not None:
                self.live.set_schema(schema)
            save_look(result.store, schema)
        except WsssError as error:
            self.report(error)
            return False
        self._changed()
        return True


def _export(result: Result, path: Path) -> None:
    export_store(open_store(result.store), path, result.schema)
