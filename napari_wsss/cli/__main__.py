"""`python -m napari_wsss.cli`: the command line where the script is not on the path."""

from __future__ import annotations

from napari_wsss.cli.app import main

if __name__ == "__main__":  # worker processes import this module again under another name
    main()
