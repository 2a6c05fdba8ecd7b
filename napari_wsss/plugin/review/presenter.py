"""The presenter of the Review dock: a list of tiles worth a look, and going to one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_wsss.plugin.common import explain
from napari_wsss.plugin.review.doubt import ReviewEntry, ReviewOrder, review_entries
from napari_wsss.plugin.view import METADATA_KEY, go_to_box, mark_box
from tiling.errors import WsssError
from tiling.store import open_store

__all__ = ["Reviewer"]


class Reviewer:
    """Lists tiles of a result that is shown in a viewer.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    layer : napari.layers.Labels or None
        The result that is reviewed.
    order : {"uncertain", "disagreement"}
    entries : list of ReviewEntry
    problem : str
    revision : int
        Grows with every change.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.layer: Any | None = None
        self.order: ReviewOrder = "uncertain"
        self.entries: list[ReviewEntry] = []
        self.problem = ""
        self.revision = 0

    def result_layers(self) -> list[Any]:
        """Return the results that can be reviewed: those with a store."""
        return [
            layer
            for layer in self.viewer.layers
            if layer.metadata.get(METADATA_KEY, {}).get("kind") == "store"
        ]

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
        self.entries, self.problem = [], ""
        if self.layer is not None:
            try:
                self.entries = review_entries(
                    open_store(Path(self.layer.metadata[METADATA_KEY]["path"])), self.order
                )
            except WsssError as error:
                self.problem = explain(error)
        self.revision += 1

    def go_to(self, index: int) -> ReviewEntry | None:
        """Show a tile of the list in the middle of the view, outlined."""
        if self.layer is None or not 0 <= index < len(self.entries):
            return None
        entry = self.entries[index]
        grid = open_store(Path(self.layer.metadata[METADATA_KEY]["path"])).grid
        box = grid.tile_box(entry.row, entry.column)
        mark_box(self.viewer, self.layer, box.y, box.x, grid.tile)
        go_to_box(self.viewer, self.layer, box.y, box.x, grid.tile)
        return entry
