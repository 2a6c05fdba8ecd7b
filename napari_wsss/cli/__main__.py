"""`python -m napari_wsss.cli`: the command line where the script is not on the path."""

from __future__ import annotations

from napari_wsss.cli.app import main

main()
