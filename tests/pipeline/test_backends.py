"""OpenVINO agrees with torch, the automatic choice is careful and stable, and its cache can be trusted or rebuilt."""

from __future__ import annotations

import builtins
import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_wsss.backends import agreement, courtesy, openvino_backend, select
from napari_wsss.backends.cache import Cache, user_cache
from napari_wsss.models.bundle import Bundle
from napari_wsss.predictor import BundlePredictor
from tiling.errors import DeviceError

Tiles = NDArray[np.uint8]
needs_openvino = pytest.mark.skipif(select.openvino_version() is None, reason="needs the extra openvino")


@pytest.fixture(autouse=True)
def _own_user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes to the real cache folder of whoever runs it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "user"))


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """The cache folder of the one who runs the test."""
    return tmp_path / "user" / "napari-wsss"


@pytest.fixture
def agrees(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[dict[tuple[str, str], float]], list[tuple[str, str]]]:
    """Set what the self-check measures for (backend, precision); the list returned collects what was checked."""

    def install(shares: dict[tuple[str, str], float]) -> list[tuple[str, str]]:
        checked: list[tuple[str, str]] = []

        def labels(backend: Any, tiles: Tiles, gate: Any) -> NDArray[np.int64]:
            kind = (backend.name, backend.precision)
            checked.append(kind)
            found = np.zeros(1000, np.int64)
            found[: round(1000 * (1 - shares.get(kind, 1.0)))] = 1
            return found

        monkeypatch.setattr(agreement, "labels", labels)
        return checked

    return install


@pytest.fixture
def bf16_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "torch_has_bf16", lambda device: True)
    monkeypatch.setattr(select, "openvino_has_bf16", lambda: True)


def in_use(predictor: BundlePredictor) -> tuple[str, str]:
    return predictor.backend, predictor.precision


# OpenVINO -------------------------------------------------------------------------------------------------


def test_openvino_says_what_torch_says(converted: Bundle, tiles: Tiles) -> None:
    reference = BundlePredictor(converted, "cpu", "fp32", backend="torch")(tiles, cam_side=16)
    found = BundlePredictor(converted, "cpu", "fp32", backend="openvino")(tiles, cam_side=16)
    assert reference.cams is not None
    assert found.cams is not None
    np.testing.assert_allclose(found.probabilities, reference.probabilities, atol=1e-4)
    np.testing.assert_allclose(found.presence, reference.presence, atol=1e-5)
    np.testing.assert_allclose(found.cams, reference.cams, atol=1e-4)


def test_openvino_in_mixed_precision(converted: Bundle, tiles: Tiles) -> None:
    reference = BundlePredictor(converted, "cpu", "fp32", gate=False, backend="torch")(tiles)
    found = BundlePredictor(converted, "cpu", "mixed", gate=False, backend="openvino")(tiles)
    assert np.abs(found.probabilities - reference.probabilities).max() < 0.1


@needs_openvino
def test_openvino_runs_a_bundle_without_stage_2(first_only: Bundle, tiles: Tiles) -> None:
    reference = BundlePredictor(first_only, "cpu", "fp32", backend="torch")(tiles)
    found = BundlePredictor(first_only, "cpu", "fp32", backend="openvino")(tiles)
    np.testing.assert_allclose(found.probabilities, reference.probabilities, atol=1e-4)


def test_openvino_gives_a_tile_the_same_bytes_in_every_batch(converted: Bundle, tiles: Tiles) -> None:
    predictor = BundlePredictor(converted, "cpu", "fp32", backend="openvino")
    together = predictor(tiles)
    alone = [predictor(tiles[i : i + 1]) for i in range(len(tiles))]
    np.testing.assert_array_equal(together.presence, np.concatenate([p.presence for p in alone]))
    np.testing.assert_array_equal(together.probabilities, np.concatenate([p.probabilities for p in alone]))


