"""Ask me: which tiles to show next, with their pictures, and what an answer does to them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.common import STRIP_LENGTH, Job, Starter, Strip

if TYPE_CHECKING:
    from napari_wsss.plugin.teach.labelling import Labelling
    from napari_wsss.plugin.teach.sketching import Answers, Sketching
    from napari_wsss.plugin.teach.workspace import Workspace
    from napari_wsss.project import Project, Tile

__all__ = ["Asking", "Order"]

Order = Literal["telling", "random", "test"]
"""What teaches most · at random · tiles that never train, at random, for an honest test."""

THUMBNAIL = 160
"""Side of a tile's picture in pixels: sharp at twice the size of the strip's frames."""


@dataclass(frozen=True)
class Picture:
    """A tile of the strip and how it looks: (THUMBNAIL, THUMBNAIL, 3) uint8, or None where it cannot be read."""

    tile: Tile
    pixels: NDArray[np.uint8] | None


class Asking:
    """The film strip.

    Parameters
    ----------
    work : Workspace
    labelling : Labelling
        Writes the answers.
    sketching : Sketching
        Whose head ranks the tiles and is agreed with.
    start : callable
        Starts a job in another thread.

    Attributes
    ----------
    strip : Strip of Tile
    pictures : dict of Tile to (h, w, 3) uint8
        As far as they are read.
    order : {"telling", "random", "test"}
    is_asking : bool
        Whether keys answer the strip; else they label what the mouse points at.
    """

    def __init__(self, work: Workspace, labelling: Labelling, sketching: Sketching, start: Starter) -> None:
        self.work = work
        self.labelling = labelling
        self.sketching = sketching
        self.strip: Strip[Tile] = Strip()
        self.pictures: dict[Tile, NDArray[np.uint8] | None] = {}
        self.order: Order = "telling"
        self.is_asking = False
        self._start = start
        self._job: Job[Any] | None = None
        self._go_when_there = False

    @property
    def is_busy(self) -> bool:
        """Whether tiles or their pictures are still to come."""
        return self._job is not None

    @property
    def suggested(self) -> Answers:
        """What the map says of the tiles; nothing of test tiles, which it must not help to label."""
        return {} if self.order == "test" else self.sketching.answers

    def reset(self) -> None:
        """Forget the strip (another project)."""
        if self._job is not None:
            self._job.cancel()
        self._job, self.strip, self.pictures, self.is_asking = None, Strip(), {}, False

    def sort(self, order: Order) -> None:
        """Ask for what teaches most, at random, or for tiles that are set aside as test."""
        self.order = order
        self.refill()

    # --- the tiles ---------------------------------------------------------------------------------------------

    def refill(self) -> bool:
        """Ask for twelve other tiles; tell whether that was started."""
        project = self.work.project
        if project is None or self._job is not None:
            return False
        if not any(self.work.prepared_share(slide_id) for slide_id in self.work.slide_ids):
            self.work.say("Press Prepare first: then I know what to ask.")
            return False
        self._job = Job(partial(_asked, project, self.order))
        self._start(self._job)
        self.work.changed()
        return True

    def poll(self) -> bool:
        """Take tiles and pictures that have come; tell whether there were any."""
        job = self._job
        if job is None:
            return False
        ended = job.has_ended
        events = job.poll()
        for event in events:
            if isinstance(event, Picture):
                self.pictures[event.tile] = event.pixels
            else:
                self.strip, self.pictures = Strip.of(event), {}
                self.sketching.asked = self.strip.tiles
                self.sketching.wish(at_once=True)
                if self._go_when_there:
                    self._turn(self.strip)
        if ended:
            self._job, self._go_when_there = None, False
            if job.error is not None:
                self.work.report(job.error)
            elif not self.strip.tiles:
                self.work.say("There is nothing left to ask: every tile with tissue has a label.")
        if events or ended:
            self.work.changed()
        return bool(events) or ended

    # --- whose turn it is --------------------------------------------------------------------------------------

    def next(self) -> None:
        """Go on to the tile whose label teaches most that has no answer yet, wherever it lies."""
        self.work.say()
        if not self.strip.tiles or self.strip.is_done:
            self._go_when_there = self.refill() or self._job is not None
            return
        self._turn(
            self.strip if not self.is_asking and self._is_open(self.strip.turn) else self.strip.advance()
        )

    def go(self, index: int) -> None:
        """Make it the turn of a tile of the strip."""
        self._turn(self.strip.go(index))

    def step(self, by: int) -> None:
        """Make it the turn of a neighbour."""
        self._turn(self.strip.step(by))

    def leave(self) -> None:
        """Let keys label what the mouse points at."""
        if self.is_asking:
            self.is_asking = False
            self.work.changed()

    def _is_open(self, index: int) -> bool:
        return index < len(self.strip.tiles) and index not in self.strip.answered

    def _turn(self, strip: Strip[Tile]) -> None:
        self.strip = strip
        tile = strip.current
        self.is_asking = tile is not None
        if tile is not None:
            self.labelling.let_go()
            self.labelling.take(tile)
        self.work.changed()

    # --- answers -----------------------------------------------------------------------------------------------

    def press(self, index: int, *, shift: bool = False, control: bool = False) -> bool:
        """Answer with the class of a key and go on; with Control held, stay: the tile holds more than this."""
        if not self.labelling.press(index, shift=shift, control=control) and self.strip.current is None:
            return False
        self.look_up()
        if not (shift or control):
            self._on()
        return True

    def agree(self) -> bool:
        """Take the head's answer for all tiles of the strip that have none; tell whether any was taken."""
        answers = self.suggested
        if self.order == "test":
            self.work.say("Test tiles are yours to judge: what the map says of them is what they test.")
            return False
        decisions = [(tile, frozenset(answers[tile])) for tile in self.strip.open_tiles if answers.get(tile)]
        if not decisions:
            self.work.say("Label a few tiles first: there is no answer yet to agree with.")
            return False
        if not self.labelling.write(decisions, "review"):
            return False
        self.look_up()
        self.work.say(f"Agreed on {len(decisions)} tiles; undo takes all of them back.")
        self._on()
        return True

    def look_up(self) -> None:
        """See which tiles of the strip have a label now."""
        self.strip = self.strip.marked(self._has_label)
        self.work.changed()

    def _has_label(self, tile: Tile) -> bool:
        return bool(self.work.held(tile))

    def _on(self) -> None:
        """Go to the next tile without an answer, or ask for twelve others."""
        if self.strip.is_done:
            self._go_when_there = self.refill()
        else:
            self._turn(self.strip.advance())


def _asked(project: Project, order: Order) -> Generator[Sequence[Tile] | Picture]:
    """Choose tiles, then read their pictures one by one."""
    if order == "test":
        labelled = {label.tile for label in project.labels()}
        waiting = [tile for tile in project.test_tiles() if tile not in labelled]
        tiles = waiting[:STRIP_LENGTH] or project.set_aside(STRIP_LENGTH)
    else:
        tiles = project.suggest(STRIP_LENGTH, order=order)
    yield tiles
    for slide_id in dict.fromkeys(tile.slide_id for tile in tiles):
        with project.open_slide(slide_id) as slide:
            for tile in tiles:
                if tile.slide_id == slide_id:
                    mpp = tile.side * slide.require_mpp() / THUMBNAIL
                    yield Picture(
                        tile, slide.read(round(tile.x), round(tile.y), THUMBNAIL, THUMBNAIL, mpp=mpp)
                    )
