"""Runs the engine in forked children and kills them at random moments; used by test_kill.py.

Everything is imported once; each child is a fork, so that thirty kills cost seconds. The parent touches neither zarr
nor threads, which would not survive a fork.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
from wsss_toys import ColourPredictor, colourful

from tiling.engine.drive import run
from tiling.engine.events import TilesDone
from tiling.plan.run_plan import RunOptions
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.journal import Journal

THRESHOLDS = (0.45,)
OPTIONS = RunOptions(
    mpp=0.5, tissue=None, batch_size=4, overlap=0.25, cams=True, probabilities=True, gate_mode="field"
)


def segment(image: np.ndarray, out: Path, log: Path, delay: float) -> None:
    """Run to the end, noting every predicted batch."""
    predictor = ColourPredictor(32, on_call=lambda _: time.sleep(delay), thresholds=THRESHOLDS)
    with log.open("a", buffering=1) as file, Slide(ArrayReader(image, mpp=0.5)) as slide:
        for event in run(slide, predictor, out, OPTIONS):
            if isinstance(event, TilesDone):
                file.write(json.dumps([event.row, list(event.columns)]) + "\n")


def child(image: np.ndarray, out: Path, log: Path, delay: float) -> int:
    """Fork a child that segments; return its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            segment(image, out, log, delay)
            code = 0
        finally:
            os._exit(code)
    return pid


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill ``kills`` runs, then let one finish; write a report."""
    rng = random.Random(seed)
    image = colourful(700, 420)
    out, report = folder / "a.zarr", []
    for attempt in range(kills):
        log = folder / f"log-{attempt}"
        log.touch()
        pid = child(image, out, log, 0.004)
        if rng.random() < 0.7:  # while rows are computed and written; else anywhere from the very start
            deadline = time.monotonic() + 20
            while not log.stat().st_size and time.monotonic() < deadline:
                time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.3))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        committed = Journal(out / "journal").committed().rows
        computed = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("]")]
        report.append(
            {
                "killed": os.WIFSIGNALED(status),
                "finished": (out / "receipt.json").exists(),
                "committed": committed,
                "computed": computed,
            }
        )
        if report[-1]["finished"]:
            break
    pid = child(image, out, folder / "log-last", 0)
    _, status = os.waitpid(pid, 0)
    (folder / "report.json").write_text(json.dumps({"exit": status, "attempts": report}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
