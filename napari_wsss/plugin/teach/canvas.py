"""What Teach draws on the slide: the outline under the mouse, the labels given, and the map. Layers only, no Qt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.view import (
    LABEL_OPACITY,
    METADATA_KEY,
    class_features,
    follow,
    go_to_box,
    hide,
    label_colormap,
    placement_of,
    slide_of,
)

if TYPE_CHECKING:
    from napari_wsss.project import Tile, TileLabel
    from tiling.classes import ClassSchema

__all__ = ["Canvas", "dots"]

_HIGHLIGHT = "#ffe600"
_DOT_SHARE = 0.14
"""Diameter of a label's dot as a share of the tile's side."""
_DOT_PIXELS = (5, 40)
_LINE_PIXELS = 2
"""Least width of an outline on the screen."""


def dots(labels: Iterable[TileLabel], schema: ClassSchema) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return one dot per labelled tile and class: places (n, 2) as (y, x) data coordinates, colours (n, 4).

    The dots of a tile stand side by side around its middle, in the order of the schema, so that they tell what it holds
    and hide little of it.
    """
    places, colors = [], []
    palette = schema.palette[1:] / 255
    for label in labels:
        held = [index for index, present in enumerate(label.present) if present]
        x, y = label.tile.middle
        for number, index in enumerate(held):
            shift = (number - (len(held) - 1) / 2) * 1.25 * _DOT_SHARE * label.tile.side
            places.append((y - 0.5, x + shift - 0.5))
            colors.append((*palette[index], 1.0))
    return np.asarray(places, float).reshape(-1, 2), np.asarray(colors, float).reshape(-1, 4)


