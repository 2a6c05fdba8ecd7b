"""How numbers are said in the dock: short for the table, long for the tooltip, never more certain than they are."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_wsss.project import Score

__all__ = ["clock_words", "locked_words", "next_words", "score_words", "summary_words"]

FEW = 12
"""Labels after which the map is worth a look, and the score begins."""

_LEFT_OUT = {
    "case": "cases that the map did not learn from",
    "slide": "slides that the map did not learn from",
    "region": "regions of the slide that the map did not learn from",
    "test": "tiles that are set aside as test",
}


def score_words(score: Score | None, name: str) -> tuple[str, str]:
    """Return what is said about one class: in the table, and in full.

    Parameters
    ----------
    score : Score or None
    name : str
        Of the class.
    """
    known = next((c for c in score.classes if c.name == name), None) if score is not None else None
    if score is None or known is None:
        return "–", "No score yet."
    if known.iou is None or known.low is None or known.high is None:
        return (
            "too few",
            f"Too few labels to say: {known.tiles} tiles hold {name} and nothing else.",
        )
    return (
        f"{known.iou:.2f} ({known.low:.2f}–{known.high:.2f})",
        f"{name}: overlap {known.iou:.2f} on {_LEFT_OUT[score.by]} (0 none, 1 perfect); with 95 % certainty between "
        f"{known.low:.2f} and {known.high:.2f}, from {known.tiles} tiles that hold nothing else.",
    )


def summary_words(score: Score | None, labels: int, minutes: float) -> str:
    """Return the line below the classes.

    Parameters
    ----------
    score : Score or None
    labels : int
        Tiles that have a label, in all slides.
    minutes : float
        Spent on them.
    """
    tiles = "1 tile" if labels == 1 else f"{labels} tiles"
    parts = [f"{tiles} in {minutes:.0f} min" if minutes >= 1 else tiles]
    if score is not None and labels:
        parts.append(
            "too few labels for a score"
            if score.mean is None
            else f"score {score.mean:.2f} ({score.low:.2f}–{score.high:.2f})"
        )
    return " · ".join(parts)


_OWNER = re.compile(r"is being written by process \d+ on (\S+) since ([^,;]+)")


def locked_words(notice: str) -> str:
    """Return why a project cannot be changed here, without process numbers and time zones.

    Parameters
    ----------
    notice : str
        As :attr:`napari_wsss.project.Project.notice` says it.
    """
    owner = _OWNER.search(notice)
    if owner is None:
        return notice
    try:
        since = f"{datetime.fromisoformat(owner.group(2)).astimezone():%H:%M}"
    except ValueError:
        since = owner.group(2)
    return (
        f"Another window (on {owner.group(1)}, since {since}) works on this project: it can be looked at here but not "
        "changed."
    )


def next_words(*, writable: bool, slides: int, prepared: bool, preparing: bool, labels: int) -> str:
    """Return what a person does next, when nothing else is to be said.

    Parameters
    ----------
    writable : bool
        Whether the project can be changed here.
    slides : int
        In the project.
    prepared, preparing : bool
        Whether any slide is prepared, or being so.
    labels : int
        Tiles that have a label.
    """
    if not writable:
        return ""
    if not slides:
        return "Next: add a slide."
    if not prepared and not preparing:
        return "Next: press Prepare; you can label meanwhile."
    if not labels:
        return "Next: point at a tile and press the key of a class that it holds."
    if labels < FEW:
        return f"Next: a few tiles of every class; N asks for those that teach most ({labels} of the first {FEW})."
    return "N asks for more; Quick model and Train make a model of what you have said."


def clock_words(seconds: float) -> str:
    """Return minutes and seconds."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
