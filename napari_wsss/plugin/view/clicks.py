"""One click, one answer: where several panels listen to the canvas, the one that was told to pick takes the clicks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["clicks_are_taken", "takes_clicks"]

C = TypeVar("C", bound=Callable[..., Any])

_MARK = "_takes_clicks"


def takes_clicks(callback: C) -> C:
    """Mark a mouse callback as one that answers clicks alone while it is among a viewer's."""
    setattr(callback, _MARK, True)
    return callback


def clicks_are_taken(viewer: Any) -> bool:
    """Tell whether some callback of a viewer answers clicks alone."""
    return any(getattr(callback, _MARK, False) for callback in viewer.mouse_drag_callbacks)
