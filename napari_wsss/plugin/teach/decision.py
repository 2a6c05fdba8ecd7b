"""What a key or a click says about tiles: the classes they hold afterwards."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

__all__ = ["Gesture", "decide", "gesture_of"]

Gesture = Literal["add", "only", "remove"]
"""This class too · this class and no other · not this class."""


def gesture_of(*, shift: bool, control: bool, several: bool) -> Gesture:
    """Return what is meant by a class key or a click.

    Parameters
    ----------
    shift, control : bool
        Modifier keys that are held.
    several : bool
        Whether many tiles are meant at once (a selection).

    Returns
    -------
    {"add", "only", "remove"}
        Shift takes a class away. One tile may hold several classes, so a key adds to it; a selection is "all only this"
        unless Control is held.
    """
    if shift:
        return "remove"
    return "only" if several and not control else "add"


def decide(held: Collection[str], name: str, gesture: Gesture) -> frozenset[str]:
    """Return the classes that a tile holds after a gesture.

    Parameters
    ----------
    held : collection of str
        Classes that it was said to hold before.
    name : str
        The class that was named.
    gesture : {"add", "only", "remove"}
    """
    if gesture == "only":
        return frozenset({name})
    return frozenset(held) | {name} if gesture == "add" else frozenset(held) - {name}
