"""MkDocs hook: the foot of every page says of which version it is, and nothing is loaded from elsewhere."""

from __future__ import annotations

import posixpath
from typing import Any

from napari_wsss import __version__

_SHIM = "https://unpkg.com/iframe-worker/shim"
"""What the plugin `offline` would load, for search in pages read from disk."""
_OURS = "assets/iframe-worker.js"


def on_config(config: Any) -> Any:
    """Put the version before the notice."""
    config.copyright = f"napari-wsss {__version__} · {config.copyright}"
    return config


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Name our copy in the place of the one on the network."""
    return output.replace(_SHIM, posixpath.relpath(_OURS, posixpath.dirname(page.file.dest_uri) or "."))


def on_post_template(output_content: str, **_: Any) -> str:
    """Do the same for pages that are templates."""
    return output_content.replace(_SHIM, f"/{_OURS}")
