from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import Tensor

from napari_wsss.models import DeepLabV3Plus, ResNet38, load_bundle
from napari_wsss.models.legacy import (
    import_checkpoints,
    load_stage1_weights,
    load_stage2_weights,
    read_mxnet_params,
    read_state_dict,
    resnet38_from_mxnet,
)
from tiling.errors import BundleError

NARROW1 = {"width": 0.05}
NARROW2 = {"backbone": "efficientnet-lite0", "width": 0.2, "head_channels": 8}


def mxnet_array(array: np.ndarray, form: str = "v2", code: int | None = None) -> bytes:
    codes = {"f4": 0, "f8": 1, "f2": 2, "u1": 3, "i4": 4, "i1": 5, "i8": 6}
    head = {"v2": struct.pack("<Ii", 0xF993FAC9, 0), "v1": struct.pack("<I", 0xF993FAC8), "legacy": b""}[form]
    letter = "I" if form == "legacy" else "q"
    shape = struct.pack(f"<I{array.ndim}{letter}", array.ndim, *array.shape)
    kind = codes[array.dtype.str[1:]] if code is None else code
    return head + shape + struct.pack("<3i", 1, 0, kind) + array.tobytes()


def mxnet_file(arrays: dict[str, bytes], count: int | None = None, names: int | None = None) -> bytes:
    head = struct.pack("<3Q", 0x112, 0, len(arrays) if count is None else count)
    tail = struct.pack("<Q", len(arrays) if names is None else names)
    for name in arrays:
        tail += struct.pack("<Q", len(name)) + name.encode()
    return head + b"".join(arrays.values()) + tail


def to_mxnet(state: dict[str, Tensor]) -> bytes:
    """Write a ResNet38 state the way MXNet names it."""
    parts = {
        "weight": "arg:{}_gamma",
        "bias": "arg:{}_beta",
        "running_mean": "aux:{}_moving_mean",
        "running_var": "aux:{}_moving_var",
    }
    arrays = {}
    for key, value in state.items():
        *path, part = key.split(".")
        if part == "num_batches_tracked" or path == ["fc8"]:
            continue
        if len(path) == 2:
            stage, _, unit = path[0][1:].partition("_")
            kind, branch = path[1].split("_")
            layer = ("res" if kind == "conv" else "bn") + stage + (f"b{unit}" if unit else "a") + "_" + branch
        else:
            kind, layer = ("bn", "bn7") if path == ["bn7"] else ("conv", path[0])
        name = f"arg:{layer}_weight" if kind == "conv" else parts[part].format(layer)
        arrays[name] = mxnet_array(value.numpy())
    arrays["arg:linear1000_weight"] = mxnet_array(np.zeros((1000, 8), np.float32))
    return mxnet_file(arrays)


# --- MXNet -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["v2", "v1", "legacy"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "u1", "i4", "i1", "i8"])
def test_every_version_and_type(tmp_path: Path, form: str, dtype: str) -> None:
    expected = np.arange(24).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / "a.params"
    path.write_bytes(
        mxnet_file({"arg:x": mxnet_array(expected, form), "aux:y": mxnet_array(expected[0], form)})
    )
    found = read_mxnet_params(path)
    assert list(found) == ["arg:x", "aux:y"]
    assert found["arg:x"].dtype == expected.dtype
    assert np.array_equal(found["arg:x"], expected)
    assert np.array_equal(found["aux:y"], expected[0])


def test_a_truncated_file_is_always_a_clear_error(tmp_path: Path) -> None:
    content = mxnet_file(
        {
            "arg:x": mxnet_array(np.ones((2, 3), np.float32)),
            "aux:y": mxnet_array(np.ones(3, np.float32), "legacy"),
        }
    )
    path = tmp_path / "cut.params"
    path.write_bytes(content)
    assert len(read_mxnet_params(path)) == 2
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(BundleError, match=r"cut\.params"):
            read_mxnet_params(path)


FORGED = {
    "another magic": b"\0" * 64,
    "more arrays than bytes": mxnet_file({}, count=2**60),
    "more names than arrays": mxnet_file({"arg:x": mxnet_array(np.ones(3, np.float32))}, names=2**60),
    "a huge dimension": mxnet_file(
        {"arg:x": struct.pack("<IiI2q3i", 0xF993FAC9, 0, 2, 2**40, 2**40, 1, 0, 0)}
    ),
    "a negative dimension": mxnet_file({"arg:x": struct.pack("<IiIq3i", 0xF993FAC9, 0, 1, -4, 1, 0, 0)}),
    "too many dimensions": mxnet_file({"arg:x": struct.pack("<I", 2**31)}),
    "an unknown type": mxnet_file({"arg:x": mxnet_array(np.ones(3, np.float32), code=9)}),
    "a sparse array": mxnet_file({"arg:x": struct.pack("<Ii", 0xF993FAC9, 1) + b"\0" * 40}),
    "a name that is not text": mxnet_file({"arg:x": mxnet_array(np.ones(3, np.float32))}).replace(
        b"arg:x", b"arg:\xff"
    ),
}


