"""SIGKILL before everything that exports, a report, a bundle, a checkpoint and a project do to their folder.

What is there then is as before or as after, or refused; the same work again ends as if nothing had happened.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SUPPORT = Path(__file__).resolve().parent / "support"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

LEAST = {"exports": 20, "report": 10, "bundle": 7, "checkpoint": 8, "project": 14, "labels": 13}
"""Steps seen; fewer would mean that the hook sees less, more are welcome."""


def report_of(folder: Path, name: str, every: str, program: str = "kill_steps.py") -> dict[str, Any]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path]),
    }
    subprocess.run(
        [sys.executable, str(SUPPORT / program), str(folder), name, every],
        check=True,
        env=environment,
        timeout=1200,
    )
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAST)
def test_a_kill_before_any_step_tears_nothing(name: str, tmp_path: Path) -> None:
    """Every fourth step; ``WSSS_KILL_EVERY=1`` takes all."""
    report = report_of(tmp_path, name, os.environ.get("WSSS_KILL_EVERY", "4"))
    assert report["steps"] >= LEAST[name]
    for run in report["runs"]:
        assert run["killed"], run
        assert not run["torn"], run
        assert not run["problem"], run
        assert not run["again"], run
        assert not run["differ"], run
        assert not run["after"], run


def test_a_file_that_is_written_in_place_is_found(tmp_path: Path) -> None:
    """The same watch over work that is wrong: it sees the torn file."""
    planted = tmp_path / "planted.py"
    planted.write_text(
        "import sys\n"
        "import kill_steps\n"
        "from pathlib import Path\n"
        "def work(folder):\n"
        "    with (folder / 'a.txt').open('w') as file:\n"
        "        file.write('new')\n"
        "        file.flush()\n"
        "        (folder / 'b.txt').write_text('other')\n"
        "        file.write(' content')\n"
        "kill_steps.CASES['planted'] = kill_steps.Case(lambda f: (f / 'a.txt').write_text('old'), work)\n"
        "kill_steps.main(Path(sys.argv[1]), 'planted')\n"
    )
    report = report_of(tmp_path, "planted", "1", str(planted))
    assert any(run["torn"] == ["a.txt"] for run in report["runs"])
