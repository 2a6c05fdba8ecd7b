"""The documentation tells the truth where a machine can check it."""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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


# --- commands ---


class Command(NamedTuple):
    """One command line of a page, continuation lines joined and comments cut off."""

    page: str
    text: str


def _commands() -> Iterator[Command]:
    for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if text := re.sub(r"(^|\s+)#.*", "", line).strip():
                    yield Command(path.name, text)


COMMANDS = list(_commands())
WSSS_TILE = [c for c in COMMANDS if c.text.startswith("wsss-tile ")]
MODULES = [c for c in COMMANDS if c.text.startswith("python -m ")]
# Needs the tens of megabytes that the authors of the method publish, or is a matter of the machine.
MODELS_OF_READERS = ("runs/stage2/bundle", "models/bcss")
NOT_RUN = (
    "wsss-tile models import",
    "wsss-tile models show models/",
    "wsss-tile demo",
    "wsss-tile patches",
    "wsss-tile project train",  # ten minutes, and a few dozen labels
)


WSSS = str(Path(sys.executable).parent / "wsss-tile")


@functools.cache
def _known_options(command: tuple[str, ...]) -> set[str]:
    """Return the option names that the help of a command shows."""
    wide = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        [*command, "--help"], capture_output=True, text=True, check=True, cwd=ROOT, env=wide
    )
    return set(re.findall(r"--[a-z][a-z0-9-]*", done.stdout))


def test_the_pages_show_commands() -> None:
    """Guards the patterns above: an empty list would let every other test pass."""
    assert len(WSSS_TILE) > 8
    assert len(MODULES) > 3


@pytest.mark.parametrize("command", MODULES, ids=lambda c: f"{c.page}: {c.text[:40]}")
def test_python_commands_name_modules_and_options_that_exist(command: Command) -> None:
    words = shlex.split(command.text)
    module = (sys.executable, "-m", words[2], *words[3 : 4 if words[2] == "tiling.synthetic" else 3])
    given = {word for word in words if word.startswith("--")}
    assert given <= _known_options(module)


@pytest.mark.parametrize("command", WSSS_TILE, ids=lambda c: f"{c.page}: {c.text[:40]}")
def test_wsss_tile_knows_the_commands_and_options_of_the_pages(command: Command) -> None:
    words = shlex.split(command.text)
    depth = 3 if words[1] in ("models", "project") else 2
    given = {word for word in words if word.startswith("--")}
    assert given <= _known_options((WSSS, *words[1:depth]))


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small slide under the name that the pages use; its content decides how it is read, not its suffix."""
    folder = tmp_path_factory.mktemp("slide")
    make = [
        sys.executable,
        "-m",
        "tiling.synthetic",
        "slide",
        "slide.tif",
        "--width",
        "700",
        "--height",
        "500",
    ]
    subprocess.run(make, cwd=folder, check=True, capture_output=True)
    return (folder / "slide.tif").rename(folder / "slide.svs")


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({c.page for c in WSSS_TILE}))
def test_the_commands_of_a_page_run(page: str, slide: Path, tmp_path: Path) -> None:
    """In the order of the page, as a reader would."""
    (tmp_path / slide.name).symlink_to(slide)
    for command in WSSS_TILE:
        if command.page != page or command.text.startswith(NOT_RUN):
            continue
        words = ["synthetic-demo" if w in MODELS_OF_READERS else w for w in shlex.split(command.text)]
        done = subprocess.run([WSSS, *words[1:]], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{command.text}\n{done.stderr}"


def test_the_plan_of_the_house_is_that_of_the_code() -> None:
    """`python scripts/draw_rooms.py` draws it anew; every room stands in the picture."""
    spec = importlib.util.spec_from_file_location("draw_rooms", ROOT / "scripts" / "draw_rooms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "img" / "rooms.svg").read_text(encoding="utf-8") == module.draw()


def test_what_the_architecture_points_to_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("## Where is") : text.index("## The way of a tile")]
    named = re.findall(r"`((?:tiling|napari_wsss|training)/[\w/.]+)`", table)
    assert len(named) > 15
    assert not [path for path in named if not (ROOT / path).exists()]
