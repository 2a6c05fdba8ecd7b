"""SIGKILL while labelling, preparing and training: at most the click in flight is lost, and all else goes on."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_projects import SMALL, held

from napari_wsss.project import Project, open_project
from napari_wsss.project.features import CHUNK, read_part, read_table, tiles_done

SUPPORT = Path(__file__).resolve().parents[1] / "support"
KILLS = 30
TRAINING_KILLS = 8

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL"),
]


def zygote(work: str, folder: Path, project: Path, kills: int) -> dict[str, Any]:
    """Let children work on a project and kill them; return the report."""
    subprocess.run(
        [
            sys.executable,
            str(SUPPORT / "project_zygote.py"),
            work,
            str(folder),
            str(project),
            str(kills),
            "1",
        ],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path])},
        timeout=600,
    )
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_thirty_kills_lose_at_most_the_click_in_flight(
    make: Callable[..., Project], slides: dict[str, Path], tmp_path: Path
) -> None:
    project = make(slides["small"])
    project.close()
    report = zygote("label", tmp_path, project.folder, KILLS)

    # Labels: the log holds what was confirmed, in order, and after each kill the one click in flight or not.
    with (project.folder / "labels" / "small.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [[r["reader"], round(float(r["x"])), round(float(r["y"])), r["labels"]] for r in rows]
    confirmed, at = 0, 0
    for number in range(KILLS):
        said = [line.split(" ", 1) for line in (tmp_path / f"said-{number}").read_text().splitlines()]
        done = [json.loads(what) for kind, what in said if kind == "done"]
        assert lines[at : at + len(done)] == done, number
        confirmed, at = confirmed + len(done), at + len(done)
        in_flight = [json.loads(what) for kind, what in said if kind == "try"][len(done) :]
        assert len(in_flight) <= 1
        at += bool(in_flight) and lines[at : at + 1] == in_flight
    assert at == len(lines)
    assert confirmed > KILLS
    with open_project(project.folder) as opened:
        assert not opened.read_only
        # The log goes on as if nothing had been.
        opened.label("small", 5, 5, {"Tumour"}, reader="KL")
        assert opened.labels("small")[-1].classes == ("Tumour",)

    # Features: progress never goes back, whole chunks only, and the end is what one run without a kill gives.
    assert report["exit"] == 0
    done = [attempt["done"] or 0 for attempt in report["attempts"]]
    assert done == sorted(done)
    path = tmp_path / "a.zarr"
    total = len(read_table(path)[0])
    assert all(count % CHUNK == 0 or count == total for count in done)
    assert sum(attempt["killed"] for attempt in report["attempts"]) >= 3
    assert tiles_done(path) == total > CHUNK
    code = f"from project_zygote import prepare; from pathlib import Path; prepare(Path({str(tmp_path / 'b.zarr')!r}))"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path])},
    )
    once = read_part(tmp_path / "b.zarr", 0, total)
    assert np.array_equal(read_part(path, 0, total), once)


def test_kills_in_training_leave_the_model_of_an_uninterrupted_run(
    make: Callable[..., Project], slides: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("lightning")
    project = make(slides["small"])
    list(project.prepare("small", backend="torch"))
    for row in range(3):
        for column in range(4):
            tile = project.tile_of("small", row, column)
            project.label("small", *tile.middle, held(SMALL, tile) or {"Stroma"}, reader="KL")
    before = project.labels()
    project.close()
    report = zygote("train", tmp_path, project.folder, TRAINING_KILLS)
    assert report["exits"] == [0, 0]
    assert report["attempts"][0]["killed"]
    assert all(attempt["whole"] for attempt in report["attempts"])
    killed, once = (project.folder / "models" / name for name in ("killed", "once"))
    for part in ("stage1.safetensors", "stage2.safetensors"):
        assert (killed / part).read_bytes() == (once / part).read_bytes()
    with open_project(project.folder) as opened:
        assert opened.labels() == before
