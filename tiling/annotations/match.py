"""Names that people gave to annotations, and the classes of a schema."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tiling.annotations.model import Annotation, AnnotationFile
from tiling.classes import ClassSchema
from tiling.errors import AnnotationError

__all__ = ["Matched", "match_classes", "named_by_schema", "parse_match"]


@dataclass(frozen=True)
class Matched:
    """Annotations with the class that each means.

    Attributes
    ----------
    areas : tuple of (int, Annotation)
        Store label (class index + 1) and annotation.
    others : tuple of Annotation
        Those that mean no class, without those that were left out on purpose.
    """

    areas: tuple[tuple[int, Annotation], ...]
    others: tuple[Annotation, ...] = ()

    @property
    def unmatched(self) -> tuple[tuple[str, int], ...]:
        """Names that mean no class, and how many annotations have them, most first; QuPath's starred are none."""
        names = Counter(each.class_name for each in self.others if not each.class_name.endswith("*"))
        return tuple(names.most_common())

    def unmatched_sentence(self) -> str:
        """Return the unmatched names with their counts, for people; empty when there are none."""
        return _in_words(self.unmatched)


def parse_match(text: str, schema: ClassSchema | None = None) -> dict[str, str]:
    """Read ``Tumor: Positive=tumour,Stroma=stroma``.

    A name with a comma stands in double quotes; nothing after the ``=`` leaves annotations of that name out.

    Raises
    ------
    AnnotationError
        When a part has no ``=``, a name is given twice, or a class is not one of the schema, if that is given.
    """
    found: dict[str, str] = {}
    try:
        parts = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise AnnotationError(f"--match cannot be read ({error}); write 'Tumor: Positive=tumour'.") from error
    for part in parts:
        name, equals, meaning = part.rpartition("=")
        key = _key(name)
        if not equals or not key:
            raise AnnotationError(f"--match {part!r} is not NAME=CLASS; write 'Tumor: Positive=tumour'.")
        if key in found:
            raise AnnotationError(f"--match names {name.strip()!r} twice; give it one class.")
        found[key] = meaning.strip()
    if schema is not None:
        _meanings(schema, found)
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
    meanings = _meanings(schema, match or {})
    areas: list[tuple[int, Annotation]] = []
    others: list[Annotation] = []
    for annotation in file.annotations:
        label = meanings.get(_key(annotation.class_name), 0)
        if label:
            areas.append((label, annotation))
        elif label == 0:
            others.append(annotation)
    return Matched(tuple(areas), tuple(others))


def named_by_schema(
    file: AnnotationFile, schema: ClassSchema, match: Mapping[str, str], *, keep_others: bool
) -> AnnotationFile:
    """Return a file whose annotations bear the names of the classes that they mean.

    Parameters
    ----------
    file : AnnotationFile
    schema : ClassSchema
    match : mapping of str to str
        See :func:`match_classes`.
    keep_others : bool
        Whether annotations that mean no class stay, under their own names. One sentence of ``left_out`` counts them
        either way.

    Raises
    ------
    AnnotationError
        When ``match`` names a class that the schema does not have.
    """
    matched = match_classes(file, schema, match)
    named = {each.key: schema.names[label - 1] for label, each in matched.areas}
    kept = {*named, *(each.key for each in matched.others if keep_others)}
    annotations = tuple(
        replace(each, class_name=named.get(each.key, each.class_name))
        for each in file.annotations
        if each.key in kept
    )
    notes = file.left_out
    if matched.others:
        counts = Counter(each.class_name for each in matched.others).most_common()
        words = "Kept under their own names" if keep_others else "Not taken"
        notes = (*notes, f"{words}, because they mean no class: {_in_words(counts)}.")
    return AnnotationFile(file.path, file.format, annotations, notes)


def _meanings(schema: ClassSchema, match: Mapping[str, str]) -> dict[str, int | None]:
    """Return the store label that each name means; None where it is to be left out."""
    known = {_key(name): i for i, c in enumerate(schema.classes, 1) for name in (c.name, c.abbreviation)}
    meanings: dict[str, int | None] = dict(known)
    for name, meaning in match.items():
        if meaning and _key(meaning) not in known:
            raise AnnotationError(
                f"--match means {meaning!r}, which schema {schema.name!r} does not have; "
                f"its classes are {', '.join(schema.names)}."
            )
        meanings[_key(name)] = known[_key(meaning)] if meaning else None
    return meanings


def _in_words(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name or 'no class'} ({count})" for name, count in counts)


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()
