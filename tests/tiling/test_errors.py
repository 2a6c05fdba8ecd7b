"""The tree of errors: drawn as it is, complete, and every kind with a code of its own that programs can rely on."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiling import errors
from tiling.errors import WsssError

ROOT = Path(__file__).resolve().parents[2]


def _below(kind: type[WsssError]) -> Iterator[type[WsssError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _below(child)


KINDS = [kind for kind in _below(WsssError) if kind.__module__ == "tiling.errors"]


def test_every_kind_has_a_code_of_its_own() -> None:
    codes = [kind.__dict__.get("code") for kind in KINDS]
    assert all(isinstance(code, str) and re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    assert len(set(codes)) == len(codes)


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"^    ([│├└─ ]*)(\w+) +([a-z-]+)", errors.__doc__ or "", re.MULTILINE)
    tree = [(len(indent) // 4, name, code) for indent, name, code in drawn]
    parents: list[str] = []
    found = set()
    for depth, name, code in tree:
        parents[depth:] = [name]
        found.add((parents[depth - 1] if depth else "Exception", name, code))
    assert found == {(kind.__mro__[1].__name__, kind.__name__, kind.code) for kind in KINDS}


def test_all_errors_of_ours_are_in_the_tree() -> None:
    names = {kind.__name__ for kind in KINDS}
    for package in ("tiling", "napari_wsss", "training"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and path != ROOT / "tiling" / "errors.py":
                    bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                    assert not bases & names, f"{path}: {node.name} belongs into tiling/errors.py"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_travel_between_processes(kind: type[WsssError]) -> None:
    error = pickle.loads(pickle.dumps(kind("a.svs is not there; check the path.")))
    assert (type(error), str(error), error.code) == (kind, "a.svs is not there; check the path.", kind.code)


def test_a_slide_that_fails_is_one_line_whatever_the_library_wrote() -> None:
    """libtiff breaks the line after `Improper JPEG sampling factors 2,2`."""
    error = errors.ResolutionError("a.svs cannot be read: factors 2,2\nApparently should be 1,1.; copy it.")
    assert str(error) == "a.svs cannot be read: factors 2,2 Apparently should be 1,1.; copy it."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
