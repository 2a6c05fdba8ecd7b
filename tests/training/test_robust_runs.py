"""Runs that were damaged on disk, and disks that are full: one sentence, and the way out."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

import training.loop.keeper as keeper
from napari_wsss.models import load_bundle, resolve_schema
from napari_wsss.models.weights import read_safetensors, read_torch_file
from tiling.errors import BundleError, DataError, TrainingError
from tiling.files import read_json, write_json_atomic
from training import stage1
from training.settings import run_command


def command(root: Path, out: Path, *more: str) -> list[str]:
    data = ["--dataset", str(root / "schema.json"), "--dataroot", str(root), "--out", str(out)]
    small = ["--width", "0.1", "--least-side", "0", "--batch-size", "8", "--weights", "none", "--epochs", "2"]
    return [*data, *small, "--device", "cpu", "--quiet", "--no-pictures", *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, make_root: Any) -> Path:
    base: Path = tmp_path_factory.mktemp("robust")
    stage1.main(command(make_root(base / "data"), base / "s1"))
    return base


@pytest.fixture
def half_done(finished: Path, tmp_path: Path) -> Path:
    """A run whose bundle is missing, as if it was killed before the end."""
    import shutil

    shutil.copytree(finished / "s1", tmp_path / "s1")
    shutil.rmtree(tmp_path / "s1" / "bundle")
    return tmp_path / "s1"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def damage(kind: str, path: Path) -> None:
    whole = path.read_bytes()
    if kind == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "flipped":
        path.write_bytes(whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:])
    elif kind == "code":
        path.write_bytes(pickle.dumps(Bomb()))
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)


@pytest.mark.parametrize("kind", ["cut", "flipped", "code", "pipe"])
def test_a_damaged_checkpoint_is_not_continued(finished: Path, half_done: Path, kind: str) -> None:
    damage(kind, half_done / "checkpoints" / "last.ckpt")
    with pytest.raises(TrainingError, match=r"last\.ckpt is cut off or changed.*--restart"):
        stage1.main(command(finished / "data", half_done))


def test_a_checkpoint_with_code_is_refused_even_with_its_digest(finished: Path, half_done: Path) -> None:
    path = half_done / "checkpoints" / "last.ckpt"
    torch.save({"epoch": 1, "bomb": Bomb()}, path)
    write_json_atomic(half_done / "checkpoints" / "last.json", [keeper.sha256_of(path)])
    with pytest.raises(TrainingError, match="holds code"):
        stage1.main(command(finished / "data", half_done))


def test_a_kill_between_digest_and_checkpoint_does_no_harm(finished: Path, half_done: Path) -> None:
    sums = half_done / "checkpoints" / "last.json"
    write_json_atomic(
        sums, ["0" * 64, *read_json(sums)[:1]]
    )  # the next digest is known, its file is not there
    stage1.main(command(finished / "data", half_done))
    assert (half_done / "bundle" / "model.json").is_file()


def test_a_full_disk_is_one_sentence_and_leaves_no_part(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        Path(args[1]).write_bytes(b"part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keeper, "save_file", full)
    with pytest.raises(TrainingError, match=r"best\.safetensors cannot be written \(No space left"):
        stage1.main(command(finished / "data", tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.tmp"))


@pytest.mark.parametrize("text", ['{"a":' * 3000 + "1" + "}" * 3000, "[" * 100_000, "{"])
def test_run_json_that_nobody_can_read(finished: Path, half_done: Path, text: str) -> None:
    (half_done / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json is damaged; pass --restart"):
        stage1.main(command(finished / "data", half_done))


def write_model(folder: Path, old: str, new: str) -> None:
    path = folder / "model.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"mpp": 1.0', '"mpp": 1' + "0" * 400),
        ('"tile": 32', '"tile": 1' + "0" * 400),
        ("0.25", "1" + "0" * 400),
        ('"width": 0.1', '"width": 1' + "0" * 400),
        ('"width": 0.1', '"width": 1e308'),
        ('"name"', '"x": ' + "[" * 5000 + "]" * 5000 + ', "name"'),
    ],
)
def test_bundles_with_odd_numbers(finished: Path, tmp_path: Path, old: str, new: str) -> None:
    import shutil

    shutil.copytree(finished / "s1" / "bundle", tmp_path / "b")
    write_model(tmp_path / "b", old, new)
    with pytest.raises(BundleError, match=r"model\.json"):
        load_bundle(tmp_path / "b").build_stage1()


def test_pipes_and_devices_are_no_files(finished: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(finished / "s1" / "bundle", tmp_path / "b")
    weights = tmp_path / "b" / "stage1.safetensors"
    weights.unlink()
    weights.symlink_to("/dev/zero")
    for verify in (True, False):
        with pytest.raises(BundleError, match="no ordinary file"):
            load_bundle(tmp_path / "b", verify).build_stage1()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for read in (read_safetensors, read_torch_file):
        with pytest.raises(BundleError, match=r"pipe: cannot be read"):
            read(pipe)
    with pytest.raises(BundleError, match="neither a known class schema"):
        resolve_schema(pipe)
    (tmp_path / "b" / "model.json").unlink()
    os.mkfifo(tmp_path / "b" / "model.json")
    with pytest.raises(BundleError, match="not an ordinary file"):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize(
    ("error", "told", "words"),
    [
        (OSError("Cannot allocate memory (os error 12)"), MemoryError, "allocate memory"),
        (
            OSError(errno.EMFILE, "Too many open files"),
            BundleError,
            r"\(Too many .*\); mend that and try again",
        ),
        (
            SafetensorError("MetadataIncompleteBuffer"),
            BundleError,
            "MetadataIncomplete.*copy the bundle again",
        ),
    ],
)
def test_what_the_machine_lacks_is_no_fault_of_the_weights(
    error: Exception, told: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise error

    monkeypatch.setattr("napari_wsss.models.weights.load_file", refuse)
    with pytest.raises(told, match=words):
        read_safetensors(tmp_path / "stage1.safetensors")


@pytest.mark.parametrize("name", [None, "/data/masks/.wsss-0123.tmp"])
def test_a_disk_that_fills_up_elsewhere_is_one_sentence_too(
    name: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", name)

    with pytest.raises(SystemExit) as left:
        run_command(fail, [])
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {'/data/masks' if name else 'The disk'}: No space left on device; free")
    assert ".tmp" not in said
