"""A project that is being thought up: its classes, until they are a schema. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiling.classes import ClassSchema, TissueClass
from tiling.errors import DataError

__all__ = ["PALETTE", "DraftClass", "draft_of", "edited", "first_draft", "schema_of"]

PALETTE = (
    "#d55e00",
    "#0072b2",
    "#f0e442",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#6a3d9a",
    "#7f7f7f",
)
"""Nine colours that people with any kind of colour vision tell apart (Okabe and Ito, and two more)."""

MOST = len(PALETTE)
"""Classes in all: one per key from 1 to 9."""


@dataclass(frozen=True)
class DraftClass:
    """A class as it stands in the dialog."""

    name: str
    color: str


def first_draft() -> list[DraftClass]:
    """Return the classes that most people begin with."""
    return [DraftClass("Tumour", PALETTE[0]), DraftClass("Stroma", PALETTE[1])]


def draft_of(schema: ClassSchema) -> list[DraftClass]:
    """Return the classes of a schema."""
    return [DraftClass(c.name, c.color) for c in schema.classes]


def schema_of(name: str, classes: Sequence[DraftClass], like: ClassSchema | None = None) -> ClassSchema:
    """Return the schema of a draft.

    Parameters
    ----------
    name : str
    classes : sequence of DraftClass
        Lines without a name are left out.
    like : ClassSchema, optional
        Where classes were taken from: their abbreviations are kept.

    Raises
    ------
    DataError
        One sentence: no class, too many, or two of one name.
    """
    known = {c.name: c.abbreviation for c in like.classes} if like is not None else {}
    kept = [DraftClass(" ".join(c.name.split()), c.color) for c in classes if c.name.strip()]
    if len(kept) < 2:
        raise DataError("A project needs at least two classes, so that there is something to tell apart.")
    if len(kept) > MOST:
        raise DataError(f"A project can have {MOST} classes, one per key; these are {len(kept)}.")
    names = [c.name.casefold() for c in kept]
    for c in kept:
        if names.count(c.name.casefold()) > 1:
            raise DataError(f"Two classes are called “{c.name}”; give each its own name.")
    return _schema(name or "project", kept, [known.get(c.name, "") for c in kept])


def edited(schema: ClassSchema, classes: Sequence[DraftClass]) -> ClassSchema:
    """Return a project's schema with its classes renamed and recoloured in their places, more or fewer at the end.

    Raises
    ------
    DataError
        As :func:`schema_of`, and for a class without a name: those that follow would take its labels.
    """
    for number, draft in enumerate(classes, start=1):
        if not draft.name.strip():
            raise DataError(f"Class {number} has no name; give it one, or remove it.")
    checked = schema_of(schema.name, classes).classes
    before = [c.abbreviation for c in schema.classes] + [""] * len(checked)
    return _schema(schema.name, [DraftClass(c.name, c.color) for c in checked], before)


def _schema(name: str, classes: Sequence[DraftClass], wanted: Sequence[str]) -> ClassSchema:
    """Return a schema; a wanted abbreviation is kept unless another class is called or abbreviated so."""
    made: list[TissueClass] = []
    for number, draft in enumerate(classes):
        taken = {c.name.upper() for i, c in enumerate(classes) if i != number}
        taken |= {c.abbreviation.upper() for c in made} | {w.upper() for w in wanted[number + 1 :]}
        short = wanted[number]
        if not short or short.upper() in taken:
            short = _abbreviation(draft.name, taken)
        made.append(TissueClass(draft.name, short, draft.color))
    return ClassSchema(name, tuple(made))


def _abbreviation(name: str, taken: set[str]) -> str:
    """Return three letters of a name that no other class has: its first letters, or those of its words."""
    letters = "".join(ch for ch in name.upper() if ch.isalnum()) or "X"
    words = "".join(word[0] for word in name.upper().split() if word[0].isalnum())
    candidates = [letters[:3], words[:3], *(letters[0] + letters[i : i + 2] for i in range(2, len(letters)))]
    for candidate in candidates:
        if candidate and candidate not in taken:
            return candidate
    return next(f"{letters[:3]}{n}" for n in range(2, 99) if f"{letters[:3]}{n}" not in taken)
