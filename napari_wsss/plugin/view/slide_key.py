"""Which slide something belongs to: facts by which a slide, its layers and its results find each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["METADATA_KEY", "SlideKey", "kind_of", "layers_of_kind", "slide_of"]

METADATA_KEY = "wsss"
"""Key in ``layer.metadata`` under which the plugin keeps what it knows about a layer."""


@dataclass(frozen=True)
class SlideKey:
    """A slide, known again by its content whatever the name of its file and the time of its last copy.

    Attributes
    ----------
    name : str
        File name, for people; two keys of one slide may differ in it.
    width, height : int
        Level-0 pixels.
    quick_hash : str
        Hash over the ends of its files.
    """

    name: str = field(compare=False)
    width: int
    height: int
    quick_hash: str

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> SlideKey:
        """Take the key out of ``Slide.identity``, as stores keep it in ``run["slide"]``.

        Facts that are missing (stores written from drawn labels have none) make a key that no slide has.
        """
        width, height = identity.get("dimensions") or (0, 0)
        return cls(
            str(identity.get("name", "")), int(width), int(height), str(identity.get("quick_hash", ""))
        )


def slide_of(layer: Any) -> SlideKey | None:
    """Return the slide that a layer shows or lies on; None for layers that are not of this plugin."""
    known: SlideKey | None = layer.metadata.get(METADATA_KEY, {}).get("slide")
    return known


def kind_of(layer: Any) -> str | None:
    """Return what a layer is to this plugin (``slide``, ``store``, ``marker`` …); None for layers of others."""
    known: str | None = layer.metadata.get(METADATA_KEY, {}).get("kind")
    return known


def layers_of_kind(viewer: Any, kind: str) -> list[Any]:
    """Return the layers of a kind, the last on top."""
    return [layer for layer in viewer.layers if kind_of(layer) == kind]
