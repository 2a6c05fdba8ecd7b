"""Look at a report: the list, a slide and the zoomable page in light, dark, on a phone and printed.

    wsss-tile run slides/ --out night --export geojson && wsss-tile report night --zoom
    python scripts/report_pictures.py night case-08 pictures

Needs chromium; what it writes are PNGs and PDFs to look at. Those of the documentation are some of them as JPEG.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def shot(page: Path, out: Path, width: int, height: int, *, dark: bool = False) -> None:
    """Take a picture of a page, as large as the window; ``.pdf`` prints it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("needs chromium")
    with tempfile.TemporaryDirectory() as profile:
        kind = "--print-to-pdf" if out.suffix == ".pdf" else "--screenshot"
        command = [
            chromium,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-pdf-header-footer",
            "--allow-file-access-from-files",
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--virtual-time-budget=8000",
            f"{kind}={out}",
            page.resolve().as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    """Take all of them."""
    night, name, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).absolute()
    out.mkdir(parents=True, exist_ok=True)
    pages = {
        "list": night / "index.html",
        "slide": night / "report" / f"{name}.html",
        "zoom": night / "report" / f"{name}.zoom.html",
    }
    for kind, page in pages.items():
        shot(page, out / f"{kind}-light.png", 1280, 900)
        shot(page, out / f"{kind}-dark.png", 1280, 900, dark=True)
        shot(page, out / f"{kind}-phone.png", 500, 1000)
        if kind != "zoom":
            shot(page, out / f"{kind}-print.pdf", 1280, 900)


if __name__ == "__main__":
    main()
