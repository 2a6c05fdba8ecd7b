"""The presenter of the Review dock: doubtful tiles of a result, one after the other, and what a person says of each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.common import STRIP_LENGTH, Job, Starter, Strip, explain, person, start_in_thread
from napari_wsss.plugin.review.doubt import ReviewEntry, ReviewOrder, review_entries, side_by_side
from napari_wsss.plugin.review.verdicts import VerdictLog, verdict_path
from napari_wsss.plugin.teach import slide_of_store
from napari_wsss.plugin.view import METADATA_KEY, go_to_box, layers_of_kind, mark_box, slide_of
from napari_wsss.project import Project, Tile
from tiling.errors import WsssError
from tiling.grid import TileGrid
from tiling.slides import open_slide
from tiling.store import Store, open_store

__all__ = ["Reviewer", "Verdict"]

Verdict = Literal["right", "wrong", "class"]

THUMBNAIL = 160


@dataclass(frozen=True)
class Picture:
    """How a tile looks: (THUMBNAIL, THUMBNAIL, 3) uint8."""

    entry: ReviewEntry
    pixels: NDArray[np.uint8]


class Reviewer:
    """Lists tiles of a result that is shown in a viewer, and keeps what is said of them.

    Parameters
    ----------
    viewer : napari.Viewer
    project : callable, optional
        Returns the project that is open, if any: decisions on its slides become its tile labels.
    start : callable, optional
        Starts a job in another thread.
    on_labels : callable, optional
        Called when labels of the project have changed: others show them.

    Attributes
    ----------
    layer : napari.layers.Labels or None
        The result that is reviewed.
    order : {"uncertain", "disagreement", "artefacts"}
    entries : list of ReviewEntry
    strip : Strip of ReviewEntry
        Those that are asked about now.
    pictures : dict of ReviewEntry to (h, w, 3) uint8
    said : dict of ReviewEntry to tuple of str
        Classes that a person said a tile holds; empty: none of those shown.
    problem, notice : str
    revision : int
        Grows with every change.
    """

    def __init__(
        self,
        viewer: Any,
        *,
        project: Callable[[], Project | None] | None = None,
        start: Starter = start_in_thread,
        on_labels: Callable[[], object] = lambda: None,
    ) -> None:
        self.viewer = viewer
        self.layer: Any | None = None
        self.order: ReviewOrder = "uncertain"
        self.entries: list[ReviewEntry] = []
        self.strip: Strip[ReviewEntry] = Strip()
        self.pictures: dict[ReviewEntry, NDArray[np.uint8]] = {}
        self.said: dict[ReviewEntry, tuple[str, ...]] = {}
        self.problem = ""
        self.notice = ""
        self.revision = 0
        self._project = project
        self._start = start
        self._on_labels = on_labels
        self._job: Job[Picture] | None = None
        self._store: Store | None = None
        self._lattice: TileGrid | None = None
        self._first = 0
        self._done: list[ReviewEntry] = []

    # --- which result ------------------------------------------------------------------------------------------

    def result_layers(self) -> list[Any]:
        """Return the results that can be reviewed: those with a store."""
        return layers_of_kind(self.viewer, "store")

    def follow_layers(self) -> None:
        """Choose the result that came last, when none is chosen or the chosen one has gone."""
        layers = self.result_layers()
        if self.layer is None or self.layer not in layers:
            chosen = layers[-1] if layers else None
            if chosen is not None or self.layer is not None:
                self.choose(chosen)

    def choose(self, layer: Any | None) -> None:
        """Choose a result and list its tiles."""
        self.layer = layer
        self.list_tiles()

    def sort(self, order: ReviewOrder) -> None:
        """List the tiles by uncertainty or by disagreement of the stages."""
        self.order = order
        self.list_tiles()

    def list_tiles(self) -> None:
        """Read the tile table again (a running result has more tiles by now)."""
        self.entries, self.said, self.strip = [], {}, Strip()
        self._store = self._lattice = None
        self._first, self._done = 0, []
        self.problem = self.notice = ""
        if self.layer is not None:
            try:
                self._store = open_store(Path(self.layer.metadata[METADATA_KEY]["path"]))
                slide_id = self._project_slide()
                project = None if slide_id is None else self._open_project()
                self._lattice = (
                    side_by_side(self._store.grid) if project is None else project.grid(str(slide_id))
                )
                self.entries = review_entries(self._store, self.order, lattice=self._lattice)
                self._remember(self._store)
                self._show_strip()
            except WsssError as error:
                self.problem = explain(error)
        self._changed()

    def _remember(self, store: Store) -> None:
        """Show what was said in earlier sessions, and begin with the twelve of which some are open."""
        places = {(*_corner(tile), round(tile.side)): e for e in self.entries for tile in [self._tile(e)]}
        for decision in VerdictLog(verdict_path(store.path), store).answers():
            entry = places.get((*decision.tile, round(decision.side)))
            if entry is not None and decision.labels is not None:
                self.said[entry] = _named(self.class_names, decision.labels)
                self._done.append(entry)
        if self.said:
            self.notice = self._counted()
        still = (i for i, entry in enumerate(self.entries) if entry not in self.said)
        self._first = next(still, 0) // STRIP_LENGTH * STRIP_LENGTH

    def _counted(self) -> str:
        right = sum(said == asked.classes for asked, said in self.said.items())
        return f"{len(self.said)} looked at, {right} as the result has them."

    def _open_project(self) -> Project | None:
        return None if self._project is None else self._project()

    def _project_slide(self) -> str | None:
        """Return the id of the result's slide in the open project, when its labels can go there."""
        return None if self._store is None else slide_of_store(self._open_project(), self._store)

    # --- the strip ---------------------------------------------------------------------------------------------

    def more(self) -> None:
        """Show the twelve that come next."""
        self._first = self._first + STRIP_LENGTH if self._first + STRIP_LENGTH < len(self.entries) else 0
        self._show_strip()
        self._changed()

    def _show_strip(self) -> None:
        self.strip = Strip.of(self.entries[self._first : self._first + STRIP_LENGTH])
        self.strip = self.strip.marked(self.said.__contains__)
        if 0 in self.strip.answered and not self.strip.is_done:
            self.strip = self.strip.advance()
        self.pictures = {}
        if self._job is not None:
            self._job.cancel()
        path = self._slide_path()
        if path is not None and self.strip.tiles and self._lattice is not None and self._store is not None:
            self._job = Job(partial(_pictures, path, self._store.slide_mpp, self._lattice, self.strip.tiles))
            self._start(self._job)

    def _slide_path(self) -> Path | None:
        """Return the file of the result's slide, where that is open."""
        key = slide_of(self.layer) if self.layer is not None else None
        slides = (layer for layer in layers_of_kind(self.viewer, "slide") if slide_of(layer) == key)
        slide = None if key is None else next(slides, None)
        return None if slide is None else Path(slide.metadata[METADATA_KEY]["path"])

    def poll(self) -> bool:
        """Take pictures that have come; tell whether there were any."""
        job = self._job
        if job is None:
            return False
        ended = job.has_ended
        pictures = job.poll()
        for picture in pictures:
            self.pictures[picture.entry] = picture.pixels
        if ended:
            self._job = None
            if job.error is not None:
                self.problem = explain(job.error)
        if pictures or ended:
            self._changed()
        return bool(pictures) or ended

    def go(self, index: int) -> None:
        """Make it the turn of a tile of the strip."""
        self.strip = self.strip.go(index)
        self._changed()

    def go_to(self, index: int) -> ReviewEntry | None:
        """Show a tile of the list in the middle of the view, outlined."""
        if self.layer is None or self._store is None or not 0 <= index < len(self.entries):
            return None
        entry = self.entries[index]
        tile = self._tile(entry)
        store = self._store
        x, y = ((v - o) / store.scale for v, o in zip((tile.x, tile.y), store.origin, strict=True))
        side = tile.side / store.scale
        mark_box(self.viewer, self.layer, y, x, side)
        go_to_box(self.viewer, self.layer, y, x, side)
        return entry

    def show_turn(self) -> ReviewEntry | None:
        """Show the tile whose turn it is."""
        return self.go_to(self._first + self.strip.turn)

    def _tile(self, entry: ReviewEntry) -> Tile:
        assert self._lattice is not None
        assert self._store is not None
        grid = self._lattice
        x, y = grid.level0(entry.column * grid.stride, entry.row * grid.stride)
        slide_id = self._project_slide() or self._store.name
        return Tile(slide_id, entry.row, entry.column, x, y, grid.tile * grid.scale)

    # --- what is said ------------------------------------------------------------------------------------------

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the result, in the order of their keys."""
        return () if self._store is None else tuple(self._store.schema.names)

    @property
    def class_colors(self) -> dict[str, str]:
        """Colour of each class of the result, ``#rrggbb``."""
        return {} if self._store is None else {c.name: c.color for c in self._store.schema.classes}

    def right(self) -> bool:
        """Say that the tile holds what the result shows, and go on."""
        entry = self.strip.current
        return entry is not None and self._say(entry, entry.classes)

    def wrong(self) -> bool:
        """Say that the tile does not hold what the result shows, and go on."""
        entry = self.strip.current
        return entry is not None and self._say(entry, ())

    def is_class(self, index: int) -> bool:
        """Say that the tile holds one class only, and go on."""
        entry = self.strip.current
        return (
            entry is not None
            and index < len(self.class_names)
            and self._say(entry, (self.class_names[index],))
        )

    def _say(self, entry: ReviewEntry, classes: Sequence[str]) -> bool:
        store = self._store
        assert store is not None
        tile = self._tile(entry)
        try:
            project = self._open_project()
            if project is not None and self._project_slide() is not None:
                project.label_tiles([tile], classes, person(), source="review")
                self._on_labels()
            VerdictLog(verdict_path(store.path), store).append(tile, classes)
        except WsssError as error:
            self.problem = explain(error)
            self._changed()
            return False
        self.problem = ""
        self._done.append(entry)
        self.said[entry] = tuple(classes)
        self.strip = self.strip.marked(self.said.__contains__).advance()
        self.notice = self._counted()
        if self.strip.is_done:
            self.more()
        self._changed()
        return True

    def undo(self) -> bool:
        """Take the last decision back, and the one before, also of earlier sessions; tell whether there was one."""
        store = self._store
        if store is None or not self._done:
            return False
        entry = self._done[-1]
        earlier = [other for other in self._done[:-1] if other == entry]
        try:
            log = VerdictLog(verdict_path(store.path), store)
            project = self._open_project()
            if project is not None and self._project_slide() is not None:
                project.take_back(self._tile(entry), person(), self.said[entry], "review")
                self._on_labels()
            log.take_back()
            before = [d for d in log.answers() if d.tile == _corner(self._tile(entry))]
        except WsssError as error:
            self.problem = explain(error)
            self._changed()
            return False
        self._done.pop()
        del self.said[entry]
        if earlier and before and before[-1].labels is not None:  # it had been answered once before
            self.said[entry] = _named(self.class_names, before[-1].labels)
        index = self.entries.index(entry)
        if index // STRIP_LENGTH * STRIP_LENGTH != self._first:
            self._first = index // STRIP_LENGTH * STRIP_LENGTH
            self._show_strip()
        self.strip = self.strip.marked(self.said.__contains__).go(index - self._first)
        self.notice = "Taken back."
        self._changed()
        return True

    def _changed(self) -> None:
        self.revision += 1


def _corner(tile: Tile) -> tuple[int, int]:
    """Return what decisions about a tile have in common."""
    return round(tile.x), round(tile.y)


def _named(names: Sequence[str], present: Sequence[bool]) -> tuple[str, ...]:
    return tuple(name for name, held in zip(names, present, strict=False) if held)


def _pictures(
    path: Path, slide_mpp: float, lattice: TileGrid, entries: Sequence[ReviewEntry]
) -> Generator[Picture]:
    """Read the pictures of tiles one by one."""
    with open_slide(path, mpp=slide_mpp) as slide:
        for entry in entries:
            x, y = lattice.level0(entry.column * lattice.stride, entry.row * lattice.stride)
            mpp = lattice.tile * lattice.scale * slide_mpp / THUMBNAIL
            yield Picture(entry, slide.read(round(x), round(y), THUMBNAIL, THUMBNAIL, mpp=mpp))
