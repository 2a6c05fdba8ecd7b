from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_wsss.models import (
    DeepLabV3Plus,
    Gate,
    LiteClassifier,
    bundle as bundle_module,
    default_bundle,
    list_bundles,
    load_bundle,
    save_bundle,
)
from napari_wsss.models.schemas import BCSS, LUAD, resolve_schema
from tiling.errors import BundleError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "tiny"
    save_bundle(
        path,
        name="tiny",
        description="for tests",
        licence="CC0",
        training_data="noise",
        schema=BCSS,
        mpp=0.5,
        tile=64,
        stage1=LiteClassifier(4, width=0.1),
        stage2=DeepLabV3Plus(4, "efficientnet-lite0", width=0.1, head_channels=8),
        gate=Gate((0.1, 0.2, 0.3, 0.4)),
        metrics={"miou": 0.5},
        provenance={"command": "pytest"},
    )
    return path


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_round_trip(folder: Path, tmp_path: Path) -> None:
    bundle = load_bundle(folder)
    assert (bundle.name, bundle.licence, bundle.mpp, bundle.tile) == ("tiny", "CC0", 0.5, 64)
    assert bundle.schema == BCSS
    assert bundle.gate == Gate((0.1, 0.2, 0.3, 0.4), "mask")
    assert bundle.metrics == {"miou": 0.5}
    assert bundle.hashes.keys() == {"stage1", "stage2"}
    stage1, stage2 = bundle.build_stage1(), bundle.build_stage2()
    assert stage2 is not None
    assert not stage1.training
    assert not stage2.training
    again = save_bundle(
        tmp_path / "again", name="again", schema=BCSS, mpp=0.5, tile=64, stage1=stage1, stage2=stage2
    )
    assert again.hashes == bundle.hashes, "the same weights give the same files"
    assert sorted(p.name for p in folder.iterdir()) == [
        "model.json",
        "stage1.safetensors",
        "stage2.safetensors",
    ]


def test_half_precision_storage_loads_as_float32(tmp_path: Path) -> None:
    model = LiteClassifier(4, width=0.1).eval()
    with torch.no_grad():
        model.encoder._bn0.running_var.fill_(1e6)  # beyond half precision
    full = save_bundle(tmp_path / "full", name="full", schema=BCSS, mpp=1, tile=64, stage1=model)
    half = save_bundle(
        tmp_path / "half", name="half", schema=BCSS, mpp=1, tile=64, stage1=model, dtype="float16"
    )
    assert half.stage1.dtype == "float16"
    size = [(b.path / "stage1.safetensors").stat().st_size for b in (half, full)]
    assert size[0] < 0.75 * size[1]
    network = half.build_stage1()
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert float(network.get_buffer("encoder._bn0.running_var").max()) == 1e6
    x = torch.rand(2, 3, 64, 64)
    assert torch.allclose(network(x), model(x), atol=1e-2)


def test_a_bundle_with_stage_1_only(tmp_path: Path) -> None:
    bundle = save_bundle(
        tmp_path / "b", name="b", schema=LUAD, mpp=1, tile=64, stage1=LiteClassifier(4, width=0.1)
    )
    assert bundle.stage2 is None
    assert bundle.build_stage2() is None
    assert bundle.hashes.keys() == {"stage1"}


