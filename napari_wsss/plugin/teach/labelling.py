"""Saying what tiles hold: the tile in hand, the selection, and every decision on disk before the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from napari_wsss.plugin.teach.decision import Gesture, decide, gesture_of
from napari_wsss.plugin.teach.selection import tiles_inside
from tiling.errors import WsssError

if TYPE_CHECKING:
    from napari_wsss.plugin.teach.canvas import Canvas
    from napari_wsss.plugin.teach.workspace import Workspace
    from napari_wsss.project import Source, Tile

__all__ = ["Labelling"]


class Labelling:
    """Turns keys, clicks and outlines into tile labels of the project.

    Parameters
    ----------
    work : Workspace
    canvas : Canvas
    on_labels : callable
        Called after labels have changed.

    Attributes
    ----------
    tile : Tile or None
        The tile under the mouse, which is outlined.
    selection : tuple of Tile
        Tiles that the next key labels together; empty: the one tile.
    active : int
        Index of the class that a click gives.
    """

    def __init__(self, work: Workspace, canvas: Canvas, on_labels: Callable[[], None]) -> None:
        self.work = work
        self.canvas = canvas
        self.tile: Tile | None = None
        self.selection: tuple[Tile, ...] = ()
        self.active = 0
        self._on_labels = on_labels

    def reset(self) -> None:
        """Forget the tile and the selection (another slide)."""
        self.tile, self.selection = None, ()
        self.canvas.outline(None)
        self.canvas.select(())

    def hover(self, x: float, y: float) -> None:
        """Outline the tile at a level-0 position."""
        self.take(self.work.tile_at(x, y))

    def take(self, tile: Tile | None) -> None:
        """Take a tile in hand: keys label it."""
        if tile != self.tile:
            self.tile = tile
            shown = tile is not None and tile.slide_id == self.work.slide_id
            self.canvas.outline(tile if shown else None)
            self.work.changed()

    def select(self, outline: Sequence[tuple[float, float]], *, more: bool = False) -> None:
        """Select the tiles inside an outline; ``more`` adds them to those that are selected."""
        project, slide_id = self.work.project, self.work.slide_id
        if project is None or slide_id is None:
            return
        places = tiles_inside(project.grid(slide_id), outline, self.work.tissue())
        found = tuple(project.tile_of(slide_id, *place) for place in places)
        kept = self.selection if more else ()
        self.selection = (*kept, *(tile for tile in found if tile not in set(kept)))
        self.canvas.select(self.selection)
        if self.selection:
            keys = f"1 to {min(9, len(project.schema))}"
            self.work.say(f"{len(self.selection)} tiles: press {keys} for “all only this”, Esc to let go.")
        else:
            self.work.say("No tile with tissue has its middle in there.")

    def let_go(self) -> None:
        """Forget the selection."""
        if self.selection:
            self.selection = ()
            self.canvas.select(())
            self.work.say()

    def press(self, index: int, *, shift: bool = False, control: bool = False) -> bool:
        """Label the selection, or the tile in hand, with the class of a key; tell whether something was labelled."""
        project = self.work.project
        if project is None or not 0 <= index < len(project.schema):
            return False
        self.active = index
        many = bool(self.selection)
        tiles = self.selection or (() if self.tile is None else (self.tile,))
        gesture = gesture_of(shift=shift, control=control, several=many)
        done = self.say(tiles, project.schema.names[index], gesture, "rectangle" if many else "click")
        if done and many and not shift and not control:
            self.let_go()
        return done

    def click(self, x: float, y: float, *, shift: bool = False, control: bool = False) -> bool:
        """Label the tile at a level-0 position with the active class."""
        self.let_go()
        self.hover(x, y)
        return self.press(self.active, shift=shift, control=control)

    def say(self, tiles: Sequence[Tile], name: str, gesture: Gesture, source: Source) -> bool:
        """Write what a gesture says about tiles; tell whether any label has changed."""
        wanted = [(tile, decide(self.work.held(tile), name, gesture)) for tile in tiles]
        return self.write([(t, c) for t, c in wanted if c != frozenset(self.work.held(t))], source)

    def write(self, decisions: Sequence[tuple[Tile, frozenset[str]]], source: Source) -> bool:
        """Write decisions, which one undo takes back together; tell whether they are on disk."""
        project = self.work.project
        if project is None or not decisions:
            return False
        try:
            project.decide(decisions, self.work.reader, source=source)
        except WsssError as error:
            self.work.report(error)
            return False
        self.work.say()
        self._told()
        return True

    def undo(self) -> bool:
        """Take the last decision back, and the one before it the next time, without end."""
        project = self.work.project
        if project is None:
            return False
        try:
            undone = project.undo(reader=self.work.reader)
        except WsssError as error:
            self.work.report(error)
            return False
        if not undone:
            self.work.say("There is nothing of yours to take back.")
            return False
        self.work.say(f"Taken back: {len(undone)} tiles." if len(undone) > 1 else "Taken back.")
        self._told()
        return True

    def _told(self) -> None:
        self.work.labels_changed()
        self._on_labels()
