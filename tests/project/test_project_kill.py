"""SIGKILL at random moments of labelling and preparing: at most the click in flight is lost, features are resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_wsss.project import Project, open_project
from napari_wsss.project.features import CHUNK, read_part, read_table, tiles_done

SUPPORT = Path(__file__).resolve().parents[1] / "support"
KILLS = 30

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL"),
]


def test_thirty_kills_lose_at_most_the_click_in_flight(
    make: Callable[..., Project], slides: dict[str, Path], tmp_path: Path
) -> None:
    project = make(slides["small"])
    project.close()
    subprocess.run(
        [
            sys.executable,
            str(SUPPORT / "project_zygote.py"),
            str(tmp_path),
            str(project.folder),
            str(KILLS),
            "1",
        ],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path])},
        timeout=300,
    )

    # Labels: what was confirmed is in force; per kill one more decision may have reached the disk.
    expected: dict[tuple[int, int], list[str]] = {}
    confirmed = 0
    for number in range(KILLS):
        for line in (tmp_path / f"said-{number}").read_text().splitlines():
            row, column, names = json.loads(line)
            expected[row, column] = names
            confirmed += 1
    assert confirmed > KILLS
    with open_project(project.folder) as opened:
        assert not opened.read_only
        found = {label.tile.place: sorted(label.classes) for label in opened.labels("small")}
        differences = {
            place
            for place in expected.keys() | found.keys()
            if found.get(place, []) != expected.get(place, [])
        }
        assert len(differences) <= KILLS
        # The log goes on as if nothing had been.
        opened.label("small", 5, 5, {"Tumour"}, reader="KL")
        assert opened.labels("small")[-1].classes == ("Tumour",)
    lines = (project.folder / "labels" / "small.csv").read_text().splitlines()
    assert all(line.count(",") == 8 for line in lines)

    # Features: progress never goes back, whole chunks only, and the end is what one run without a kill gives.
    report = json.loads((tmp_path / "report.json").read_text())
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
