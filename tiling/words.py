"""Small facts in words: a span of time, and in what two JSON trees differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["clock", "differences"]


def clock(seconds: float) -> str:
    """Return ``m:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield ``key: old → new`` for every leaf in which two JSON trees differ; tuples are lists."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return
    plain = [list(value) if isinstance(value, tuple) else value for value in (old, new)]
    if plain[0] != plain[1]:
        yield f"{path}: {old} → {new}"
