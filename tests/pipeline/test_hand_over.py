"""Models for other programs: the ONNX file is the whole model, needs no torch, and labels as torch does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_wsss.backends import hand_over
from napari_wsss.backends.hand_over import OnnxFile, export_onnx, export_wsinfer
from napari_wsss.models.bundle import Bundle, load_bundle
from napari_wsss.predictor import BundlePredictor
from tiling.errors import BundleError, DeviceError

pytestmark = pytest.mark.slow
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

Pixels = NDArray[np.uint8]

WITHOUT_TORCH = """
import sys
for name in ("torch", "napari_wsss", "tiling"):
    sys.modules[name] = None
import json, numpy, onnxruntime
folder, pixels, out = sys.argv[1:]
card = json.load(open(f"{folder}/model.json"))
session = onnxruntime.InferenceSession(f"{folder}/{card['file']}", providers=["CPUExecutionProvider"])
names = list(card["outputs"])
found = session.run(names, {"pixels": numpy.load(pixels)})
for name, value in zip(names, found):
    wanted = card["outputs"][name]
    assert str(value.dtype) == wanted["type"], (name, value.dtype)
    assert list(value.shape)[1:] == wanted["shape"][1:], (name, value.shape)
numpy.savez(out, **dict(zip(names, found)))
"""


@pytest.fixture(scope="module")
def both(_bundles: Path) -> Bundle:
    return load_bundle(_bundles / "pair")


@pytest.fixture(scope="module")
def exported(both: Bundle, tmp_path_factory: pytest.TempPathFactory) -> OnnxFile:
    return export_onnx(both, tmp_path_factory.mktemp("onnx"))


def test_it_runs_without_torch_as_the_predictor_does(
    exported: OnnxFile, both: Bundle, tiles: Pixels, tmp_path: Path
) -> None:
    np.save(tmp_path / "tiles.npy", tiles)
    command = [sys.executable, "-c", WITHOUT_TORCH, str(exported.path.parent), str(tmp_path / "tiles.npy")]
    done = subprocess.run([*command, str(tmp_path / "out.npz")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    predictor = BundlePredictor(both, device="cpu", precision="fp32", backend="torch")
    wanted = predictor(tiles)
    assert np.mean(found["labels"] == wanted.probabilities.argmax(1)) >= hand_over.ENOUGH
    np.testing.assert_allclose(found["presence"], wanted.presence, atol=1e-4)
    np.testing.assert_allclose(found["probabilities"], wanted.probabilities, atol=1e-3)
    closed = found["presence"] <= np.asarray(both.gate.thresholds)
    assert closed.any()  # the gate has something to do …
    assert found["probabilities"][closed].max() == 0.0  # … and is in the file


def test_the_card_says_what_it_is(exported: OnnxFile, both: Bundle) -> None:
    card = json.loads((exported.path.parent / "model.json").read_text())
    assert (card["opset"], card["gate"]["included"], card["mpp"]) == (hand_over.OPSET, True, both.mpp)
    assert card["hashes"] == both.hashes
    assert round(exported.agreement, 6) == card["agreement_with_torch"] >= hand_over.ENOUGH
    import onnx

    model = onnx.load(exported.path)
    assert {o.domain: o.version for o in model.opset_import}[""] == hand_over.OPSET
    assert [i.name for i in model.graph.input] == ["pixels"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # any number of tiles


def test_a_file_that_labels_differently_is_not_given_away(
    exported: OnnxFile, both: Bundle, tiles: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = exported.path.read_bytes()
    monkeypatch.setattr(hand_over, "_converted", lambda *_: content)
    monkeypatch.setattr(hand_over, "check_tiles", lambda *_: tiles)
    whole = hand_over._Whole.forward

    def other(self: Any, pixels: torch.Tensor) -> Any:
        labels, *rest = whole(self, pixels)
        return (labels + 1) % 3, *rest

    monkeypatch.setattr(hand_over._Whole, "forward", other)
    with pytest.raises(BundleError, match="not exported"):
        export_onnx(both, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_what_is_missing_is_named(both: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=r"napari-wsss\[onnx\]"):
        export_onnx(both, tmp_path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_wsinfer_gets_stage1(both: Bundle, tiles: Pixels, tmp_path: Path) -> None:
    folder = export_wsinfer(both, tmp_path / "w")
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "torchscript_model.pt"]
    config = json.loads((folder / "config.json").read_text())
    needed = {
        "spec_version",
        "architecture",
        "num_classes",
        "patch_size_pixels",
        "spacing_um_px",
        "class_names",
    }
    assert needed | {"transform"} <= set(config)
    assert (config["num_classes"], config["class_names"]) == (len(both.schema), list(both.schema.names))
    assert {step["name"] for step in config["transform"]} <= {"Resize", "ToTensor", "Normalize"}
    x = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
    found = torch.jit.load(folder / "torchscript_model.pt")(x)
    wanted = both.build_stage1()(x).sigmoid()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        export_wsinfer(both, tmp_path / "file")