def test_reading_a_bundle_loads_no_torch(folder: Path) -> None:
    code = (
        "import sys; from napari_wsss.models.bundle import load_bundle; import napari_wsss.models;"
        f"load_bundle({str(folder)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 99}, "newer than this program"),
        ({"format_version": None}, "no format_version"),
        ({"schema": {"name": "x"}}, "schema"),
        ({"mpp": 0}, "mpp"),
        ({"mpp": float("nan")}, "mpp"),
        ({"mpp": None}, "model.json"),
        ({"tile": 3}, "tile"),
        ({"tile": 224.5}, "tile"),
        ({"stage1": None}, "stage1"),
        (
            {"stage1": {"architecture": "vgg", "file": "a.safetensors", "sha256": "0" * 64}},
            "unknown architecture",
        ),
        (
            {"stage1": {"architecture": "resnet38", "file": "../a.safetensors", "sha256": "0" * 64}},
            "same folder",
        ),
        ({"stage1": {"architecture": "resnet38", "file": "a.pth", "sha256": "0" * 64}}, "safetensors"),
        ({"stage1": {"architecture": "resnet38", "file": "a.safetensors"}}, "sha256"),
        (
            {"stage1": {"architecture": ["resnet38"], "file": "a.safetensors", "sha256": "0" * 64}},
            "model.json",
        ),
        ({"gate": {"thresholds": [0.1, 0.2]}}, "gate thresholds"),
        ({"gate": {"thresholds": [2]}}, "gate thresholds"),
        ({"gate": {"thresholds": "high"}}, "model.json"),
        ({"gate": {"mode": "soft"}}, "gate mode"),
        ({"gate": [0.1]}, "gate"),
        ({"metrics": 3}, "metrics"),
    ],
)
def test_a_wrong_entry_names_model_json(folder: Path, changes: dict[str, Any], words: str) -> None:
    edit(folder, **changes)
    with pytest.raises(BundleError, match=words) as caught:
        load_bundle(folder)
    assert str(folder / "model.json") in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "3", ""])
