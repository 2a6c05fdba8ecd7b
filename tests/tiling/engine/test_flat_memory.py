"""Peak memory of real runs: within the formula, and blind to the slide's height."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parents[2] / "support"
MEGABYTE = 2**20


def measure(width: int, height: int, overlap: float) -> tuple[float, float]:
    """Return peak above idle and the formula's value in MB, from a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SUPPORT / "flat_memory.py"), str(width), str(height), str(overlap)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(done.stdout)
    return found["above_idle"] / MEGABYTE, found["formula"] / MEGABYTE


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_peak_memory_stays_in_the_formula_and_ignores_the_height() -> None:
    low, formula = measure(6_000, 6_000, 0.25)
    high, same = measure(6_000, 24_000, 0.25)
    assert formula == same
    assert high <= formula
    # Allocators keep a little; the taller slide has five times the pixels (its overview is no larger).
    assert high <= low + 40
