"""The result layer of a run: made once, filled while the run goes on, kept when it is run again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from napari_wsss.plugin.segment.growing import GrowingPyramid
from napari_wsss.plugin.view import (
    METADATA_KEY,
    cam_layers,
    class_features,
    doubt_layer,
    doubt_place,
    follow,
    label_colormap,
    labels_layer,
)
from tiling.classes import ClassSchema
from tiling.engine import BlockWritten
from tiling.store import Store, open_store

__all__ = ["LiveResult", "OpenedStore", "find_layer"]


@dataclass(frozen=True)
class OpenedStore:
    """A store with the levels that are shown of it, opened and read in whatever thread asks.

    Attributes
    ----------
    store : Store
    pyramid : GrowingPyramid
        What is in the store already, and where finished blocks go in.
    """

    store: Store
    pyramid: GrowingPyramid

    @classmethod
    def read(cls, path: Path, rows_done: int = 0) -> Self:
        """Open a store that is complete, was just created, or of which an interrupted run has left tile rows.

        Raises
        ------
        StoreError
            When the store has gone or is damaged.
        """
        store = open_store(path)
        lines = store.grid.finished_lines(rows_done - 1)[1] if rows_done else 0
        return cls(store, GrowingPyramid(store.labels(), lines_done=lines))


class LiveResult:
    """Shows a store in a viewer while it is being written.

    Changes of the layer are made on :meth:`refresh` only, so that a caller's timer decides how often napari redraws:
    once for all blocks that came in between, never once per tile.

    Parameters
    ----------
    viewer : napari.Viewer
    opened : OpenedStore
    slide : napari.layers.Image, optional
        The layer on which the result lies: it takes over its rotation and shift.
    schema : ClassSchema, optional
        Other names and colours than the store's own.
    visible : bool
        Whether a new layer is seen at once. napari makes a layer in one turn of the window and draws it in the next,
        where it is shown later.

    Attributes
    ----------
    store : Store
    layer : napari.layers.Labels
        Perhaps no longer in the viewer; see :attr:`shown_layer`.
    """

    def __init__(
        self,
        viewer: Any,
        opened: OpenedStore,
        slide: Any | None = None,
        schema: ClassSchema | None = None,
        *,
        visible: bool = True,
    ) -> None:
        self._viewer = viewer
        self.store = opened.store
        self.slide = slide
        self.schema = schema or self.store.schema
        self._pyramid = opened.pyramid
        self._dirty = False
        self.layer: Any = None
        self.show(visible=visible)

    @property
    def shown_layer(self) -> Any | None:
        """The layer, or None when a user has deleted it."""
        return self.layer if self.layer is not None and self.layer in self._viewer.layers else None

    def show(self, *, visible: bool = True) -> Any:
        """Put the result into the viewer: into the layer that shows this store already, or a new one."""
        data, arguments, _ = labels_layer(self.store, self._pyramid.levels, schema=self.schema)
        if self.slide is not None:
            arguments.update(follow(self.slide, self.store.origin, self.store.scale))
        layer = find_layer(self._viewer, self.store.path, "store")
        if layer is None:
            layer = self._viewer.add_labels(data, visible=visible, **arguments)
        else:
            # What the user set (opacity, contour, hidden classes, order, name) stays.
            hidden = layer.metadata[METADATA_KEY].get("hidden", ())
            layer.data = data
            layer.colormap = label_colormap(self.schema, hidden)
            layer.features = arguments["features"]
            layer.metadata[METADATA_KEY] = {**arguments["metadata"][METADATA_KEY], "hidden": hidden}
            for name in ("units", "scale", "translate", "rotate", "shear", "affine"):
                if name in arguments:
                    setattr(layer, name, arguments[name])
        self.layer = layer
        return layer

    def add(self, event: BlockWritten) -> None:
        """Take a finished block; it is seen after the next :meth:`refresh`."""
        self._pyramid.add(event.box, event.labels)
        self._dirty = True

    def refresh(self) -> bool:
        """Redraw if anything has changed; tell whether it had."""
        if not self._dirty:
            return False
        self._dirty = False
        layer = self.shown_layer
        if layer is not None:
            layer.refresh(extent=False, highlight=False)
        return True

    def finish(self) -> None:
        """Show the finished store: every level as it is on disk."""
        self._pyramid.finish()
        self._dirty = True
        self.refresh()

    # --- what a user may do with it ----------------------------------------------------------------------------

    @property
    def hidden_labels(self) -> set[int]:
        """Store labels that are not shown."""
        layer = self.shown_layer
        return set() if layer is None else set(layer.metadata[METADATA_KEY].get("hidden", ()))

    def show_class(self, label: int, visible: bool) -> None:
        """Show or hide one class."""
        layer = self.shown_layer
        if layer is not None:
            hidden = self.hidden_labels - {label} if visible else self.hidden_labels | {label}
            layer.metadata[METADATA_KEY]["hidden"] = sorted(hidden)
            layer.colormap = label_colormap(self.schema, hidden)

    def set_schema(self, schema: ClassSchema) -> None:
        """Show the classes under other names and in other colours."""
        self.schema = schema
        layer = self.shown_layer
        if layer is not None:
            layer.metadata[METADATA_KEY]["schema"] = schema
            layer.colormap = label_colormap(schema, self.hidden_labels)
            layer.features = class_features(schema)

    def class_at(self, x: float, y: float) -> str:
        """Return the class at a level-0 position; empty where there is none."""
        left, top = self.store.origin
        column, row = int((x - left) // self.store.scale), int((y - top) // self.store.scale)
        labels = self._pyramid.levels[0]
        if not (0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]):
            return ""
        label = int(np.asarray(labels[row : row + 1, column : column + 1]).ravel()[0])
        return self.schema.names[label - 1] if 0 < label <= len(self.schema) else ""

    def set_opacity(self, opacity: float) -> None:
        """Set how much of the slide the classes cover, 0 to 1."""
        layer = self.shown_layer
        if layer is not None:
            layer.opacity = opacity

    def set_contour(self, width: int) -> None:
        """Draw outlines of ``width`` screen pixels instead of areas; 0 draws areas."""
        layer = self.shown_layer
        if layer is not None:
            layer.contour = width

    @property
    def has_cams(self) -> bool:
        """Whether the run kept stage-1 CAMs."""
        return bool(self.store.run.get("cam_tile"))

    def show_cams(self) -> list[Any]:
        """Add one hidden layer per class that shows what stage 1 looked at; those that are there already stay."""
        layers = []
        for data, arguments, _ in cam_layers(self.store):
            if self.slide is not None:
                step = self.store.scale * self.store.cam_factor
                arguments.update(follow(self.slide, self.store.origin, step))
            name = arguments["metadata"][METADATA_KEY]["class"]
            layer = find_layer(self._viewer, self.store.path, "cam", name)
            layers.append(layer or self._viewer.add_image(data, **arguments))
        return layers

    def show_doubt(self) -> Any:
        """Add a layer that shows how unsure the model is, tile by tile; one that is there already is shown again."""
        layer = find_layer(self._viewer, self.store.path, "doubt")
        if layer is None:
            data, arguments, _ = doubt_layer(self.store)
            if self.slide is not None:
                arguments.update(follow(self.slide, *doubt_place(self.store)))
            layer = self._viewer.add_image(data, **arguments)
        layer.visible = True
        return layer


def find_layer(viewer: Any, store: Path, kind: str, name: str | None = None) -> Any | None:
    """Return the layer that shows a part of a store, or None.

    Parameters
    ----------
    viewer : napari.Viewer
    store : Path
    kind : str
        ``store`` (its classes), ``cam`` or ``overview``.
    name : str, optional
        Class name, for CAMs.
    """
    for layer in viewer.layers:
        known = layer.metadata.get(METADATA_KEY, {})
        if known.get("kind") != kind or known.get("class", name) != name:
            continue
        if Path(known["path"]).absolute() == store.absolute():
            return layer
    return None