@needs_openvino
def test_moving_in_a_slide_changes_no_byte(
    converted: Bundle, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = BundlePredictor(converted, "cpu", "fp32", backend="openvino")
    infer, threads = openvino_backend._infer, set[str]()

    def noted(requests: list[Any], tile: Tiles) -> list[NDArray[Any]]:
        threads.add(threading.current_thread().name.rstrip("0123456789"))
        return infer(requests, tile)

    monkeypatch.setattr(openvino_backend, "_infer", noted)
    still = predictor(tiles)
    assert threads == {"openvino_"}
    monkeypatch.setattr(courtesy.Hand, "is_moving", True)
    moving = predictor(tiles)
    assert threads == {"openvino_"} | ({"openvino-behind_"} if courtesy.PRIORITIES else set())
    np.testing.assert_array_equal(still.probabilities, moving.probabilities)
    np.testing.assert_array_equal(still.presence, moving.presence)


def test_openvino_refuses_tiles_of_another_size(converted: Bundle, tiles: Tiles) -> None:
    predictor = BundlePredictor(converted, "cpu", "fp32", backend="openvino")
    with pytest.raises(ValueError, match=r"must be \(N, 64, 64, 3\)"):
        predictor(np.ascontiguousarray(tiles[:, :32, :32]))


def test_threads_are_those_of_torch(converted: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    backend: Any = BundlePredictor(converted, "cpu", "fp32", backend="openvino")._run
    assert backend._pool._max_workers == 1


# What is taken --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("bf16_everywhere")
@pytest.mark.parametrize(
    ("shares", "expected", "notes"),
    [
        ({}, ("openvino", "bf16"), 0),
        ({("openvino", "bf16"): 0.997}, ("openvino", "mixed"), 0),
        ({("openvino", "bf16"): 0.98, ("openvino", "mixed"): 0.99}, ("openvino", "fp32"), 2),
        ({("openvino", p): 0.9 for p in ("bf16", "mixed", "fp32")}, ("torch", "bf16"), 3),
        (
            {(b, p): 0.9 for b in ("openvino", "torch") for p in ("bf16", "mixed")}
            | {("openvino", "fp32"): 0.99},
            ("torch", "fp32"),
            5,
        ),
    ],
)
def test_auto_takes_the_fastest_that_agrees(
    converted: Bundle, agrees: Any, shares: dict[Any, float], expected: tuple[str, str], notes: int
) -> None:
    agrees(shares)
    predictor = BundlePredictor(converted, "cpu")
    assert in_use(predictor) == expected
    assert (predictor.identity["backend"], predictor.identity["precision"]) == expected
    assert len(predictor.notes) == notes, predictor.notes
    if expected[0] == "torch":
        assert any("OpenVINO in fp32 was not taken" in note and "99.85%" in note for note in predictor.notes)


@pytest.mark.usefixtures("bf16_everywhere")
def test_the_choice_is_remembered(converted: Bundle, agrees: Any) -> None:
    agrees({("openvino", "bf16"): 0.98, ("openvino", "mixed"): 0.98})
    first = BundlePredictor(converted, "cpu")
    checked = agrees({})  # would decide otherwise now
    again = BundlePredictor(converted, "cpu")
    assert not checked
    assert again.identity == first.identity
    assert again.notes == first.notes


@pytest.mark.usefixtures("bf16_everywhere")
def test_other_hardware_is_judged_anew(
    converted: Bundle, agrees: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agrees({})
    BundlePredictor(converted, "cpu")
    monkeypatch.setattr(select, "_hardware", lambda device: "another processor")
    checked = agrees({("openvino", "bf16"): 0.9})
    assert in_use(BundlePredictor(converted, "cpu")) == ("openvino", "mixed")
    assert ("openvino", "bf16") in checked


@pytest.mark.usefixtures("bf16_everywhere")
def test_a_precision_that_was_asked_for_is_not_judged(converted: Bundle, agrees: Any) -> None:
    checked = agrees({("openvino", "bf16"): 0.5})
    predictor = BundlePredictor(converted, "cpu", "bf16")
    assert in_use(predictor) == ("openvino", "bf16")
    assert not predictor.notes
    assert ("openvino", "fp32") in checked


@pytest.mark.usefixtures("bf16_everywhere")
def test_what_was_asked_for_needs_no_check(bundle: Bundle, agrees: Any) -> None:
    checked = agrees({})
    assert in_use(BundlePredictor(bundle, "cpu", "bf16", backend="torch")) == ("torch", "bf16")
    assert not checked


def test_without_bf16_hardware_there_is_only_fp32(
    bundle: Bundle, agrees: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agrees({})
    monkeypatch.setattr(select, "torch_has_bf16", lambda device: False)
    assert in_use(BundlePredictor(bundle, "cpu", backend="torch")) == ("torch", "fp32")


def test_without_openvino_auto_says_so_and_goes_on(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "openvino_version", lambda: None)
    predictor = BundlePredictor(bundle, "cpu", "fp32")
    assert in_use(predictor) == ("torch", "fp32")
    assert len(predictor.notes) == 1
    assert "pip install 'napari-wsss[openvino]'" in predictor.notes[0]
    with pytest.raises(DeviceError, match="not installed"):
        BundlePredictor(bundle, "cpu", backend="openvino")


def test_an_openvino_that_does_not_load_is_told(
    bundle: Bundle, agrees: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agrees({})
    monkeypatch.setattr(select, "openvino_version", lambda: "1.0")
    real = builtins.__import__

    def broken(name: str, *rest: Any, **more: Any) -> Any:
        if name == "openvino":
            raise ImportError("libtbb.so.12 is missing")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", broken)
    predictor = BundlePredictor(bundle, "cpu", "fp32")
    assert in_use(predictor) == ("torch", "fp32")
    assert "libtbb.so.12" in predictor.notes[0]


@needs_openvino
def test_networks_that_openvino_cannot_convert_run_on_torch(
    bundle: Bundle, agrees: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agrees({})

    def fails(*arguments: object) -> None:
        raise RuntimeError("No conversion rule for aten::strange\nat somewhere")

    monkeypatch.setattr("napari_wsss.backends.openvino_backend._convert", fails)
    predictor = BundlePredictor(bundle, "cpu", "fp32")
    assert in_use(predictor) == ("torch", "fp32")
    assert predictor.notes == (
        "OpenVINO in fp32 was not taken: OpenVINO cannot run these networks (No conversion rule for aten::strange); "
        "use --backend torch.",
    )


def test_openvino_is_for_the_cpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="runs on the CPU, not on cuda"):
        select.choose_backend(bundle, torch.device("cuda"), "auto", "openvino")


@pytest.mark.parametrize(("native", "expected"), [(True, ["bf16", "mixed", "fp32"]), (False, ["fp32"])])
def test_a_gpu_gets_bf16_only_in_hardware(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: list[str]
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native
    )
    found = list(select._candidates(torch.device("cuda"), "auto", "auto"))
    assert [(c.backend, c.precision) for c in found] == [("torch", p) for p in expected]


# The check itself -----------------------------------------------------------------------------------------


def test_check_tiles_are_fixed_and_hold_tissue() -> None:
    found = agreement.check_tiles(64, 0.5)
    agreement.check_tiles.cache_clear()
    np.testing.assert_array_equal(found, agreement.check_tiles(64, 0.5))
    assert found.shape == (64, 64, 64, 3)
    assert found.dtype == np.uint8
    assert found.mean() < 230
    assert len(np.unique(found.reshape(-1, 3), axis=0)) > 1000


@pytest.mark.parametrize(("tile", "mpp"), [(48, 0.05), (512, 8.0)])
def test_check_tiles_for_odd_models(tile: int, mpp: float) -> None:
    found = agreement.check_tiles(tile, mpp)
    assert len(found) >= 4
    assert found.shape[1:] == (tile, tile, 3)


def test_labels_of_the_check_are_gated_as_the_bundle_says(bundle: Bundle, tiles: Tiles) -> None:
    predictor = BundlePredictor(bundle, "cpu", "fp32", backend="torch")
    found = agreement.labels(predictor._run, tiles, bundle.gate)
    np.testing.assert_array_equal(found, predictor(tiles).probabilities.argmax(1))


# Cache ----------------------------------------------------------------------------------------------------


def _openvino(bundle: Bundle) -> BundlePredictor:
    return BundlePredictor(bundle, "cpu", "fp32", backend="openvino")


def test_a_second_start_converts_nothing_and_builds_no_torch_network(
    converted: Bundle, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _openvino(converted)(tiles).probabilities
    monkeypatch.setattr(Bundle, "build_stage1", lambda self: pytest.fail("the torch network was built"))
    np.testing.assert_array_equal(_openvino(converted)(tiles).probabilities, expected)


@pytest.fixture
def kept_folder(tmp_path: Path) -> Path:
    found = Cache(tmp_path).add_folder(
        "key", lambda folder: (folder / "model").write_bytes(b"0123456789") and None
    )
    assert found is not None
    return found


@pytest.mark.parametrize("change", [b"01234", b"012345678X", None])
def test_a_damaged_file_is_noticed(kept_folder: Path, change: bytes | None) -> None:
    kept = Cache(kept_folder.parent)
    assert kept.folder("key") == kept_folder
    if change is None:
        (kept_folder / "model").unlink()
    else:
        (kept_folder / "model").write_bytes(change)
    assert kept.folder("key") is None
    assert not kept_folder.exists()


@pytest.mark.parametrize("text", ["[1, 2", "[]", "{}", "3", '{"model": 1}'])
def test_a_damaged_list_of_digests_is_noticed(kept_folder: Path, text: str) -> None:
    (kept_folder / "digests.json").write_text(text)
    assert Cache(kept_folder.parent).folder("key") is None


def test_a_damaged_cache_is_rebuilt(converted: Bundle, user: Path, tiles: Tiles) -> None:
    expected = _openvino(converted)(tiles).probabilities
    (weights,) = [path for path in user.glob("*/part0.bin") if len(list(path.parent.iterdir())) == 3]
    content = weights.read_bytes()
    weights.unlink()  # it may be mapped into memory
    weights.write_bytes(content[: len(content) // 2])
    np.testing.assert_array_equal(_openvino(converted)(tiles).probabilities, expected)
    assert weights.read_bytes() == content


def test_other_weights_are_converted_anew(converted: Bundle, first_only: Bundle, user: Path) -> None:
    workshop = [select._Workshop(b, torch.device("cpu")) for b in (converted, first_only)]
    assert workshop[0]._networks != workshop[1]._networks
    facts = {**workshop[0]._networks, "openvino": select.openvino_version(), "cut": False}
    assert (user / select.key_of(facts) / "part0.xml").exists()


def test_the_cache_is_ignored_by_version_control_and_backups(user: Path) -> None:
    if sys.platform == "linux":
        assert user_cache().root == user
    assert (user / ".gitignore").read_text() == "*\n"
    assert (user / "CACHEDIR.TAG").exists()


def test_without_a_writable_cache_folder_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("a file where the folder should be: not even root can write there")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert user_cache() == Cache(None)


@needs_openvino
def test_a_cache_that_came_with_a_bundle_is_never_believed(
    converted: Bundle, user: Path, tiles: Tiles
) -> None:
    expected = _openvino(converted)(tiles).probabilities
    # Somebody copied a bundle and left converted networks in it, with other weights and digests that fit.
    planted = shutil.copytree(user, converted.path / ".cache")
    for weights in planted.glob("*/part0.bin"):
        weights.write_bytes(bytes(weights.stat().st_size))
        digests = weights.parent / "digests.json"
        names = json.loads(digests.read_text())
        digests.write_text(json.dumps({n: _sha256(weights.parent / n) for n in names}))
    before = sorted(p.name for p in planted.iterdir())
    shutil.rmtree(user)
    np.testing.assert_array_equal(_openvino(converted)(tiles).probabilities, expected)
    assert sorted(p.name for p in planted.iterdir()) == before


@needs_openvino
def test_a_request_that_fails_is_given_back(
    converted: Bundle, tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = _openvino(converted)
    expected = predictor(tiles).probabilities
    infer = openvino_backend._infer

    def failing(requests: list[Any], tile: Tiles) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(openvino_backend, "_infer", failing)
    for _ in range(3):  # more often than there are requests
        with pytest.raises(RuntimeError, match="out of memory"):
            predictor(tiles)
    monkeypatch.setattr(openvino_backend, "_infer", infer)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(predictor, tiles)
        np.testing.assert_array_equal(found.result(timeout=60).probabilities, expected)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@needs_openvino
def test_nothing_writable_still_works(
    bundle: Bundle, tiles: Tiles, agrees: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agrees({})
    monkeypatch.setattr(select, "user_cache", lambda: Cache(None))
    found = BundlePredictor(bundle, "cpu", "fp32")
    assert in_use(found) == ("openvino", "fp32")
    assert found(tiles).probabilities.shape == (5, 4, 64, 64)
    assert not (bundle.path / ".cache").exists()


def test_a_full_disk_keeps_nothing(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    assert Cache(tmp_path).add_folder("key", full) is None
    assert not list(tmp_path.iterdir())


def test_of_two_processes_that_convert_the_first_wins(tmp_path: Path) -> None:
    kept = Cache(tmp_path)

    def slow(folder: Path) -> None:
        (folder / "model").write_text("mine")
        Cache(tmp_path).add_folder("key", lambda other: (other / "model").write_text("theirs") and None)

    found = kept.add_folder("key", slow)
    assert found is not None
    assert (found / "model").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"agreement": "high"}'])
def test_damaged_facts_are_measured_again(tmp_path: Path, text: str) -> None:
    kept = Cache(tmp_path)
    kept.add_fact("key", {"agreement": 0.5})
    assert kept.fact("key") == {"agreement": 0.5}
    (tmp_path / "key.json").write_text(text)
    assert not isinstance((kept.fact("key") or {}).get("agreement"), float)


def test_a_damaged_fact_of_a_bundle_is_measured_again(converted: Bundle, user: Path, agrees: Any) -> None:
    agrees({})
    BundlePredictor(converted, "cpu", "fp32")
    (fact,) = user.glob("*.json")
    fact.write_text('{"agreement": "high"}')
    assert agrees({}) == []
    assert BundlePredictor(converted, "cpu", "fp32").backend == "openvino"
    assert json.loads(fact.read_text())["agreement"] == 1.0


def test_compiled_networks_answer_as_torch_does(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tracing alone: writing and compiling C++ takes a minute, and is not ours.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    tiles = np.random.default_rng(0).integers(0, 256, (3, bundle.tile, bundle.tile, 3), np.uint8)
    plain = BundlePredictor(bundle, device="cpu", backend="torch", precision="fp32")(tiles)
    predictor = BundlePredictor(bundle, device="cpu", backend="compile", precision="fp32")
    assert predictor.identity["backend"] == "compile"
    np.testing.assert_allclose(predictor(tiles).probabilities, plain.probabilities, atol=1e-4)


def test_a_machine_without_a_compiler_is_told_what_to_do(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(network: object) -> Callable[[object], object]:
        def call(tiles: object) -> object:
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nand a long trace")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(DeviceError, match=r"No working C\+\+ compiler found.*--backend torch"):
        BundlePredictor(bundle, device="cpu", backend="compile", precision="fp32")


@needs_openvino
def test_the_first_inference_is_over_before_two_threads_can_meet_in_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two first inferences at once hung for ever, once in some dozens of runs: a C++ static and the GIL, each held by
    # the thread that waited for the other.
    first: list[tuple[str, bool]] = []
    infer = openvino_backend._infer

    def noted(*arguments: Any) -> Any:
        first.append((threading.current_thread().name, openvino_backend._FIRST_INFERENCE.locked()))
        return infer(*arguments)

    monkeypatch.setattr(openvino_backend, "_infer", noted)
    BundlePredictor(bundle, device="cpu", backend="openvino", precision="fp32")
    assert first[0] == (threading.current_thread().name, True)


TELLS_NOBODY = """
import sys
from napari_wsss.backends.openvino_backend import openvino_has_bf16
openvino_has_bf16()
from openvino.tools.ovc import convert_impl, telemetry_utils
assert convert_impl.tm.__name__ == telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
assert "openvino_telemetry" not in sys.modules
"""


@needs_openvino
def test_no_conversion_is_reported_to_anybody() -> None:
    subprocess.run([sys.executable, "-c", TELLS_NOBODY], check=True)
