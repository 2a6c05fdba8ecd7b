"""XML from anybody: elements without document types, entities or network, and never deeper than annotations are."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from tiling.errors import AnnotationError

__all__ = ["number", "parse_xml"]

_DEEPEST = 100


def number(text: str | None) -> float:
    """Return a number, NaN where there is none; programs in some countries write a decimal comma."""
    try:
        return float((text or "nan").replace(",", "."))
    except ValueError:
        return float("nan")


def parse_xml(content: bytes, root: str, program: str) -> ElementTree.Element:
    """Return the root element.

    Parameters
    ----------
    content : bytes
    root, program : str
        Its name, and who writes it.

    Raises
    ------
    AnnotationError
        When this is no XML, has another root, or declares a document type (which entities need: bombs, other files).
    """
    builder = ElementTree.TreeBuilder()
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise AnnotationError("its elements are nested too deeply")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_: Any) -> None:
        raise AnnotationError("it declares a document type, which no annotation program does")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
        found = builder.close()
    except (expat.ExpatError, AssertionError, ValueError, LookupError) as error:
        raise AnnotationError(f"it is not well-formed XML ({error})") from error
    if found.tag != root:
        raise AnnotationError(f"its root is <{found.tag}>, and {program} writes <{root}>")
    return found
