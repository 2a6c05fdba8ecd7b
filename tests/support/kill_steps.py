"""Kills a piece of work before each thing that it does to its folder, then does it again; used by test_kill_steps.py.

As kill_matrix.py does for a whole run: Python tells an audit hook of every file that is opened for writing, renamed or
removed. What native code writes is seen when it is renamed.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kill_matrix import watching

Work = Callable[[Path], None]
Tree = dict[str, bytes]

_CHANGING = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # UUIDs
    rb"|20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?"
)
"""What differs between two runs of the same work."""


@dataclass(frozen=True)
class Case:
    """A piece of work on a folder.

    Attributes
    ----------
    prepare, work : callable
        Make what is there before, and do the work; the work may be done again after it was killed.
    problem : callable
        Given the folder after a kill: what is wrong with it, or an empty text.
    """

    prepare: Work
    work: Work
    problem: Callable[[Path], str] = lambda folder: ""
    modules: tuple[str, ...] = ()
    """Imported once, before the forks."""
    grows: tuple[str, ...] = ()
    """Files that have states between before and after; ``problem`` says what they may hold."""


def tree(folder: Path) -> Tree:
    """Return the files that people see, by name, without locks, identifiers, times and the folder's own name."""
    return {
        p.relative_to(folder).as_posix(): _CHANGING.sub(b"?", p.read_bytes().replace(bytes(folder), b"."))
        for p in sorted(folder.rglob("*"))
        if p.is_file()
        and p.suffix not in (".lock", ".owner", ".tmp")
        and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    }


