"""All benchmarks, one after another, and one table of their results (``make bench``).

Nothing else should run on the machine meanwhile. What every program does, and what its figures mean, is said in it
and in ``docs/performance.md``.

    python benchmarks/bench.py                     # a quarter of an hour on two cores
    python benchmarks/bench.py --only engine cam
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from rows import Row, load, table

HERE = Path(__file__).parent
PROGRAMS = ("cam", "engine", "backends", "training_step", "viewer", "teach", "remote")
DISPLAY = ["xvfb-run", "-a", "-s", "-screen 0 1600x1200x24"]


def machine() -> str:
    """Return one line that says what the figures were measured on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = [
            s.split(":")[1].strip() for s in cpuinfo.read_text().splitlines() if s.startswith("model name")
        ]
        name = found[0] if found else name
    packages = ", ".join(
        f"{p} {version(p)}" for p in ("torch", "numpy", "zarr", "openslide-python", "napari")
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return (
        f"{time.strftime('%Y-%m-%d')}, {name}, {os.cpu_count()} cores, {memory:.0f} GiB, no GPU used; "
        f"Python {platform.python_version()}, {packages}; OMP_NUM_THREADS={threads}"
    )


def run(program: str, folder: Path, work: Path) -> list[Row]:
    """Run one program and return its rows; its own tables go to the screen."""
    print(f"\n== {program}", flush=True)
    out = folder / f"{program}.json"
    command = [sys.executable, str(HERE / f"{program}.py"), "--json", str(out)]
    if program in {"engine", "viewer", "teach", "remote"}:
        command += ["--work", str(work)]
    if program == "viewer" and not os.environ.get("DISPLAY"):
        if shutil.which("xvfb-run") is None:
            return [Row("napari", "not measured: no display and no xvfb-run", "", "")]
        command = DISPLAY + command
    code = subprocess.run(command, check=False).returncode
    rows = load(out)
    if code:
        rows.append(Row(program, f"failed with exit code {code}", "", ""))
    return rows


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PROGRAMS, nargs="+", default=list(PROGRAMS))
    parser.add_argument("--work", type=Path, default=Path("/tmp/wsss-bench"), help="for the generated slides")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for program in arguments.only:
            rows += run(program, Path(folder), arguments.work)
    print(f"\n{machine()}\n\n{table(rows)}")
    return int(any(row.ours.startswith("failed") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
