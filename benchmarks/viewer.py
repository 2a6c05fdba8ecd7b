"""How the viewer feels while a run goes on: gaps of the event loop, first paint, memory.

Opens a generated slide in napari, starts a run in the dock and pans the view 25 times a second. A timer of 5 ms
measures how long the event loop was away. Needs a display::

    xvfb-run -s "-screen 0 1600x1200x24" python benchmarks/viewer.py --side 60000 --seconds 30 --bundle BUNDLE
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from window import spin

PAN_MS, TIMER_MS = 40, 5


def memory_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


class Gaps:
    """Times between the calls of a timer."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.times: list[float] = []
        self.timer = QTimer()
        self.timer.timeout.connect(self.tick)

    def tick(self) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def start(self) -> None:
        """Begin anew."""
        self.times = [time.perf_counter()]
        self.timer.start(TIMER_MS)

    def report(self, name: str) -> tuple[float, float]:
        """Stop, print one line of the table, and return the 95th percentile and the longest gap in ms."""
        self.timer.stop()
        gaps = 1000 * np.diff(self.times)
        if len(gaps):
            p50, p95 = np.percentile(gaps, [50, 95])
            long = (gaps > 100).sum()
            print(f"| {name} | {len(gaps)} | {p50:.0f} | {p95:.0f} | {gaps.max():.0f} | {long} |", flush=True)
            return float(p95), float(gaps.max())
        return 0.0, 0.0


class Pan:
    """Moves the view in a circle, at a zoom where single cells can be seen and further out."""

    def __init__(self, viewer: Any, center: tuple[float, float], zoom: float, radius: float) -> None:
        from qtpy.QtCore import QTimer

        self.viewer, self.center, self.radius = viewer, center, radius
        viewer.scene.camera.zoom = zoom
        self.angle = 0.0
        self.timer = QTimer()
        self.timer.timeout.connect(self.step)

    def step(self) -> None:
        """Move on."""
        self.angle += 0.05
        y, x = self.center
        self.viewer.scene.camera.center = (
            y + self.radius * np.sin(self.angle),
            x + self.radius * np.cos(self.angle),
        )


def first_paint(viewer: Any, path: Path) -> float:
    """Return seconds from the command to a picture of the slide on the canvas."""
    started = time.perf_counter()
    viewer.open(str(path), plugin="napari-wsss")
    picture = np.asarray(viewer.screenshot(canvas_only=True, flash=False))
    assert picture[..., :3].std() > 1, "nothing was painted"
    return time.perf_counter() - started