class Canvas:
    """The layers of the Teach dock on one slide layer; each is made when it is first needed.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.slide: Any | None = None
        self._side = 0.0
        self._width = 0.0
        self._made: dict[str, Any] = {}

    def use(self, slide: Any | None) -> None:
        """Draw on another slide layer, or on none; what lies on the other goes."""
        if slide is not self.slide:
            self.clear()
            self.slide = slide

    def clear(self) -> None:
        """Take all layers away."""
        for layer in self._made.values():
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self._made, self._side = {}, 0.0

    def shown(self, kind: str) -> Any | None:
        """Return a layer of ours, or None when it is not there or was deleted by hand."""
        layer = self._made.get(kind)
        return layer if layer is not None and layer in self.viewer.layers else None

    # --- outlines ----------------------------------------------------------------------------------------------

    def outline(self, tile: Tile | None) -> None:
        """Outline the tile that a key would label; only the layer is moved, which is quick enough for every motion."""
        if tile is None or self.slide is None:
            self._hide("tile")
            return
        layer = self.shown("tile")
        width = self._line(tile.side)
        if layer is None or self._side != tile.side or not 0.8 < self._width / width < 1.25:
            self._remove("tile")
            layer = self._shapes("tile", "Tile", [_square(tile.side)], width)
            self._side, self._width = tile.side, width
        layer.translate = follow(self.slide, (tile.x, tile.y), 1.0)["translate"]
        layer.visible = True

    def go_to(self, tile: Tile) -> None:
        """Move the view to a tile."""
        if self.slide is not None:
            go_to_box(self.viewer, self.slide, tile.y, tile.x, tile.side)

    def select(self, tiles: Sequence[Tile]) -> None:
        """Outline many tiles at once."""
        if not tiles or self.slide is None:
            self._remove("selection")
            return
        boxes = [_square(tile.side) + np.array([tile.y, tile.x]) for tile in tiles]
        self._remove("selection")
        self._shapes("selection", "Selected tiles", boxes, self._line(tiles[0].side))

    def drag(self, outline: Sequence[tuple[float, float]]) -> None:
        """Show the rectangle or lasso that is being drawn, corners as level-0 (x, y); nothing when there is none."""
        if len(outline) < 2 or self.slide is None:
            self._remove("drag")
            return
        path = np.array([(y - 0.5, x - 0.5) for x, y in outline])
        layer = self.shown("drag")
        if layer is None:
            layer = self._shapes("drag", "Drawn", [], self._line(0.0))
        layer.data = []
        layer.add(np.vstack([path, path[:1]]), shape_type="path", edge_color=_HIGHLIGHT)

    # --- labels and map ----------------------------------------------------------------------------------------

    def labels(self, labels: Iterable[TileLabel], schema: ClassSchema, side: float) -> None:
        """Show which tiles are labelled and how."""
        if self.slide is None:
            return
        places, colors = dots(labels, schema)
        layer = self.shown("labels")
        if not len(places):
            self._remove("labels")
            return
        if layer is None:
            layer = self._add(
                "labels",
                self.viewer.add_points,
                places,
                name="Tile labels",
                face_color=colors,
                border_color="white",
                border_width=0.12,
                size=_DOT_SHARE * side,
                canvas_size_limits=_DOT_PIXELS,
                **placement_of(self.slide),
            )
            layer.editable = False
            return
        layer.data = places
        layer.face_color = colors
        layer.border_color = "white"
        layer.size = _DOT_SHARE * side

    def show_map(
        self, labels: NDArray[np.uint8], origin: tuple[float, float], step: float, schema: ClassSchema
    ) -> Any:
        """Draw the map of the whole slide, in place where it has the size that it had.

        Parameters
        ----------
        labels : (h, w) uint8
            Store labels.
        origin : (float, float)
            Level-0 (x, y) of the map's corner.
        step : float
            Level-0 pixels per map pixel.
        schema : ClassSchema
        """
        assert self.slide is not None
        layer = self.shown("map")
        if layer is not None and layer.data.shape == labels.shape:
            layer.data[...] = labels
            layer.refresh(extent=False, highlight=False)
            return layer
        self._remove("map")
        return self._add(
            "map",
            self.viewer.add_labels,
            np.array(labels),
            name="Map",
            opacity=LABEL_OPACITY,
            colormap=label_colormap(schema),
            features=class_features(schema),
            metadata={METADATA_KEY: {"kind": "map", "schema": schema}},
            axis_labels=("y", "x"),
            **follow(self.slide, origin, step),
        )

    def toggle_map(self) -> None:
        """Show the tissue under the map, or the map again."""
        layer = self.shown("map")
        if layer is not None:
            layer.visible = not layer.visible

    def set_map_visible(self, wanted: bool) -> None:
        """Show the map, or what it covers."""
        if wanted and (layer := self.shown("map")) is not None:
            layer.visible = True
        elif not wanted:
            self._hide("map")

    def hide_map(self) -> None:
        """Take the map away: there is nothing to say any more."""
        self._remove("map")

    # --- how a layer is made and goes --------------------------------------------------------------------------

    def _line(self, side: float) -> float:
        """Return how wide an outline is, in data pixels: a fiftieth of a tile, and never too thin to be seen."""
        assert self.slide is not None
        return max(
            side / 50, _LINE_PIXELS / float(self.viewer.scene.camera.zoom) / float(self.slide.scale[-1])
        )

    def _shapes(self, kind: str, name: str, boxes: list[NDArray[np.float64]], width: float) -> Any:
        assert self.slide is not None
        return self._add(
            kind,
            self.viewer.add_shapes,
            boxes or None,
            ndim=2,
            name=name,
            edge_color=_HIGHLIGHT,
            face_color="transparent",
            edge_width=width,
            **placement_of(self.slide),
        )

    def _add(self, kind: str, add: Any, *args: Any, **arguments: Any) -> Any:
        """Add a layer without taking the selection away from the one that a person has chosen."""
        active = self.viewer.layers.selection.active
        layer = add(*args, **arguments)
        known = layer.metadata.setdefault(METADATA_KEY, {"kind": f"teach {kind}"})
        known["slide"] = slide_of(self.slide)
        self._made[kind] = layer
        if active is not None and active in self.viewer.layers:
            self.viewer.layers.selection.active = active
        order = [k for k in ("map", "labels", "selection", "tile", "drag") if self.shown(k) is not None]
        above = order[order.index(kind) + 1 :]
        if above:  # what is drawn later may belong below: the outline stays on top
            self.viewer.layers.move(
                self.viewer.layers.index(layer), self.viewer.layers.index(self._made[above[0]])
            )
        return layer

    def _remove(self, kind: str) -> None:
        layer = self.shown(kind)
        self._made.pop(kind, None)
        if layer is not None:
            self.viewer.layers.remove(layer)

    def _hide(self, kind: str) -> None:
        layer = self.shown(kind)
        if layer is not None:
            hide(layer)


def _square(side: float) -> NDArray[np.float64]:
    """Return the corners of a square whose first pixel is (0, 0), as napari's (y, x)."""
    return np.array([[0, 0], [0, side], [side, side], [side, 0]], float) - 0.5
