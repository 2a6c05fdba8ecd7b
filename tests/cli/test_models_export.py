"""`wsss-tile models export`: a file that runs without torch, from nothing but what the command wrote."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_wsss.models import load_bundle
from napari_wsss.predictor import BundlePredictor
from tiling.synthetic import SyntheticSlide

Call = Callable[..., Any]

ELSEWHERE = """
import sys
for name in ("torch", "napari_wsss", "tiling"):
    sys.modules[name] = None
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
[labels] = session.run(["labels"], {"pixels": numpy.load(sys.argv[2])})
numpy.save(sys.argv[3], labels)
"""


@pytest.mark.slow
def test_onnx_from_the_command_line_runs_without_torch(wsss: Call, bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    answer = wsss("models", "export", bundle, "--onnx", tmp_path / "onnx")
    assert answer.code == 0, answer.err
    model = Path(answer.out.strip())
    assert model.parent == tmp_path / "onnx"
    assert "of the check tiles as torch does" in answer.err
    tiles = SyntheticSlide(512, 512, seed=3, region_um=60).render(64, 128, 192, 64).reshape(64, 3, 64, 3)
    tiles = np.ascontiguousarray(tiles.swapaxes(0, 1))
    np.save(tmp_path / "tiles.npy", tiles)
    command = [sys.executable, "-c", ELSEWHERE, model, tmp_path / "tiles.npy", tmp_path / "labels.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    predictor = BundlePredictor(load_bundle(bundle), device="cpu", precision="fp32", backend="torch")
    wanted = predictor(tiles).probabilities.argmax(1)
    assert np.mean(np.load(tmp_path / "labels.npy") == wanted) >= 0.999


@pytest.mark.parametrize(
    ("options", "words"),
    [((), "Nothing to export"), (("--onnx", "here"), "nowhere")],
)
def test_what_cannot_be_exported_is_one_sentence(
    wsss: Call, bundle: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    answer = wsss("models", "export", "nowhere" if options else bundle, *options)
    assert answer.code in (1, 2)
    assert answer.out == ""
    assert words in answer.err
    assert len(answer.err.strip().splitlines()) == 1
