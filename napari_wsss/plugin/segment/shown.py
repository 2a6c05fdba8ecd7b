"""Which results are in the viewer: a layer for each, adopted when napari opened it, marked when it is out of place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_wsss.plugin.results import Result
from napari_wsss.plugin.segment.live import LiveResult, OpenedStore, find_layer
from napari_wsss.plugin.view import METADATA_KEY, SlideKey, layers_of_kind, slide_of

__all__ = ["ShownResults"]

OUT_OF_PLACE = " (of another slide)"


class ShownResults:
    """The layers of results in one viewer.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._live: dict[Path, LiveResult] = {}

    def get(self, store: Path) -> LiveResult | None:
        """Return what shows a store; its layer may have been deleted by the user."""
        return self._live.get(store)

    def open(self, result: Result, opened: OpenedStore | None = None, *, visible: bool = True) -> LiveResult:
        """Show a result on its slide, in the layer that it has already or in a new one.

        Parameters
        ----------
        result : Result
        opened : OpenedStore, optional
            Its store, when another thread has opened it.
        visible : bool
            Whether a new layer is seen before :meth:`choose`.

        Raises
        ------
        StoreError
            When the store has gone or is damaged.
        """
        opened = opened or OpenedStore.read(result.store)
        slide = self.slide_layer(result.slide)
        live = LiveResult(self._viewer, opened, slide, result.schema, visible=visible)
        self._live[result.store] = live
        return live

    def choose(self, result: Result) -> LiveResult:
        """Show a result and hide the others of its slide, which would shine through."""
        live = self._live.get(result.store)
        if live is None or (live.slide is None and self.slide_layer(result.slide) is not None):
            live = self.open(result)
        for layer in layers_of_kind(self._viewer, "store"):
            if slide_of(layer) == result.slide:
                layer.visible = layer == live.shown_layer
        return live

    def forget(self, store: Path) -> None:
        """Take the layers of a store away that no longer is there."""
        self._live.pop(store, None)
        for kind in ("store", "cam", "doubt", "overview"):
            while (layer := find_layer(self._viewer, store, kind)) is not None:
                self._viewer.layers.remove(layer)

    def slide_layer(self, slide: SlideKey) -> Any | None:
        """Return the layer of a slide, or None while the slide is not open."""
        slides = layers_of_kind(self._viewer, "slide")
        return next((layer for layer in slides if slide_of(layer) == slide), None)

    def unknown_stores(self) -> list[Path]:
        """Return the stores that somebody has put into the viewer without us: dropped, or opened from a menu."""
        found = [
            Path(layer.metadata[METADATA_KEY]["path"]).absolute()
            for layer in layers_of_kind(self._viewer, "store")
        ]
        return [store for store in dict.fromkeys(found) if store not in self._live]

    def mark_out_of_place(self, store: Path) -> None:
        """Hide the layers of a store whose slide is not open while another one is, and say so in their names."""
        for kind in ("store", "overview"):
            layer = find_layer(self._viewer, store, kind)
            if layer is not None and not layer.name.endswith(OUT_OF_PLACE):
                layer.visible = False
                layer.name += OUT_OF_PLACE

    def put_in_place(self, store: Path) -> None:
        """Undo :meth:`mark_out_of_place`: the slide of the store was opened."""
        for kind in ("store", "overview"):
            layer = find_layer(self._viewer, store, kind)
            if layer is not None and layer.name.endswith(OUT_OF_PLACE):
                layer.name = layer.name.removesuffix(OUT_OF_PLACE)
