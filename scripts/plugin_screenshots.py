"""Take the pictures of docs/plugin.md from a real run. Needs a display (xvfb-run).

xvfb-run -s "-screen 0 1600x1200x24" python scripts/plugin_screenshots.py SLIDE --bundle BUNDLE --out docs/img
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def spin(seconds: float, until: Callable[[], bool] | None = None) -> None:
    """Let the event loop turn."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end and not (until and until()):
        QApplication.processEvents()
        time.sleep(0.002)


def main() -> None:
    """Play through the walk-through and save a picture at every step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slide", type=Path)
    parser.add_argument("--bundle", default="")
    parser.add_argument("--out", type=Path, default=Path("docs/img"))
    parser.add_argument("--tile", type=float, nargs=2, metavar=("X", "Y"), help="level-0 place to explain")
    arguments = parser.parse_args()
    import napari
    from PIL import Image

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 940)
    viewer.canvas.overlays.scale_bar.visible = True
    results = Path(tempfile.mkdtemp())

    def picture(name: str) -> None:
        spin(0.5)
        pixels: Any = viewer.screenshot(canvas_only=False, flash=False)
        image = Image.fromarray(pixels[..., :3])
        image.save(arguments.out / f"plugin-{name}.jpg", quality=88, optimize=True)

    dock_frame, dock = viewer.window.add_plugin_dock_widget("napari-wsss", "Segment slide")
    session = dock.session
    session.choose_bundle(arguments.bundle)
    session.set_preferences(folder=str(results), keep_cams=True, batch_size=4)
    session.open_slide(arguments.slide)
    spin(20, lambda: "about" in dock.run.cost.text())
    picture("slide")
    session.run()
    spin(120, lambda: session.state.tiles_done > 0.45 * max(1, session.state.tiles))
    picture("growing")
    spin(600, lambda: not session.state.is_active)
    picture("result")

    dock_frame.hide()
    explain_frame, explain = viewer.window.add_plugin_dock_widget("napari-wsss", "Explain tile")
    box = session.slide.metadata["wsss"]["bounds"]
    x, y = arguments.tile or (box.x + box.width / 2, box.y + box.height / 2)
    explain.explainer.explain_at(x, y)
    spin(30, lambda: explain.explainer.explanation is not None)
    explain_frame.resize(520, explain_frame.height())
    picture("explain")
    explain_frame.hide()
    _, review = viewer.window.add_plugin_dock_widget("napari-wsss", "Review tiles")
    review.order.setCurrentIndex(1)
    spin(1)
    review.table.selectRow(0)
    picture("review")
    viewer.close()
    shutil.rmtree(results)


if __name__ == "__main__":
    main()
