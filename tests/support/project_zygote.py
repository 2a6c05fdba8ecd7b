"""Labels and prepares in forked children and kills them at random moments; used by project/test_project_kill.py.

Everything is imported once; each child is a fork, so that thirty kills cost seconds. The parent starts no threads and
opens no zarr store, which would not survive a fork.
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

from napari_wsss.project.description import EncoderRef
from napari_wsss.project.features import tiles_done
from napari_wsss.project.prepare import PrepareOptions, describe, plan_slide, prepare_slide
from napari_wsss.project.project import Project
from tiling.slides import ArrayReader, Slide

TILE = 32
ENCODER = EncoderRef("toy", "0" * 64)


def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (45, 60, 3), np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))


def encode(pixels: np.ndarray) -> np.ndarray:
    """Mean colours of 2 x 2 places: slow enough to be killed in the middle."""
    time.sleep(0.004)
    small = pixels.reshape(len(pixels), 2, TILE // 2, 2, TILE // 2, 3).mean((2, 4))
    return small.astype(np.float32)


def prepare(path: Path) -> None:
    options = PrepareOptions(batch_size=8)
    with Slide(ArrayReader(picture(), mpp=0.5)) as slide:
        plan = plan_slide(slide, TILE, 0.5, options)
        identity = {"dimensions": [1, 1], "size_bytes": 1, "quick_hash": "a"}
        about = describe(identity, plan.grid, ENCODER, "r", 0.5)
        for _ in prepare_slide("a", slide, plan, encode, path, about, 2, 3, options):
            pass


def label(folder: Path, log: Path, seed: int) -> None:
    """Label without end; every decision that was confirmed is noted."""
    rng = random.Random(seed)
    with Project(folder) as project, log.open("a", buffering=1) as file:
        assert not project.read_only
        while True:
            row, column = rng.randrange(5), rng.randrange(5)
            names = rng.sample(project.schema.names, rng.randrange(3))
            tile = project.tile_of("small", row, column)
            project.label("small", *tile.middle, names, reader="KL")
            file.write(json.dumps([row, column, sorted(names)]) + "\n")


def child(work: object, *arguments: object) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work(*arguments)  # type: ignore[operator]
            code = 0
        finally:
            os._exit(code)
    return pid


def main(folder: Path, project: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    features = folder / "a.zarr"
    report = []
    for number in range(kills):
        log = folder / f"said-{number}"
        log.touch()
        pid = child(label, project, log, seed * 100 + number)
        time.sleep(rng.uniform(0.02, 0.25))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pid = child(prepare, features)
        time.sleep(rng.uniform(0.0, 0.5))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        report.append({"done": tiles_done(features), "killed": os.WIFSIGNALED(status)})
    pid = child(prepare, features)
    _, status = os.waitpid(pid, 0)
    (folder / "report.json").write_text(json.dumps({"exit": status, "attempts": report}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
