"""Training programs are watched, ended with their watcher, and never two in one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_wsss.project.programs import read_log, run_program
from napari_wsss.project.run_lock import RunLock
from tiling.errors import TrainingError


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of small programs that children can run by name."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    (tmp_path / "failing.py").write_text(
        "import sys\nprint('Error: no such thing', file=sys.stderr)\nsys.exit(1)\n"
    )
    (tmp_path / "sleeping.py").write_text(
        "import os, sys, time\nfrom pathlib import Path\n"
        "Path(sys.argv[1]).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    return tmp_path


def _wait_for(path: Path) -> int:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_program_fails_with_its_own_last_words(programs: Path) -> None:
    with pytest.raises(TrainingError, match="failing failed: no such thing"):
        list(run_program("failing", ()))


def test_a_log_is_read_as_far_as_it_is_written(tmp_path: Path) -> None:
    assert read_log(tmp_path / "log.csv") == ()
    (tmp_path / "log.csv").write_text("epoch,loss,score\n1,0.5,\n2,0.25,0.75\n")
    rows = read_log(tmp_path / "log.csv")
    assert [(r.epoch, r.loss, r.score) for r in rows] == [(1, 0.5, None), (2, 0.25, 0.75)]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
def test_closing_the_generator_ends_the_program(programs: Path) -> None:
    watching = run_program("sleeping", (str(programs / "pid"),))
    next(watching)
    pid = _wait_for(programs / "pid")
    watching.close()
    assert not _is_alive(pid)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
def test_a_program_that_outlives_its_watcher_keeps_the_folder(programs: Path) -> None:
    run = programs / "run"
    run.mkdir()
    code = (
        "from pathlib import Path\nfrom napari_wsss.project.programs import run_program\n"
        "from napari_wsss.project.run_lock import RunLock\n"
        f"with RunLock(Path({str(run)!r})) as lock:\n"
        f"    list(run_program('sleeping', ({str(programs / 'pid')!r},), None, lock.inherited))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as watcher:
        pid = _wait_for(programs / "pid")
        with pytest.raises(TrainingError, match="being trained already"), RunLock(run):
            pass
        watcher.send_signal(signal.SIGKILL)
        watcher.wait()
    try:
        with pytest.raises(TrainingError, match="window was closed"), RunLock(run):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    with RunLock(run):
        pass
