"""MkDocs hook: the notebooks are run while the pages are built, so what they show is what the program does today.

A notebook that fails fails the build. Its page is Markdown; the notebook itself lies beside it, with what it showed.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient

_LOG = logging.getLogger("mkdocs.hooks.notebooks")
_LONGEST = 300
"""Seconds that a cell may take; on a quiet machine a whole notebook takes about ten."""
_PICTURES = ("image/png", "image/svg+xml")


def on_files(files: Files, config: Any) -> Files:
    """Put a page, and the notebook with its outputs, in the place of every notebook."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        _LOG.info("Running %s", file.src_uri)
        notebook = _run(Path(str(file.abs_src_path)))
        name = Path(file.src_uri).name
        page = f"{_markdown(notebook)}\n\n[Download this notebook]({name}){{ download }}\n"
        files.remove(file)
        files.append(File.generated(config, file.src_uri, content=nbformat.writes(notebook)))
        files.append(File.generated(config, file.src_uri.replace(".ipynb", ".md"), content=page))
    return files


def _run(path: Path) -> Any:
    """Return a notebook with its outputs; what it writes goes to a folder of its own."""
    notebook: Any = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=_LONGEST,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=ERROR"],
        ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    return notebook


def _markdown(notebook: Any) -> str:
    """Return a notebook as a page."""
    parts: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            parts += filter(None, map(_shown, cell.outputs))
    return "\n\n".join(parts)


def _shown(output: Any) -> str:
    """Return one output: a picture, HTML as it is, or text."""
    if output.output_type == "stream":
        return _text(output.text) if output.name == "stdout" else ""
    data = output.get("data", {})
    for kind in _PICTURES:
        if kind in data:
            return f'<div class="output" markdown="0"><img alt="" src="data:{kind};base64,{data[kind].strip()}"></div>'
    if "text/html" in data:
        # Markdown would take empty lines and indents for its own.
        html = " ".join(line.strip() for line in _lines(data["text/html"]))
        return f'<div class="output" markdown="0">{html}</div>'
    return _text(data.get("text/plain", ""))


def _lines(html: str) -> Iterator[str]:
    """Yield the lines of HTML without styles: pages have their own."""
    yield from re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL).splitlines(keepends=False)


def _text(text: str) -> str:
    return f"```text\n{text.strip()}\n```" if text.strip() else ""
