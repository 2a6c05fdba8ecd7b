"""How numbers are said in the dock: short for the table, long for the tooltip, never more certain than they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_wsss.project import Score

__all__ = ["clock_words", "score_words", "summary_words"]

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
    parts = [f"{labels} tiles in {minutes:.0f} min" if minutes >= 1 else f"{labels} tiles"]
    if score is not None and labels:
        parts.append(
            "too few labels for a score"
            if score.mean is None
            else f"score {score.mean:.2f} ({score.low:.2f}–{score.high:.2f})"
        )
    return " · ".join(parts)


def clock_words(seconds: float) -> str:
    """Return minutes and seconds."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
