"""MkDocs hook: the command-line reference is written by the program itself, so that it cannot lag behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

MARKER = "<!-- the reference of wsss-tile goes here -->"


def _reference() -> str:
    """Return the help of every command as Markdown, headings from level 2 on."""
    command = [sys.executable, "-m", "typer", "napari_wsss.cli", "utils", "docs", "--name", "wsss-tile"]
    plain = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
    text = subprocess.run(command, check=True, capture_output=True, text=True, env=plain).stdout
    text = re.sub(r"^# .*\n", "", text, count=1)  # the page has its own title
    return re.sub(r"^\* `--(install|show)-completion`.*\n", "", text, flags=re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the reference where a page asks for it."""
    return markdown.replace(MARKER, _reference()) if MARKER in markdown else markdown
