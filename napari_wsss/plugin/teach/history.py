"""How the score grew with the labels, kept beside the features: the curve comes back with the project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiling.errors import ProjectError, disk_errors_as
from tiling.files import read_json, write_json_atomic

if TYPE_CHECKING:
    from napari_wsss.project import Score

__all__ = ["Point", "grown", "read_history", "write_history"]

Point = tuple[float, float, float, float]
"""Labels, score, and the ends of its interval."""


def grown(points: Sequence[Point], score: Score) -> list[Point]:
    """Return the curve with a newer score; points of as many or more labels than now (some were taken back) go."""
    if score.mean is None or score.low is None or score.high is None:
        return list(points)
    kept = [point for point in points if point[0] < score.tiles]
    return [*kept, (float(score.tiles), score.mean, score.low, score.high)]


def read_history(project: Path) -> list[Point]:
    """Return the curve of a project's folder; empty where it is not there or damaged: labels make it anew."""
    try:
        found = [tuple(float(value) for value in point) for point in read_json(_path(project))["points"]]
    except (OSError, KeyError, TypeError, ValueError):
        return []
    return [(x, y, low, high) for x, y, low, high in found] if all(len(p) == 4 for p in found) else []


def write_history(project: Path, points: Sequence[Point]) -> None:
    """Keep the curve.

    Raises
    ------
    ProjectError
        When it cannot be written.
    """
    path = _path(project)
    with disk_errors_as(ProjectError, f"{path} cannot be written", "mend it"):
        path.parent.mkdir(exist_ok=True)
        write_json_atomic(path, {"points": [list(point) for point in points]})


def _path(project: Path) -> Path:
    return project / "features" / "score.json"
