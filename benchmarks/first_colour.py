"""From Run to the first colour in napari, and the time estimated over the time taken.

Opens a slide in a window, chooses a model, waits for the estimate, and runs the whole slide again and again into
fresh folders, as a user does who has looked at the panel. The first colour is there when the canvas has been drawn with
it. The first run is timed against the estimate of the trial, later ones against what the run before has taught.
Seconds of the processor, of all threads, say what other programs do not change: with two cores to itself a run has its
first colour after half of them at best::

    xvfb-run -s "-screen 0 1600x1200x24" python benchmarks/first_colour.py SLIDE --bundle crc-demo --runs 5
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from window import spin


class Drawn:
    """Notes when the canvas was drawn with a class in it, and the longest time the window was away."""

    def __init__(self, viewer: Any, session: Any) -> None:
        self.session = session
        self.first = 0.0
        self.processor = 0.0
        self.worst = 0.0
        self.last = 0.0
        viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(self.look, position="last")

    def look(self, _event: object = None) -> None:
        """Note the time of the first colour."""
        result = self.session.result
        live = None if result is None else self.session._shown.get(result.store)
        layer = None if live is None else live.shown_layer
        # What is on the canvas is the slice that napari holds, not what the store has by now.
        if not self.first and layer is not None and layer._slice.image.raw.any():
            self.first, self.processor = time.perf_counter(), time.process_time()

    def turn(self) -> None:
        """Note a turn of the event loop."""
        now = time.perf_counter()
        self.worst, self.last = max(self.worst, now - self.last), now

    def begin(self) -> None:
        """Begin anew."""
        self.first, self.worst, self.last = 0.0, 0.0, time.perf_counter()


def main() -> None:
    """Print one line per run, and the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slide", type=Path)
    parser.add_argument("--bundle", default="crc-demo")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="first-colour-"))

    import napari
    from qtpy.QtCore import QTimer

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1280, 800)
    _, dock = viewer.window.add_plugin_dock_widget("napari-wsss", "Segment slide")
    session = dock.session
    viewer.open(str(arguments.slide), plugin="napari-wsss")
    session.choose_bundle(arguments.bundle)
    drawn = Drawn(viewer, session)
    beat = QTimer()
    beat.timeout.connect(drawn.turn)
    beat.start(5)
    colours, ratios = [], []
    for run in range(arguments.runs):
        session.set_preferences(folder=str(work / str(run)))
        assert spin(
            300, lambda: dock.estimate.estimate is not None and dock.estimate.estimate.seconds is not None
        )
        wanted = dock.estimate.estimate.seconds
        spin(0.5)
        drawn.begin()
        started, used = time.perf_counter(), time.process_time()
        session.run(restart=True)  # else the result of the run before is found and shown again
        assert spin(300, lambda: session.active is None)
        took = time.perf_counter() - started
        assert session.state.phase == "done", session.state
        colours.append(drawn.first - started)
        ratios.append(wanted / took)
        print(
            f"run {run + 1}: first colour {colours[-1]:.2f} s ({drawn.processor - used:.2f} s of the processor), "
            f"estimated {wanted:.1f} s, took {took:.1f} s "
            f"(ratio {ratios[-1]:.2f}), longest freeze {1000 * drawn.worst:.0f} ms, "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    print(f"medians: first colour {statistics.median(colours):.2f} s, ratio {statistics.median(ratios):.2f}")
    viewer.close()
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
