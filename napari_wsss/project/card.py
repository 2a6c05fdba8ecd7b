"""What a model's card says about the project that it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from napari_wsss.project.core import ProjectCore
from napari_wsss.project.tiles import TileLabel

__all__ = ["Card", "card_of"]


@dataclass(frozen=True)
class Card:
    """Where a model's knowledge comes from.

    Attributes
    ----------
    project : str
    labels : int
        Labelled tiles that trained.
    tiles_per_class : dict
        Class name -> labelled tiles that hold it.
    slides, cases, readers : tuple of str
        Those that gave labels.
    """

    project: str
    labels: int
    tiles_per_class: dict[str, int]
    slides: tuple[str, ...]
    cases: tuple[str, ...]
    readers: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The same for people."""
        held = ", ".join(f"{name} in {count}" for name, count in self.tiles_per_class.items())
        readers = f" by {', '.join(self.readers)}" if self.readers else ""
        return f"{self.labels} tile labels on {len(self.slides)} slides of {len(self.cases)} cases{readers}: {held}."

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}


def card_of(project: ProjectCore, labels: Sequence[TileLabel]) -> Card:
    """Fill a card in from a project and the labels that train."""
    counts = [sum(label.present[i] for label in labels) for i in range(len(project.schema))]
    slides = tuple(dict.fromkeys(label.tile.slide_id for label in labels))
    return Card(
        project=project.name,
        labels=len(labels),
        tiles_per_class=dict(zip(project.schema.names, counts, strict=True)),
        slides=slides,
        cases=tuple(dict.fromkeys(project.entry(slide_id).case for slide_id in slides)),
        readers=tuple(sorted({label.reader for label in labels if label.reader})),
    )