def forked(work: Callable[[], object], hook: Any = None) -> tuple[int, str]:
    """Do something in a fork; return its status and what it answered."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if hook is not None:
                sys.addaudithook(hook)
            answer = work()
            os.write(writing, str(answer or "").encode()[:4000])
            code = 0
        except Exception as error:  # noqa: BLE001 - told to the other side
            os.write(writing, f"{type(error).__name__}: {error}".encode()[:4000])
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        text = answers.read().decode()
    return os.waitpid(pid, 0)[1], text


# --- exports ---


def _store(folder: Path) -> None:
    from kill_matrix import OPTIONS, PICTURE
    from wsss_toys import ColourPredictor

    from tiling.engine.drive import run
    from tiling.slides.readers.array import ArrayReader
    from tiling.slides.slide import Slide

    with Slide(ArrayReader(PICTURE, mpp=0.5)) as slide:
        list(run(slide, ColourPredictor(32), folder / "a.zarr", OPTIONS))


def _export(folder: Path) -> None:
    from napari_wsss.cli.export import files_beside, write_exports
    from tiling.store import open_store

    store = folder / "a.zarr"
    list(write_exports(open_store(store), files_beside(store, ("geojson", "tiff", "csv", "png")).items()))


# --- report ---


def _batch(folder: Path) -> None:
    from kill_matrix import batch

    batch(folder)


def _report(folder: Path) -> None:
    from tiling.batch.report import write_report

    write_report(folder)


# --- bundle ---


def _save_bundle(seed: int) -> Work:
    def work(folder: Path) -> None:
        import torch

        from napari_wsss.models import build_stage1, save_bundle
        from tiling.synthetic import SYNTHETIC_SCHEMA

        torch.manual_seed(seed)
        stage1 = build_stage1("efficientnet-lite0", 4, width=0.1)
        texts = {"name": f"seed {seed}", "schema": SYNTHETIC_SCHEMA}
        save_bundle(folder / "model", mpp=0.5, tile=64, stage1=stage1, overwrite=True, **texts)

    return work


def _bundle_problem(folder: Path) -> str:
    from napari_wsss.models import load_bundle
    from tiling.errors import BundleError

    if not (folder / "model").exists():
        return ""  # between the old and the new one: nothing is read
    try:
        name = load_bundle(folder / "model").name
    except BundleError as error:
        return str(error)
    return "" if name in ("seed 1", "seed 2") else name


# --- checkpoint ---


def _checkpoint(number: int) -> Work:
    def work(folder: Path) -> None:
        import torch

        from training.loop.keeper import _whole
        from training.loop.run_folder import RunFolder

        run = RunFolder(folder)
        run.last.parent.mkdir(exist_ok=True)
        trainer: Any = SimpleNamespace(is_global_zero=True)
        with _whole(run.last, trainer, run.sums) as temporary:
            torch.save({"epoch": number}, temporary)
        run.write_log([{"epoch": i + 1, "loss": 0.5} for i in range(number)])

    return work


def _checkpoint_problem(folder: Path) -> str:
    import torch

    from training.loop.fit import _checkpoint as found
    from training.loop.run_folder import RunFolder

    path = found(RunFolder(folder))
    epoch = 0 if path is None else torch.load(path, weights_only=True)["epoch"]
    return "" if epoch in (1, 2) else f"the checkpoint of epoch {epoch}"


# --- project ---


def _open(folder: Path) -> Any:
    from napari_wsss.project import open_project

    return open_project(folder / "a.wsss")


def _slide(folder: Path) -> None:
    from tiling.synthetic import SyntheticSlide, write_slide

    write_slide(folder / "small.tif", SyntheticSlide(512, 448, mpp=0.5, seed=8), compression="zlib")


def _begin(folder: Path) -> None:
    """Begin a project with a slide, or go on with what is there."""
    from napari_wsss.project import new_project
    from tiling.errors import ProjectError
    from tiling.synthetic import SYNTHETIC_SCHEMA

    try:
        project = _open(folder)
    except ProjectError:
        project = new_project(folder / "a.wsss", SYNTHETIC_SCHEMA, tile=64, mpp=0.5, encoder="synthetic-demo")
    with project:
        if not project.slides:
            project.add(folder / "small.tif", case="P1")


def _project_problem(folder: Path) -> str:
    from tiling.errors import ProjectError

    try:
        with _open(folder) as project:
            return "" if project.slides in ((), ("small",)) else str(project.slides)
    except ProjectError as error:
        return "" if not (folder / "a.wsss" / "project.json").exists() else str(error)


def _slide_and_project(folder: Path) -> None:
    _slide(folder)
    _begin(folder)
    _label(folder, 2)


def _label(folder: Path, until: int) -> None:
    """Label the tiles of the first row from the left until so many are labelled."""
    with _open(folder) as project:
        for i in range(len(project.labels("small")), until):
            project.label("small", 32 + 64 * i, 32, [project.schema.names[i % 4]], reader="KL")


def _label_problem(folder: Path) -> str:
    with _open(folder) as project:
        found = project.labels("small")
        wanted = [project.schema.names[i % 4] for i in range(len(found))]
        said = [project.schema.names[label.present.index(True)] for label in found]
    return "" if said == wanted and 2 <= len(found) <= 5 else f"labels {said}"


CASES: dict[str, Case] = {
    "exports": Case(_store, _export),
    "report": Case(_batch, _report),
    "bundle": Case(
        _save_bundle(1), _save_bundle(2), _bundle_problem, ("napari_wsss.models.lite_classifier",)
    ),
    "checkpoint": Case(
        _checkpoint(1),
        _checkpoint(2),
        _checkpoint_problem,
        ("training.loop.fit",),
        grows=("checkpoints/last.json",),
    ),
    "project": Case(
        _slide,
        _begin,
        _project_problem,
        ("napari_wsss.project.project",),
        grows=("a.wsss/project.json",),
    ),
    "labels": Case(
        _slide_and_project,
        lambda folder: _label(folder, 5),
        _label_problem,
        ("napari_wsss.project.project",),
        grows=("a.wsss/labels/small.csv",),
    ),
}


def main(folder: Path, name: str, every: int = 1) -> None:
    """Kill before every ``every``-th change and the last, look, do the work again, look again; write a report."""
    case = CASES[name]
    for module in case.modules:
        importlib.import_module(module)
    # All of one name: pages and projects show it.
    before, whole, here = (folder / part / "here" for part in ("before", "whole", "killed"))
    before.mkdir(parents=True)
    status, said = forked(lambda: case.prepare(before))
    assert status == 0, said
    shutil.copytree(before, whole)
    status, said = forked(lambda: case.work(whole), watching(whole, -1, folder / "log"))
    assert status == 0, said
    steps = (folder / "log").read_text().splitlines()
    old, new = tree(before), tree(whole)
    report = []
    for number in sorted({*range(0, len(steps), every), len(steps) - 1}):
        step = steps[number]
        shutil.copytree(before, here)
        status, _ = forked(lambda w=here: case.work(w), watching(here, number, folder / "log-killed"))
        torn = [
            file
            for file, content in tree(here).items()
            if content not in (old.get(file), new.get(file)) and file not in case.grows
        ]
        _, problem = forked(lambda w=here: case.problem(w))
        again, said = forked(lambda w=here: case.work(w))
        found = tree(here)
        differ = [file for file in new if found.get(file) != new[file] and file not in case.grows]
        _, after = forked(lambda w=here: case.problem(w))
        report.append(
            {
                "step": step,
                "killed": os.WIFSIGNALED(status),
                "torn": torn,
                "problem": problem,
                "again": said if again else "",
                "differ": differ,
                "after": after,
            }
        )
        shutil.rmtree(here)
    (folder / "report.json").write_text(json.dumps({"steps": len(steps), "runs": report}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
