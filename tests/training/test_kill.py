"""SIGKILL in the middle of each program, the same command again: the result of an uninterrupted run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
COMMON = [
    "--width",
    "0.1",
    "--batch-size",
    "8",
    "--weights",
    "none",
    "--epochs",
    "4",
    "--device",
    "cpu",
    "--least-side",
    "0",
]


def start(module: str, *options: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"training.{module}", *options]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)


def run(module: str, *options: str) -> None:
    process = start(module, *options)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def run_and_kill(module: str, *options: str, when: Callable[[], bool]) -> None:
    process = start(module, *options)
    deadline = time.monotonic() + 300
    while not when():
        assert process.poll() is None, "the program ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def weights(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (out / "bundle").glob("*.safetensors")}


def count_rows(out: Path) -> int:
    log = out / "log.csv"
    return len(log.read_text().splitlines()) - 1 if log.is_file() else 0


def test_all_three(tmp_path: Path, make_root: Any) -> None:
    root = make_root(tmp_path / "data", train=160)
    data = ["--dataset", str(root / "schema.json"), "--dataroot", str(root)]

    stage1 = [*data, *COMMON, "--out"]
    run("stage1", *stage1, str(tmp_path / "s1"))
    run_and_kill("stage1", *stage1, str(tmp_path / "k1"), when=lambda: count_rows(tmp_path / "k1") == 2)
    assert not (tmp_path / "k1" / "bundle").exists()
    run("stage1", *stage1, str(tmp_path / "k1"))
    assert weights(tmp_path / "k1") == weights(tmp_path / "s1")

    bundle = str(tmp_path / "s1" / "bundle")
    masks = [*data, "--weights", bundle, "--device", "cpu", "--batch-size", "2", "--out"]
    run("pseudo_masks", *masks, str(tmp_path / "pm"))
    half_done = tmp_path / "kpm"
    run_and_kill(
        "pseudo_masks", *masks, str(half_done), when=lambda: len(list(half_done.rglob("*.png"))) > 40
    )
    before = len(list(half_done.rglob("*.png")))
    assert before < 160
    run("pseudo_masks", *masks, str(half_done))
    whole = {
        p.relative_to(tmp_path / "pm"): p.read_bytes() for p in (tmp_path / "pm").rglob("*") if p.is_file()
    }
    again = {p.relative_to(half_done): p.read_bytes() for p in half_done.rglob("*") if p.is_file()}
    assert again == whole

    stage2 = [*data, *COMMON, "--head-channels", "8", "--stage1", bundle, "--masks", str(tmp_path / "pm")]
    stage2 += ["--mosaic", "0.5", "--out"]
    run("stage2", *stage2, str(tmp_path / "s2"))
    run_and_kill("stage2", *stage2, str(tmp_path / "k2"), when=lambda: count_rows(tmp_path / "k2") == 2)
    run("stage2", *stage2, str(tmp_path / "k2"))
    assert weights(tmp_path / "k2") == weights(tmp_path / "s2")
