"""The command line `wsss-tile`; heavy parts are loaded by the command that needs them."""

from __future__ import annotations

from napari_wsss.cli.app import app, main

__all__ = ["app", "main"]
