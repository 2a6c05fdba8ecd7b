"""What is open in the Teach dock: a project, one of its slides, and what there is to say about both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.common import explain, person
from napari_wsss.plugin.teach.tissue import TissueBook
from napari_wsss.plugin.teach.words import locked_words
from napari_wsss.plugin.view import METADATA_KEY, fit, show_only, slide_layer, slide_of, world_to_data
from tiling.errors import ProjectReadOnlyError, WsssError

if TYPE_CHECKING:
    from napari_wsss.project import Project, Tile, TileLabel
    from tiling.store import Store

__all__ = ["Workspace", "slide_of_store"]


class Workspace:
    """The project and the slide on which everything in the dock works.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    project : Project or None
    book : TissueBook or None
        Where the project's slides have tissue.
    slide_id : str or None
        The slide that is shown and labelled.
    problem, notice : str
        What went wrong with the last command, and what it has to say; empty after one that has nothing to say.
    revision : int
        Grows whenever something that a panel shows is different.
    reader : str
        Who labels.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.project: Project | None = None
        self.book: TissueBook | None = None
        self.slide_id: str | None = None
        self.problem = ""
        self.notice = ""
        self.revision = 0
        self.reader = person()
        self._held: dict[tuple[str, int, int], TileLabel] | None = None

    def changed(self) -> None:
        """Say that something that is shown is different."""
        self.revision += 1

    def say(self, notice: str = "") -> None:
        """Show a message (or none) in place of the last one."""
        self.notice, self.problem = notice, ""
        self.changed()

    def report(self, error: BaseException) -> None:
        """Show an error of a command."""
        text = locked_words(str(error)) if isinstance(error, ProjectReadOnlyError) else explain(error)
        self.problem, self.notice = text, ""
        self.changed()

    # --- the project -------------------------------------------------------------------------------------------

    def use(self, project: Project | None) -> None:
        """Work on another project, or on none."""
        if self.project is not None:
            self.project.close()
        self.project, self.slide_id, self._held = project, None, None
        self.book = None if project is None else TissueBook(project)
        self.say()

    @property
    def can_write(self) -> bool:
        """Whether decisions can be written: a project is open, and no other window writes it."""
        return self.project is not None and not self.project.read_only

    @property
    def slide_ids(self) -> list[str]:
        """The project's slides, in the order in which they were added."""
        return [] if self.project is None else list(self.project.slides)

    def prepared_share(self, slide_id: str) -> float:
        """Return the share of a slide's tissue tiles whose features are there, 0 … 1."""
        if self.project is None:
            return 0.0
        done, total = self.project.prepared(slide_id)
        return done / total if total else 0.0

    def say_what_is_outdated(self) -> None:
        """Say which slides must be prepared again, unless something else is wrong: the map would silently miss them."""
        project = self.project
        found = [] if project is None else [(name, project.outdated(name)) for name in self.slide_ids]
        reason = next((why for _, why in found if why), "")
        if reason and not self.problem:
            names = ", ".join(name for name, why in found if why == reason)
            self.problem = (
                f"What was prepared of {names} cannot be used, because {reason}."
                " Press Prepare; the labels are kept."
            )
            self.changed()

    # --- the slide ---------------------------------------------------------------------------------------------

    def choose(self, slide_id: str | None) -> bool:
        """Show a slide of the project, opening it where it is not open; tell whether it is shown."""
        if slide_id is None or self.project is None:
            self.slide_id = None
            self.changed()
            return False
        try:
            layer = self.slide_layer(slide_id) or self._open(slide_id)
        except WsssError as error:
            self.report(error)
            return False
        key = slide_of(layer)
        if key is not None:
            layer.visible = True
            show_only(self.viewer, key)
        self.viewer.layers.selection.active = layer
        if self.slide_id != slide_id:
            self.slide_id = slide_id
            fit(self.viewer, layer)
        self.changed()
        return True

    def slide_layer(self, slide_id: str | None = None) -> Any | None:
        """Return the layer that shows a slide of the project (the chosen one by default), or None."""
        slide_id = slide_id or self.slide_id
        if self.project is None or slide_id is None:
            return None
        path = self.project.entry(slide_id).find(self.project.folder)
        for layer in self.viewer.layers:
            known = layer.metadata.get(METADATA_KEY, {})
            if known.get("kind") == "slide" and _same(Path(known["path"]), path):
                return layer
        return None

    def _open(self, slide_id: str) -> Any:
        assert self.project is not None
        data, arguments, _ = slide_layer(self.project.open_slide(slide_id))
        return self.viewer.add_image(data, **arguments)

    def point_on_slide(self, position: Any) -> tuple[float, float] | None:
        """Turn a world position (y, x) into level-0 (x, y) of the chosen slide."""
        layer = self.slide_layer()
        if layer is None:
            return None
        y, x = world_to_data(self.viewer, layer)(tuple(position)[-2:])
        return float(x) + 0.5, float(y) + 0.5

    def tile_at(self, x: float, y: float) -> Tile | None:
        """Return the tile of the chosen slide that holds a level-0 position."""
        if self.project is None or self.slide_id is None:
            return None
        return self.project.tile_at(self.slide_id, x, y)

    def tissue(self) -> NDArray[np.bool_] | None:
        """Return which tiles of the chosen slide hold tissue, (rows, columns); None while nobody has looked."""
        if self.book is None or self.slide_id is None:
            return None
        known = self.book.known(self.slide_id)
        return None if known is None else known.tiles

    # --- labels in force ---------------------------------------------------------------------------------------

    def labels(self, slide_id: str | None = None) -> list[TileLabel]:
        """Return the labels in force of one slide, or of all."""
        return [label for (known, *_), label in self._labels().items() if slide_id in (None, known)]

    def held(self, tile: Tile) -> tuple[str, ...]:
        """Return the classes that a tile is said to hold."""
        label = self._labels().get((tile.slide_id, *tile.place))
        return () if label is None else label.classes

    def labels_changed(self) -> None:
        """Read the labels again when they are next asked for."""
        self._held = None
        self.changed()

    def _labels(self) -> dict[tuple[str, int, int], TileLabel]:
        if self._held is None:
            self._held = {}
            for slide_id in self.slide_ids:
                assert self.project is not None
                mine_last = sorted(self.project.labels(slide_id), key=self._is_mine)
                self._held.update({(slide_id, *label.tile.place): label for label in mine_last})
        return self._held

    def _is_mine(self, label: TileLabel) -> bool:
        return label.reader == self.reader


def slide_of_store(project: Project | None, store: Store) -> str | None:
    """Return the id of a result's slide in a project, when what is said of the result can be kept there.

    None without a project, for one that cannot be written, that has other classes, or not this slide.
    """
    if project is None or project.read_only or project.schema.names != store.schema.names:
        return None
    identity = store.run.get("slide") or {}
    return next((slide_id for slide_id in project.slides if project.entry(slide_id).is_same(identity)), None)


def _same(one: Path, other: Path) -> bool:
    return one.absolute() == other.absolute() or (one.exists() and other.exists() and one.samefile(other))
