"""The documentation tells the truth where a machine can check it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def _text(node: ast.AST) -> str:
    """Return a string expression with … in place of what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) if isinstance(value, ast.Constant) else "…" for value in node.values)
    return "…"


def _messages() -> str:
    """Return every string of the sources (and the scripts), one a line."""
    found = []
    for package in ("tiling", "napari_wsss", "training"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [_text(n) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr | ast.Constant)]
    found += [(ROOT / "scripts" / "make_venv.sh").read_text(encoding="utf-8").replace("$python", "…")]
    return "\n".join(found)


HEADINGS = re.findall(
    r"^### `(.+)`$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.fixture(scope="module")
def messages() -> str:
    return _messages()


@pytest.mark.parametrize("quoted", HEADINGS)
def test_every_message_in_the_docs_is_one_of_the_programs(quoted: str, messages: str) -> None:
    assert quoted in messages
