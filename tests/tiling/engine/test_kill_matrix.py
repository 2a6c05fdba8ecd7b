"""SIGKILL before everything that a run does to its output folder: the next run ends with the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parents[2] / "support"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_kill_before_any_step_changes_nothing(tmp_path: Path) -> None:
    """Every 25th step and the first of each kind; ``WSSS_KILL_EVERY=1`` takes all."""
    every = os.environ.get("WSSS_KILL_EVERY", "25")
    subprocess.run(
        [sys.executable, str(SUPPORT / "kill_matrix.py"), str(tmp_path), every],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path])},
        timeout=1200,
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["steps"] > 100
    touched = " ".join(run["step"] for run in report["runs"])
    for what in (
        "a.zarr.lock",
        "a.zarr.owner",
        ".new",
        "run.json",
        "journal",
        "c/0",
        "receipt.json",
        "summary.csv",
    ):
        assert what in touched, f"no step concerns {what}"
    for run in report["runs"]:
        assert run["killed"], run
        assert run["honest"], run
        assert run["again"] == 0, run
        assert run["same"], run
        assert run["verified"], run
        assert run["rows"] == 1, run
        left = [name for name in run["left"] if not name.startswith(".wsss-")]
        assert left == ["a.zarr", "summary.csv"], run
        assert len(run["left"]) <= 3, run  # one temporary file, which a later batch removes