@pytest.mark.parametrize("content", FORGED.values(), ids=FORGED.keys())
def test_forged_sizes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "forged.params"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"forged\.params: not a complete MXNet"):
        read_mxnet_params(path)


def test_an_array_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "none.params"
    path.write_bytes(mxnet_file({"arg:x": struct.pack("<IiI", 0xF993FAC9, 0, 0)}))
    assert read_mxnet_params(path)["arg:x"].size == 0


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_never_give_another_error(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(mxnet_file({"arg:x": mxnet_array(np.ones((2, 2), np.float32))}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.params"
    path.write_bytes(content)
    try:
        found = read_mxnet_params(path)
    except BundleError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(content)


def test_mxnet_weights_fill_all_but_the_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = ResNet38(4, **NARROW1), ResNet38(7, **NARROW1)
    path = tmp_path / "imagenet.params"
    path.write_bytes(to_mxnet(source.state_dict()))
    head = target.fc8.weight.clone()
    assert load_stage1_weights(target, path) is False
    for key, value in target.state_dict().items():
        assert torch.equal(value, head if key == "fc8.weight" else source.state_dict()[key]), key


def test_units_written_as_letters() -> None:
    names = ("arg:res5b_branch2a_weight", "aux:bn5c_branch2b1_moving_var")
    state = resnet38_from_mxnet({name: np.ones(1, np.float32) for name in names})
    assert list(state) == ["b5_1.conv_branch2a.weight", "b5_2.bn_branch2b1.running_var"]


def test_another_mxnet_network_is_refused() -> None:
    with pytest.raises(BundleError, match="no part of ResNet38"):
        resnet38_from_mxnet({"arg:conv0_weight": np.ones(1, np.float32)}, "vgg.params")


# --- PyTorch ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks() -> tuple[ResNet38, DeepLabV3Plus]:
    torch.manual_seed(0)
    return ResNet38(4, **NARROW1).eval(), DeepLabV3Plus(4, **NARROW2).eval()  # type: ignore[arg-type]


@pytest.fixture
def files(tmp_path: Path, networks: tuple[ResNet38, DeepLabV3Plus]) -> tuple[Path, Path]:
    """Checkpoints in the published layouts, of narrow networks."""
    stage1, stage2 = tmp_path / "stage1_checkpoint_trained_on_bcss.pth", tmp_path / "stage2.pth"
    torch.save(networks[0].state_dict(), stage1)
    optimiser = torch.optim.SGD(networks[1].parameters(), 0.01, momentum=0.9)
    torch.save({"state_dict": networks[1].state_dict(), "optimizer": optimiser.state_dict()}, stage2)
    return stage1, stage2


def test_import_makes_a_bundle_with_the_same_logits(
    files: tuple[Path, Path], tmp_path: Path, networks: tuple[ResNet38, DeepLabV3Plus]
) -> None:
    folder = import_checkpoints(
        *files, "bcss", tmp_path / "bundle", stage1_arguments=NARROW1, stage2_arguments=NARROW2
    )
    bundle = load_bundle(folder)
    assert (bundle.name, bundle.schema.name, bundle.mpp, bundle.tile) == ("bundle", "bcss", 1.0, 224)
    assert bundle.gate.thresholds == (0.1,)
    assert bundle.provenance["stage1"]["file"] == files[0].name
    x = torch.rand(1, 3, 32, 32)
    stage2 = bundle.build_stage2()
    assert stage2 is not None
    assert torch.equal(bundle.build_stage1()(x), networks[0](x))
    assert torch.equal(stage2(x), networks[1](x))


def test_import_of_stage_1_alone(files: tuple[Path, Path], tmp_path: Path) -> None:
    folder = import_checkpoints(
        files[0], None, "luad", tmp_path / "one", name="mine", stage1_arguments=NARROW1
    )
    assert load_bundle(folder).stage2 is None
    assert load_bundle(folder).name == "mine"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
        lambda state: {"state_dict": state, "best_pred": np.float64(0.7), "epoch": np.int64(3)},
    ],
    ids=["bare", "wrapped", "parallel", "numpy score"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_layouts(
    tmp_path: Path, networks: tuple[ResNet38, DeepLabV3Plus], wrap: Callable[[Any], Any], zipped: bool
) -> None:
    path = tmp_path / "c.pth.tar"
    torch.save(wrap(networks[1].state_dict()), path, _use_new_zipfile_serialization=zipped)
    target = DeepLabV3Plus(4, **NARROW2)  # type: ignore[arg-type]
    assert load_stage2_weights(target, path) is True
    for key, value in networks[1].state_dict().items():
        assert torch.equal(target.state_dict()[key], value)


def test_numpy_numbers_under_their_former_name(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({"state_dict": {"w": torch.ones(2)}, "best_pred": np.float64(0.7)}, path)
    renamed = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(renamed, "w") as target:
        for entry in source.namelist():
            content = source.read(entry)
            target.writestr(entry, content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    path.write_bytes(renamed.getvalue())
    assert read_state_dict(path)["w"].tolist() == [1, 1]


def test_voc_weights_leave_the_last_layer_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    voc, target = (DeepLabV3Plus(n, **NARROW2) for n in (21, 4))  # type: ignore[arg-type]
    path = tmp_path / "deeplab-resnet.pth.tar"
    torch.save({"epoch": 50, "state_dict": voc.state_dict(), "best_pred": 0.7}, path)
    head = target.decoder.last_conv[8].weight.clone()
    assert load_stage2_weights(target, path) is False
    assert torch.equal(target.state_dict()["decoder.last_conv.8.weight"], head)
    assert torch.equal(target.state_dict()["aspp.conv1.weight"], voc.state_dict()["aspp.conv1.weight"])


def test_import_refuses_another_number_of_classes(files: tuple[Path, Path], tmp_path: Path) -> None:
    schema = tmp_path / "two.json"
    schema.write_text(
        '{"name": "two", "classes": [{"name": "a", "abbreviation": "A", "color": "#000000"},'
        ' {"name": "b", "abbreviation": "B", "color": "#ffffff"}]}'
    )
    with pytest.raises(BundleError, match=r"stage1_checkpoint.*not for the 2 classes of schema 'two'"):
        import_checkpoints(*files, schema, tmp_path / "out", stage1_arguments=NARROW1)
    voc = tmp_path / "voc.pth.tar"
    torch.save({"state_dict": DeepLabV3Plus(21, **NARROW2).state_dict()}, voc)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"voc\.pth\.tar: its last layer"):
        import_checkpoints(
            files[0], voc, "bcss", tmp_path / "out", stage1_arguments=NARROW1, stage2_arguments=NARROW2
        )
    assert not (tmp_path / "out").exists()


def test_swapped_files_are_noticed(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"stage2\.pth: the weights do not fit ResNet38"):
        import_checkpoints(
            files[1], files[0], "bcss", tmp_path / "out", stage1_arguments=NARROW1, stage2_arguments=NARROW2
        )


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_nothing_is_executed(tmp_path: Path) -> None:
    path, target = tmp_path / "evil.pth", tmp_path / "touched"
    torch.save({"state_dict": Evil(target)}, path)
    with pytest.raises(BundleError, match=r"evil\.pth: not a plain PyTorch weights file"):
        read_state_dict(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "content", [{}, [1, 2], {"state_dict": {}}, {"state_dict": {"a": 1}}, {1: torch.ones(1)}, torch.ones(2)]
)
def test_other_contents_are_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(BundleError, match=r"other\.pth: holds"):
        read_state_dict(path)


def test_unreadable_files(tmp_path: Path, files: tuple[Path, Path]) -> None:
    with pytest.raises(BundleError, match=r"none\.pth: .*missing"):
        load_stage1_weights(ResNet38(4, **NARROW1), tmp_path / "none.pth")
    with pytest.raises(BundleError, match=r"none\.pth: .*missing"):
        read_state_dict(tmp_path / "none.pth")
    with pytest.raises(BundleError, match=r"none\.params: .*missing"):
        read_mxnet_params(tmp_path / "none.params")
    with pytest.raises(BundleError, match="cannot be read"):
        load_stage1_weights(ResNet38(4, **NARROW1), tmp_path)
    whole = files[0].read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        files[0].write_bytes(whole[:length])
        with pytest.raises(BundleError, match="stage1_checkpoint"):
            read_state_dict(files[0])
    files[0].write_text("not weights at all")
    with pytest.raises(BundleError, match="stage1_checkpoint"):
        read_state_dict(files[0])
