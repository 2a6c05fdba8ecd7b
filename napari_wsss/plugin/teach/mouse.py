"""The mouse on the canvas: motions become a place on the slide, presses a click, a rectangle or a lasso. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from napari_wsss.plugin.view import clicks_are_taken

__all__ = ["SlideMouse", "Tool"]

Tool = Literal["click", "rectangle", "lasso"]
Point = tuple[float, float]

_STILL_PIXELS = 4
"""A press that moves less than this on the screen is a click."""
_NUDGE_PIXELS = 24
"""A hand that rests on the mouse moves it this much without meaning to."""


@dataclass(frozen=True)
class Handlers:
    """Who is told: positions are level-0 (x, y).

    Attributes
    ----------
    hover : callable of x, y
    click : callable of x, y, shift, control
    drawing : callable of outline
        While a rectangle or lasso grows; empty when it is over.
    drawn : callable of outline, shift
    """

    hover: Callable[[float, float], object]
    click: Callable[[float, float, bool, bool], object]
    drawing: Callable[[list[Point]], object]
    drawn: Callable[[list[Point], bool], object]


class SlideMouse:
    """Listens to a viewer's canvas while it is switched on.

    A drag moves the view, as ever, unless the tool is a rectangle or a lasso; with Control held it draws a rectangle.

    Parameters
    ----------
    viewer : napari.Viewer
    to_slide : callable
        Turns a world position (y, x) into level-0 (x, y); None where there is no slide.
    handlers : Handlers
    """

    def __init__(self, viewer: Any, to_slide: Callable[[Any], Point | None], handlers: Handlers) -> None:
        self._viewer = viewer
        self._to_slide = to_slide
        self._handlers = handlers
        self._on = False
        self._tool: Tool = "click"
        self._resting: Any | None = None  # screen position at which the mouse was left for the keyboard

    @property
    def tool(self) -> Tool:
        """What a drag does."""
        return self._tool

    def choose(self, tool: Tool) -> None:
        """Choose what a drag does."""
        self._tool = tool
        self._hold_view()

    def switch(self, on: bool) -> None:
        """Listen, or stop."""
        if on == self._on:
            return
        self._on = on
        for callbacks, mine in (
            (self._viewer.mouse_move_callbacks, self._moved),
            (self._viewer.mouse_drag_callbacks, self._pressed),
        ):
            if on:
                callbacks.append(mine)
            elif mine in callbacks:
                callbacks.remove(mine)
        self._hold_view()

    def rest(self) -> None:
        """Ignore a nudge: keys are meant for something else until the mouse is really moved."""
        self._resting = ()

    def _hold_view(self) -> None:
        self._viewer.scene.camera.mouse_pan = not (self._on and self._tool != "click")

    def _is_tool_of_another(self) -> bool:
        """Tell whether the mouse paints, draws or moves in a layer (a correction, a region): no word about a tile."""
        active = self._viewer.layers.selection.active
        return str(getattr(active, "mode", "pan_zoom")) != "pan_zoom"

    def _moved(self, _viewer: Any, event: Any) -> None:
        if self._is_tool_of_another():
            return
        if self._resting is not None:
            here = np.asarray(event.pos, float)
            if not len(self._resting):
                self._resting = here
            if np.abs(here - self._resting).max() < _NUDGE_PIXELS:
                return
            self._resting = None
        point = self._to_slide(event.position)
        if point is not None:
            self._handlers.hover(*point)

    def _pressed(self, _viewer: Any, event: Any) -> Generator[None]:
        """Follow one press to its release (napari's protocol for mouse callbacks)."""
        if event.button != 1 or self._is_tool_of_another():
            return
        held = {str(getattr(m, "name", m)) for m in event.modifiers}
        shift, control = "Shift" in held, "Control" in held
        draws = self._tool != "click" or control
        start, pressed = self._to_slide(event.position), np.asarray(event.pos, float)
        if start is None:
            return
        event.handled = draws
        path, moved = [start], False
        yield
        while event.type == "mouse_move":
            event.handled = draws
            moved = moved or bool(np.abs(np.asarray(event.pos, float) - pressed).max() > _STILL_PIXELS)
            point = self._to_slide(event.position)
            if draws and moved and point is not None:
                path.append(point)
                self._handlers.drawing(self._outline(path))
            yield
        self._resting = None
        if draws:
            self._handlers.drawing([])
        if not moved:
            if not clicks_are_taken(self._viewer):  # a tile to be explained shall get no label
                self._handlers.click(*start, shift, control)
        elif draws:
            self._handlers.drawn(self._outline(path), shift)

    def _outline(self, path: list[Point]) -> list[Point]:
        if self._tool == "lasso":
            return path
        (x0, y0), (x1, y1) = path[0], path[-1]
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
