"""Labels, prepares, trains in forked children and kills them at random moments; for project/test_project_kill.py.

Everything is imported once; each child is a fork, so that thirty kills cost seconds. The parent starts no threads and
opens no zarr store, which would not survive a fork.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from napari_wsss.models import load_bundle
from napari_wsss.project import training_run
from napari_wsss.project.description import EncoderRef
from napari_wsss.project.features import tiles_done
from napari_wsss.project.prepare import PrepareOptions, describe, plan_slide, prepare_slide
from napari_wsss.project.programs import Seen, read_log
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
    """Label without end; every decision is noted before it is made, and once it is confirmed."""
    rng = random.Random(seed)
    reader = f"KL{seed}"  # no two children say the same
    with Project(folder) as project, log.open("a", buffering=1) as file:
        assert not project.read_only
        while True:
            row, column = rng.randrange(5), rng.randrange(5)
            names = rng.sample(project.schema.names, rng.randrange(1, 3))
            tile = project.tile_of("small", row, column)
            held = " ".join(str(int(name in names)) for name in project.schema.names)
            said = json.dumps([reader, round(tile.x), round(tile.y), held])
            file.write(f"try {said}\n")
            project.label("small", *tile.middle, names, reader=reader)
            file.write(f"done {said}\n")


def run_inline(
    module: str, words: Sequence[str], log: Path | None = None, inherited: Sequence[int] = ()
) -> Generator[Seen]:
    """Run a training program in this process: a kill hits it in the middle, and it is imported already."""
    importlib.import_module(module).main(list(words))
    yield Seen(read_log(log), "")


def train(folder: Path, name: str) -> None:
    """Train with the smallest recipe."""
    training_run.run_program = run_inline
    with Project(folder) as project:
        project.train(name, device="cpu", epochs=1)


def whole(model: Path) -> bool:
    """Tell whether a model is complete; none at all is no half-written one."""
    if not model.exists():
        return True
    bundle = load_bundle(model)
    return bundle.build_stage1() is not None and bundle.build_stage2() is not None


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


def main_train(folder: Path, project: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    model = project / "models" / "killed"
    attempts = []
    for number in range(kills):
        pid = child(train, project, "killed")
        time.sleep(0.05 if number == 0 else rng.uniform(0.1, 2.5))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        attempts.append({"killed": os.WIFSIGNALED(status), "whole": whole(model), "there": model.exists()})
    ends = [os.waitpid(child(train, project, name), 0)[1] for name in ("killed", "once")]
    (folder / "report.json").write_text(json.dumps({"exits": ends, "attempts": attempts}))


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
    work = {"label": main, "train": main_train}[sys.argv.pop(1)]
    work(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
