"""Names that people gave to annotations, and the classes of a schema."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tiling.annotations.model import Annotation, AnnotationFile
from tiling.classes import ClassSchema
from tiling.errors import AnnotationError

__all__ = ["Matched", "match_classes", "parse_match"]


@dataclass(frozen=True)
class Matched:
    """Annotations with the class that each means.

    Attributes
    ----------
    areas : tuple of (int, Annotation)
        Store label (class index + 1) and annotation.
    unmatched : tuple of (str, int)
        Names that mean no class, and how many annotations have them, most first.
    """

    areas: tuple[tuple[int, Annotation], ...]
    unmatched: tuple[tuple[str, int], ...]

    def unmatched_sentence(self) -> str:
        """Return the unmatched names with their counts, for people; empty when there are none."""
        return ", ".join(f"{name or 'no class'} ({count})" for name, count in self.unmatched)


def parse_match(text: str) -> dict[str, str]:
    """Read ``Tumor: Positive=tumour,Stroma=stroma``.

    A name with a comma stands in double quotes; nothing after the ``=`` leaves annotations of that name out.

    Raises
    ------
    AnnotationError
        When a part has no ``=``, or a name is given twice.
    """
    found: dict[str, str] = {}
    for part in next(csv.reader([text], skipinitialspace=True), []):
        name, equals, meaning = part.rpartition("=")
        key = _key(name)
        if not equals or not key:
            raise AnnotationError(f"--match {part!r} is not NAME=CLASS; write 'Tumor: Positive=tumour'.")
        if key in found:
            raise AnnotationError(f"--match names {name.strip()!r} twice; give it one class.")
        found[key] = meaning.strip()
    return found


def match_classes(
    file: AnnotationFile, schema: ClassSchema, match: Mapping[str, str] | None = None
) -> Matched:
    """Find the class that each annotation means.

    Names are compared without regard to capitals and outer spaces, with the classes' names and abbreviations and with
    what ``match`` says; it goes first. QuPath's classes with a star (``Region*``, ``Ignore*``) mean no class.

    Raises
    ------
    AnnotationError
        When ``match`` names a class that the schema does not have.
    """
    known = {_key(name): i for i, c in enumerate(schema.classes, 1) for name in (c.name, c.abbreviation)}
    meanings: dict[str, int | None] = dict(known)
    for name, meaning in (match or {}).items():
        if meaning and _key(meaning) not in known:
            raise AnnotationError(
                f"--match means {meaning!r}, which schema {schema.name!r} does not have; "
                f"its classes are {', '.join(schema.names)}."
            )
        meanings[_key(name)] = known[_key(meaning)] if meaning else None
    areas: list[tuple[int, Annotation]] = []
    unmatched: Counter[str] = Counter()
    for annotation in file.annotations:
        key = _key(annotation.class_name)
        label = meanings.get(key, 0)
        if label:
            areas.append((label, annotation))
        elif label == 0 and not key.endswith("*"):
            unmatched[annotation.class_name] += 1
    return Matched(tuple(areas), tuple(unmatched.most_common()))


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()
