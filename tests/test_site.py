"""The pages as a site: each once in the navigation, notebooks without stored outputs, links that lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import napari_wsss

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def _pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _pages(entry)


def test_the_navigation_lists_every_page_once() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = list(_pages(nav))
    assert len(listed) == len(set(listed))
    written = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    written += [path.relative_to(DOCS).with_suffix(".md").as_posix() for path in DOCS.rglob("*.ipynb")]
    assert set(listed) == {page for page in written if not page.startswith("decisions/0")}
    titles = [title for entry in nav for title in entry]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_hold_no_outputs(path: Path) -> None:
    """They are run while the pages are built (docs/hooks/notebooks.py): what they show is of today."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


def test_the_reference_names_all_that_the_package_shows() -> None:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    named = {name.rpartition(".")[2] for name in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)}
    assert set(napari_wsss.__all__) - {"__version__"} <= named
    assert {"Project", "Store", "Slide", "ResNet38", "DeepLabV3Plus"} <= named


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_pages_of_the_repository_link_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing


# --- the link check ---

PAGE = """<html><body><nav class="md-nav md-nav--primary"><ul>
<li><a class="md-nav__link" href="index.html">Start</a></li><li><a class="md-nav__link" href="b.html">B</a></li>
{nav}</ul></nav><h1 id="top">A</h1>{body}</body></html>"""


@pytest.fixture(scope="module")
def check() -> Any:
    spec = importlib.util.spec_from_file_location("check_links", ROOT / "scripts" / "check_links.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("body", "nav", "told"),
    [
        (
            '<a href="b.html#there">b</a><a href="https://example.org/x">far</a><img src="p%20q.png">',
            "",
            None,
        ),
        ('<a href="c.html">c</a>', "", "c.html leads nowhere"),
        ('<a href="b.html#gone">b</a>', "", "b.html#gone has no such place"),
        ('<a href="#gone">here</a>', "", "#gone has no such place"),
        ('<img src="gone.png">', "", "gone.png leads nowhere"),
        ('<script src="https://example.org/a.js"></script>', "", "from a network"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "", "from a network"),
        ("", '<li><a class="md-nav__link" href="b.html">B again</a></li>', "lists b.html 2 times"),
    ],
)
def test_the_link_check(check: Any, tmp_path: Path, body: str, nav: str, told: str | None) -> None:
    (tmp_path / "index.html").write_text(PAGE.format(nav=nav, body=body), encoding="utf-8")
    (tmp_path / "b.html").write_text('<html><body><h2 id="there">There</h2></body></html>', encoding="utf-8")
    (tmp_path / "p q.png").touch()
    found = check.problems(tmp_path)
    assert len(found) == (told is not None), found
    assert told is None or told in found[0]


def test_a_page_that_no_link_leads_to_is_told(check: Any, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(PAGE.format(nav="", body=""), encoding="utf-8")
    for name in ("b.html", "lost.html"):
        (tmp_path / name).write_text("<html></html>", encoding="utf-8")
    assert check.problems(tmp_path) == ["no link leads to lost.html"]
