"""The window's process is killed while somebody labels: at most the click in flight is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_wsss.project import open_project

pytestmark = [
    pytest.mark.gui,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL"),
]

SUPPORT = Path(__file__).resolve().parents[2] / "support"
KILLS = 2


def said_so_far(file: Path) -> list[tuple[int, int, str]]:
    text = file.read_text() if file.exists() else ""
    lines = [line.split(maxsplit=2) for line in text.splitlines()]
    return [(int(row), int(column), name) for row, column, name in lines]


def test_a_killed_window_loses_at_most_the_click_in_flight(folder: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "NAPARI_CONFIG": str(tmp_path / "napari.yaml"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    rng = random.Random(0)
    held: dict[tuple[int, int], set[str]] = {}
    for kill in range(KILLS):
        said = tmp_path / f"said-{kill}"
        command = [sys.executable, str(SUPPORT / "teach_window.py"), str(folder), str(said)]
        window = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + 300
            while len(said_so_far(said)) < 10 and window.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(rng.random() * 0.1)
        finally:
            window.send_signal(signal.SIGKILL)
            _, errors = window.communicate()
        assert window.returncode == -signal.SIGKILL, errors
        confirmed = said_so_far(said)
        assert len(confirmed) >= 10, errors
        for row, column, name in confirmed:
            held.setdefault((row, column), set()).add(name)
        # The next one may write, and sees every label that was confirmed, and at most one that was not yet.
        with open_project(folder) as project:
            assert not project.read_only, project.notice
            found = {label.tile.place: set(label.classes) for label in project.labels("a")}
        more = {
            (place, name)
            for place, names in found.items()
            for name in names
            if name not in held.get(place, set())
        }
        assert all(names <= found.get(place, set()) for place, names in held.items()), (
            "a confirmed label is lost"
        )
        assert len(more) <= 1, "more than the click in flight"
        held = found
    lines = (folder / "labels" / "a.csv").read_text().splitlines()
    assert all(line.count(",") == 8 for line in lines), "a torn line was taken for a whole one"
