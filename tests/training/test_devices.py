"""Two processes train one network: the first alone opens the folder and writes the bundle, from the best epoch."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from napari_wsss.models import load_bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_only_the_first_of_two_processes_writes(tmp_path: Path, make_root: Any) -> None:
    root = make_root(tmp_path / "data")
    out = tmp_path / "s1"
    options = ["--dataset", str(root / "schema.json"), "--dataroot", str(root), "--out", str(out)]
    options += [
        "--width",
        "0.1",
        "--least-side",
        "0",
        "--batch-size",
        "4",
        "--weights",
        "none",
        "--lr",
        "0.05",
    ]
    options += ["--epochs", "3", "--select", "best", "--no-pictures", "--restart"]
    options += ["--device", "cpu", "--devices", "2", "--strategy", "ddp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, "-m", "training.stage1", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("wrote ") == 1
    with (out / "log.csv").open(newline="") as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    bundle = load_bundle(out / "bundle")
    assert bundle.provenance["stage1"]["epoch"] == 1 + scores.index(max(scores))
    best = load_file(out / "checkpoints" / "best.safetensors")
    found = bundle.build_stage1().state_dict()
    assert all(torch.equal(found[key], value.to(found[key].dtype)) for key, value in best.items())
