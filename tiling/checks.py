"""What a program hands over is checked where it comes in: numbers are numbers, counts are whole, words are known.

A number that is none (NaN) makes every comparison false: it would open or close a gate, or choose a level, without a
word. So it is refused by name, with a ``TypeError`` or ``ValueError``: these are mistakes of programs, not of users.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any

__all__ = ["flag", "instance", "number", "one_of", "whole"]


def number(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    """Return a finite number between two bounds, as Python's own float.

    Raises
    ------
    TypeError
        When it is no number.
    ValueError
        When it is NaN, infinite or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number; got {_shown(value)}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not (math.isfinite(found) and least <= found <= most):
        raise ValueError(f"{name} must be {_bounds('a finite number', least, most)}; got {_shown(value)}")
    return found


def whole(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> int:
    """Return a whole number between two bounds, as Python's own int.

    Raises
    ------
    TypeError
        When it is no whole number; 2.0 is none.
    ValueError
        When it is out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number; got {_shown(value)}")
    found = int(value)
    if not least <= found <= most:
        raise ValueError(f"{name} must be {_bounds('a whole number', least, most)}; got {_shown(value)}")
    return found


def flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False: the word "no" would count as yes."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False; got {_shown(value)}")


def one_of(name: str, value: Any, known: Collection[str]) -> None:
    """Refuse a word that is not known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {_shown(value)}")


def instance(name: str, value: Any, kind: type) -> None:
    """Refuse what is neither None nor of a kind."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__} or None; got {_shown(value)}")


def _bounds(what: str, least: float, most: float) -> str:
    if most == math.inf:
        return what if least == -math.inf else f"{what}, {least:g} or more"
    return f"{what} from {least:g} to {most:g}"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - whatever it is, its kind says enough
        text = f"a {type(value).__name__} ({type(error).__name__})"
    return text if len(text) <= 60 else f"{text[:57]}…"
