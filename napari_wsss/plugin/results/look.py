"""Names and colours that a user gave the classes of a result: kept in a small file beside the store.

Not inside the store, whose bytes its receipt vouches for.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tiling.classes import ClassSchema
from tiling.errors import DataError, ExportError, disk_errors_as
from tiling.files import read_json, write_json_atomic

__all__ = ["load_look", "look_path", "save_look", "with_class"]


def look_path(store: Path) -> Path:
    """Return the file beside a store that holds its look."""
    return store.with_name(f"{store.name.removesuffix('.zarr')}.look.json")


def load_look(store: Path, schema: ClassSchema) -> ClassSchema:
    """Return a store's classes as the user named and coloured them; unchanged when there is no (fitting) look.

    Parameters
    ----------
    store : Path
    schema : ClassSchema
        The store's own.
    """
    try:
        look = ClassSchema.from_dict(read_json(look_path(store)))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, DataError, AttributeError, TypeError):
        return schema  # none, or not ours: the store's own names are always right
    same = [c.abbreviation for c in look.classes] == [c.abbreviation for c in schema.classes]
    return look if same else schema


def save_look(store: Path, schema: ClassSchema) -> None:
    """Keep names and colours for a store.

    Raises
    ------
    ExportError
        When the file cannot be written.
    """
    what = f"{look_path(store)} cannot be written"
    with disk_errors_as(ExportError, what, "the names last until napari closes"):
        write_json_atomic(look_path(store), schema.to_dict())


def with_class(
    schema: ClassSchema, index: int, *, name: str | None = None, color: str | None = None
) -> ClassSchema:
    """Return a schema with another name or colour for one class.

    Raises
    ------
    DataError
        When the name is empty or taken, or the colour is none.
    """
    classes = list(schema.classes)
    classes[index] = replace(
        classes[index],
        name=classes[index].name if name is None else name.strip(),
        color=color or classes[index].color,
    )
    return replace(schema, classes=tuple(classes))
