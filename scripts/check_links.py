"""Check the built pages without a network: every link and anchor leads somewhere, every page is reached once.

python scripts/check_links.py site
"""

from __future__ import annotations

import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("img", "src"), ("script", "src"), ("link", "href"), ("source", "src")}
QUIET_LINKS = {"canonical", "prev", "next", "alternate"}


class Page(HTMLParser):
    """What one page links to, loads and can be linked at; and the links of its navigation."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.navigation: list[str] = []
        self._inside = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag says."""
        said = {name: value or "" for name, value in attrs}
        self.anchors |= {said[name] for name in ("id", "name") if said.get(name)}
        if tag == "nav":
            self._inside += bool(self._inside) or "md-nav--primary" in said.get("class", "").split()
        for name in ("href", "src"):
            if name in said and (tag, name) in LOADED and said.get("rel") not in QUIET_LINKS:
                self.loads.append(said[name])
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
            if self._inside and "md-nav__link" in said.get("class", "").split():
                self.navigation.append(said["href"])

    def handle_endtag(self, tag: str) -> None:
        """Leave the navigation."""
        if tag == "nav" and self._inside:
            self._inside -= 1


def problems(site: Path) -> list[str]:
    """Return one line for everything that leads nowhere, twice, or out of the site without being asked."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        found += [
            f"{name}: loads {link[:80]} from a network"
            for link in page.loads
            if urlsplit(link).scheme not in ("", "data") or link.startswith("//")
        ]
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//") or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                found.append(f"{name}: {link} leads nowhere")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: {link} has no such place")
    start = pages.get((site / "index.html").resolve())
    if start is None:
        return [f"{site} holds no index.html; build the pages first"]
    reached = Counter(
        (start.path.parent / unquote(urlsplit(link).path)).resolve()
        for link in start.navigation
        if urlsplit(link).path
    )
    found += [f"the navigation lists {path.name} {n} times" for path, n in reached.items() if n > 1]
    linked = {
        (path.parent / unquote(urlsplit(link).path)).resolve()
        for path, page in pages.items()
        for link in page.links
        if urlsplit(link).path and not urlsplit(link).scheme
    }
    unseen = set(pages) - linked - {(site / "404.html").resolve(), start.path.resolve()}
    return found + [f"no link leads to {path.name}" for path in sorted(unseen)]


def main() -> int:
    """Print what is wrong; 1 if anything is."""
    found = problems(Path(sys.argv[1] if len(sys.argv) > 1 else "site"))
    sys.stdout.write("".join(f"{line}\n" for line in found) or "every link leads somewhere\n")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