def test_bad_json(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(BundleError, match=r"model\.json"):
        load_bundle(folder)


def test_json_that_is_not_text(folder: Path) -> None:
    (folder / "model.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match=r"model\.json"):
        load_bundle(folder)


def test_missing_pieces(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="neither a bundle folder nor an embedded"):
        load_bundle(tmp_path / "nowhere")
    (folder / "stage2.safetensors").unlink()
    with pytest.raises(BundleError, match=r"stage2\.safetensors: the weights file is missing"):
        load_bundle(folder)
    with pytest.raises(BundleError, match=r"stage2\.safetensors: the weights file is missing"):
        load_bundle(folder, verify=False).build_stage2()
    (folder / "model.json").unlink()
    with pytest.raises(BundleError, match=r"model\.json: the file is missing"):
        load_bundle(folder)


def test_changed_weights_are_noticed(folder: Path) -> None:
    path = folder / "stage1.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"stage1\.safetensors: the weights differ from the digest"):
        load_bundle(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    data = json.loads((folder / "model.json").read_text())
    data["stage1"]["arguments"]["width"] = 0.2
    edit(folder, stage1=data["stage1"])
    with pytest.raises(
        BundleError, match=r"stage1\.safetensors: the weights do not fit LiteClassifier: .*shape"
    ):
        load_bundle(folder).build_stage1()


def test_unknown_arguments(folder: Path) -> None:
    data = json.loads((folder / "model.json").read_text())
    data["stage1"]["arguments"]["depth"] = 2
    edit(folder, stage1=data["stage1"])
    with pytest.raises(BundleError, match=r"model\.json: efficientnet-lite0 cannot be built"):
        load_bundle(folder).build_stage1()


def test_damaged_safetensors(folder: Path) -> None:
    path = folder / "stage1.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BundleError, match=r"stage1\.safetensors: cannot be read as safetensors"):
        load_bundle(folder, verify=False).build_stage1()


def test_an_existing_folder_is_kept_unless_told(folder: Path, tmp_path: Path) -> None:
    model = LiteClassifier(4, width=0.1)
    before = load_bundle(folder).hashes["stage1"]
    with pytest.raises(BundleError, match="exists already"):
        save_bundle(folder, name="x", schema=BCSS, mpp=1, tile=64, stage1=model)
    after = save_bundle(folder, name="x", schema=BCSS, mpp=1, tile=64, stage1=model, overwrite=True)
    assert after.hashes["stage1"] != before
    assert not (folder / "stage2.safetensors").exists()
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.txt").write_text("meow")
    with pytest.raises(BundleError, match="is no bundle"):
        save_bundle(other, name="x", schema=BCSS, mpp=1, tile=64, stage1=model, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "tiny"], "nothing is left behind"


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    model = LiteClassifier(4, width=0.1)
    with pytest.raises(BundleError, match="JSON-ready"):
        save_bundle(
            tmp_path / "b", name="b", schema=BCSS, mpp=1, tile=64, stage1=model, metrics={"m": float("nan")}
        )
    with pytest.raises(BundleError, match="3 classes but the schema has 4"):
        save_bundle(
            tmp_path / "b", name="b", schema=BCSS, mpp=1, tile=64, stage1=LiteClassifier(3, width=0.1)
        )
    with pytest.raises(BundleError, match="float8"):
        save_bundle(tmp_path / "b", name="b", schema=BCSS, mpp=1, tile=64, stage1=model, dtype="float8")
    for wrong in ({"mpp": -1}, {"tile": 3}, {"gate": Gate((2.0,))}, {"gate": Gate((0.1, 0.2))}):
        with pytest.raises(BundleError, match=r"b/model\.json"):
            save_bundle(
                tmp_path / "b",
                **({"name": "b", "schema": BCSS, "mpp": 1, "tile": 64, "stage1": model} | wrong),
            )
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="exists already"):
        save_bundle(tmp_path / "file", name="b", schema=BCSS, mpp=1, tile=64, stage1=model)
    with pytest.raises(BundleError, match="is no bundle"):
        save_bundle(tmp_path / "file", name="b", schema=BCSS, mpp=1, tile=64, stage1=model, overwrite=True)
    with pytest.raises(BundleError, match="cannot be written"):
        save_bundle(tmp_path / "file" / "b", name="b", schema=BCSS, mpp=1, tile=64, stage1=model)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_embedded_bundles_go_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "EMBEDDED", folder.parent)
    assert list_bundles() == ["tiny"]
    assert load_bundle("tiny").path == folder
    assert load_bundle(folder / "model.json").path == folder


def test_schemas(tmp_path: Path) -> None:
    assert resolve_schema("bcss") is BCSS
    assert resolve_schema("LUAD") is LUAD
    assert resolve_schema(BCSS) is BCSS
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(LUAD.to_dict()))
    assert resolve_schema(path) == LUAD
    assert LUAD.white_background
    assert not BCSS.white_background
    assert [c.rgb for c in LUAD.classes] == [(205, 51, 51), (0, 255, 0), (65, 105, 225), (255, 165, 0)]
    assert [c.rgb for c in BCSS.classes] == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (153, 0, 255)]
    for text in ("{", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(BundleError, match=r"schema\.json: not a class schema"):
            resolve_schema(path)
    with pytest.raises(BundleError, match="neither a known class schema"):
        resolve_schema(tmp_path / "none.json")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_others_may_read_a_bundle(folder: Path) -> None:
    for path in (folder, *folder.iterdir()):
        assert path.stat().st_mode & 0o044 == 0o044


def test_built_networks_train_like_fresh_ones(folder: Path) -> None:
    network = load_bundle(folder).build_stage1()
    fresh = LiteClassifier(4, width=0.1)
    flags = {name: p.requires_grad for name, p in fresh.named_parameters()}
    assert {name: p.requires_grad for name, p in network.named_parameters()} == flags
    assert {t.device.type for t in network.state_dict().values()} == {"cpu"}
    network.train()(torch.rand(2, 3, 32, 32)).sum().backward()
    # the file is not mapped into the network: it may be replaced while the network lives
    before = network.get_parameter("classifier.weight").detach().clone()
    (folder / "stage1.safetensors").write_bytes(b"\0" * 10)
    assert torch.equal(network.get_parameter("classifier.weight"), before)


def test_counters_may_be_absent(folder: Path) -> None:
    path = folder / "stage1.safetensors"
    state = {k: v for k, v in load_file(path).items() if not k.endswith("num_batches_tracked")}
    save_file(state, path)
    network = load_bundle(folder, verify=False).build_stage1()
    assert network.get_buffer("encoder._bn0.num_batches_tracked").item() == 0
    network(torch.rand(1, 3, 32, 32))


def test_the_default_is_the_best_one_embedded() -> None:
    assert default_bundle(["crc-demo", "synthetic-demo"]) == "crc-demo"
    assert default_bundle(["other", "synthetic-demo"]) == "synthetic-demo"
    assert default_bundle(["other"]) == "other"
    with pytest.raises(BundleError, match="--model"):
        default_bundle([])
