"""Kills a batch of one slide before each thing that it does to its folder; used by test_kill_matrix.py.

Python tells an audit hook of every file that is opened for writing, renamed or removed, whoever does it, so no step can
be forgotten. Everything is imported once; each run is a fork.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from wsss_toys import ColourPredictor, colourful, tree_bytes

from tiling.batch.isolated import run_batch
from tiling.batch.jobs import SlideJob
from tiling.batch.summary import SlideOutcome, Status
from tiling.engine.drive import run
from tiling.engine.events import Finished
from tiling.plan.run_plan import RunOptions
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.receipt import verify

PICTURE = colourful(400, 90)
OPTIONS = RunOptions(mpp=0.5, tissue=None, batch_size=8, probabilities=True)
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def segment(job: SlideJob) -> SlideOutcome:
    """Segment the one slide."""
    store = job.path.with_name(f"{job.slide_id}.zarr")
    with Slide(ArrayReader(PICTURE, mpp=0.5)) as slide:
        finished = [e for e in run(slide, ColourPredictor(32), store, OPTIONS) if isinstance(e, Finished)][-1]
    return SlideOutcome(job.slide_id, job.path, Status(finished.status), finished.tiles)


def batch(out: Path) -> None:
    """Run the batch to its end."""
    for outcome in run_batch([SlideJob("a", out / "a.svs")], segment, out):
        assert outcome.status is not Status.FAILED, outcome.error


def watching(out: Path, kill_at: int, log: Path) -> Callable[[str, tuple[object, ...]], None]:
    """Return a hook that notes each change below ``out`` and kills this process before change ``kill_at``."""
    count = 0
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    start = str(out)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open":
            flags = arguments[2]
            if not (isinstance(flags, int) and flags & WRITING):
                return
        elif event not in CHANGES:
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
        if not path.startswith(start):
            return
        shown = os.fsdecode(str(arguments[1])) if event == "os.rename" else path
        os.write(descriptor, f"{event} {shown[len(start) + 1 :]}\n".encode())
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    return hook


def child(out: Path, kill_at: int, log: Path) -> int:
    """Run in a fork; return its exit status."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            sys.addaudithook(watching(out, kill_at, log))
            batch(out)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def main(folder: Path, every: int) -> None:
    """Kill before each ``every``-th change, and before the first of every kind; then run again; write a report."""
    out, log = folder / "whole", folder / "log"
    out.mkdir()
    assert child(out, -1, log) == 0
    steps = log.read_text().splitlines()
    expected = tree_bytes(out / "a.zarr")
    kinds = dict[str, int]()
    for number, step in enumerate(steps):
        event, _, path = step.partition(" ")
        kinds.setdefault(f"{event} {path.split('/')[0]} {Path(path).suffix} {path.count('/')}", number)
    chosen = sorted({*kinds.values(), *range(0, len(steps), every), len(steps) - 1})
    report = []
    for number in chosen:
        out = folder / f"killed-{number}"
        out.mkdir()
        killed = os.WIFSIGNALED(child(out, number, folder / "log-killed"))
        receipt = (out / "a.zarr" / "receipt.json").exists()
        honest = verify(out / "a.zarr").ok if receipt else True
        again = child(out, -1, folder / "log-again")
        report.append(
            {
                "step": steps[number],
                "killed": killed,
                "receipt": receipt,
                "honest": honest,
                "again": again,
                "same": tree_bytes(out / "a.zarr") == expected,
                "verified": verify(out / "a.zarr").ok,
                "rows": (out / "summary.csv").read_text().count("\n") - 1,
                "left": sorted(p.name for p in out.iterdir()),
            }
        )
        shutil.rmtree(out)
    (folder / "report.json").write_text(json.dumps({"steps": len(steps), "runs": report}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