def while_a_queue_runs(
    viewer: Any, session: Any, path: Path, arguments: Any, gaps: Gaps, middle: tuple[float, float]
) -> tuple[float, float]:
    """Pan while the queue segments a copy of the slide beside the run that goes on, and return the gaps."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-wsss", "Queue of slides")
    queue = dock.queue
    copy = arguments.work / f"queued-{path.name}"
    copy.unlink(missing_ok=True)
    os.link(path, copy)
    queue.add([copy])
    queue.run()
    spin(120, lambda: queue.rows[0].done > 0)
    assert queue.is_running, queue.problem or queue.rows
    pan = Pan(viewer, middle, 1.0, 300.0)
    pan.timer.start(PAN_MS)
    done, started = session.state.tiles_done + queue.rows[0].done, time.perf_counter()
    gaps.start()
    spin(arguments.seconds)
    pace = (session.state.tiles_done + queue.rows[0].done - done) / (time.perf_counter() - started)
    found = gaps.report(f"a run and a queue, cells ({pace:.1f} tiles/s)")
    pan.timer.stop()
    queue.stop()
    spin(60, lambda: not queue.is_running)
    copy.unlink()
    return found


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=60000)
    parser.add_argument("--slide", type=Path, help="another slide instead of the generated one")
    parser.add_argument("--work", type=Path, default=Path("/tmp/wsss-bench"))
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--bundle", default="")
    parser.add_argument("--queue", action="store_true", help="also while a queue runs beside the run")
    parser.add_argument(
        "--no-step-back", action="store_true", help="networks stay where they are while the view is moved"
    )
    parser.add_argument("--json", type=Path, help="write the rows of the table")
    parser.add_argument(
        "--asynchronous", action="store_true", help="napari's experimental asynchronous slicing"
    )
    arguments = parser.parse_args()
    from engine import make_slide
    from rows import Row, save

    arguments.work.mkdir(parents=True, exist_ok=True)
    path = arguments.slide or arguments.work / f"{arguments.side}.tif"
    if arguments.slide is None:
        make_slide(path, arguments.side)

    import napari

    from napari_wsss.backends import courtesy

    if arguments.no_step_back:
        courtesy.PRIORITIES = False
    if arguments.asynchronous:
        napari.settings.get_settings().experimental.async_ = True
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 1000)
    spin(1)
    before = memory_mb("VmRSS")
    paint = first_paint(viewer, path)
    print(f"first paint of {path.name}: {paint:.2f} s (viewer alone {before:.0f} MB)")
    _, dock = viewer.window.add_plugin_dock_widget("napari-wsss", "Segment slide")
    session = dock.session
    session.choose_bundle(arguments.bundle)
    out = Path(tempfile.mkdtemp(dir=arguments.work))
    session.set_preferences(folder=str(out), skip_background=True)
    # What a user waits for as well: the model is loaded and timed while the panel is read.
    spin(300, lambda: dock.estimate.estimate is not None and dock.estimate.estimate.seconds is not None)
    estimate = dock.estimate.estimate
    assert estimate is not None, dock.estimate.problem
    loaded = memory_mb("VmRSS")
    print(f"estimate: {estimate}; viewer with slide and model {loaded:.0f} MB")
    extent = viewer.layers[0].extent.world[1]
    middle = (float(extent[0]) / 2, float(extent[1]) / 2)
    gaps = Gaps()
    print("| while | turns | p50 ms | p95 ms | max ms | over 100 ms |\n|---|---|---|---|---|---|")
    for name, zoom, radius in (("idle, panning", 1.0, 300.0),):
        pan = Pan(viewer, middle, zoom, radius)
        pan.timer.start(PAN_MS)
        gaps.start()
        spin(arguments.seconds / 3)
        gaps.report(name)
        pan.timer.stop()
    session.run()
    gaps.start()
    spin(120, lambda: session.result_layer is not None and session.result_layer.visible)
    spin(0.5)  # the first picture of the result
    worst = [gaps.report("starting a run")]
    assert session.state.phase == "running", session.state
    for name, zoom, radius in (
        ("running, cells", 1.0, 300.0),
        ("running, regions", 0.2, 2000.0),
        ("running, whole slide", 0.9 * 900 / max(middle) / 2, 100.0),
    ):
        pan = Pan(viewer, middle, zoom, radius)
        spin(0.5)
        pan.timer.start(PAN_MS)
        gaps.start()
        done, started = session.state.tiles_done, time.perf_counter()
        spin(arguments.seconds)
        pace = (session.state.tiles_done - done) / (time.perf_counter() - started)
        worst.append(gaps.report(f"{name} ({pace:.1f} tiles/s)"))
        pan.timer.stop()
    # Of this run: a queue would add another one's.
    peak = memory_mb("VmHWM") - loaded
    if arguments.queue:
        worst.append(while_a_queue_runs(viewer, session, path, arguments, gaps, middle))
    started = time.perf_counter()
    session.cancel()
    spin(30, lambda: session.state.phase == "cancelled")
    print(f"cancelled after {time.perf_counter() - started:.2f} s at {session.state.tiles_done:,} tiles")
    formula = estimate.memory_bytes / 2**20
    print(f"peak memory of the run above the viewer {peak:.0f} MB; formula {formula:.0f} MB")
    p95, longest = (max(values) for values in zip(*worst, strict=True))
    slide = path.stem
    save(
        [
            Row(f"napari, first paint of {slide}", f"{paint:.2f} s", "", "", "< 1.5 s"),
            Row(
                "napari, gaps of the event loop, panning during a run",
                f"95 %: {p95:.0f} ms, longest: {longest:.0f} ms",
                "",
                "",
                "≤ 60 ms, ≤ 300 ms",
            ),
            Row(
                "napari, peak memory of a run above the open viewer",
                f"{peak:.0f} MB",
                f"formula: {formula:.0f} MB",
                "",
                "≤ formula + 400 MB",
            ),
        ],
        arguments.json,
    )
    viewer.close()
    shutil.rmtree(out)


if __name__ == "__main__":
    main()
