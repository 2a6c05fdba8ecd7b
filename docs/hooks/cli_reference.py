"""MkDocs hook: the programs write the reference of their commands themselves, so it cannot lag behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

MARKER = "<!-- the reference of wsss-tile goes here -->"
_HELP = re.compile(r"<!-- help: ([\w.]+) -->")


def _reference() -> str:
    """Return the help of every command as Markdown, headings from level 2 on."""
    command = [sys.executable, "-m", "typer", "napari_wsss.cli", "utils", "docs", "--name", "wsss-tile"]
    plain = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
    text = subprocess.run(command, check=True, capture_output=True, text=True, env=plain).stdout
    text = re.sub(r"^# .*\n", "", text, count=1)  # the page has its own title
    # Lists of commands are cut short there, and every command follows anyway.
    return re.sub(r"^\*\*Commands\*\*:\n\n(\* .*\n)+", "", text, flags=re.MULTILINE)


def _help(match: re.Match[str]) -> str:
    """Return the help of a Python module as a folded block."""
    command = [sys.executable, "-m", match[1], "--help"]
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}
    text = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    lines = "\n".join(f"    {line}".rstrip() for line in text.splitlines())
    return f'??? note "python -m {match[1]}"\n\n    ```text\n{lines}\n    ```\n'


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the references where a page asks for them."""
    if MARKER in markdown:
        markdown = markdown.replace(MARKER, _reference())
    return _HELP.sub(_help, markdown)
