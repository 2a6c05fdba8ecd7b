"""`wsss-tile run`: results, failures told in one sentence, exit codes."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from napari_wsss.cli import run
from napari_wsss.cli.run import SegmentSlide
from napari_wsss.pipeline import Settings
from tiling.store.reader import open_store
from tiling.store.receipt import verify

Call = Callable[..., Any]


def summary(out: Path) -> dict[str, dict[str, str]]:
    with (out / "summary.csv").open(newline="") as file:
        return {row["slide_id"]: row for row in csv.DictReader(file)}


def copies(slide: Path, folder: Path, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [Path(shutil.copy(slide, folder / f"{name}.tif")) for name in names]


def test_a_slide_becomes_a_complete_store_a_row_and_a_path(
    wsss: Call, tmp_path: Path, slide: Path, bundle: Path
) -> None:
    answer = wsss("run", slide, "--model", bundle, "--out", tmp_path / "out")
    store = tmp_path / "out" / "small.zarr"
    assert (answer.code, answer.out) == (0, f"{store}\n")
    assert verify(store).ok
    row = summary(tmp_path / "out")["small"]
    assert (row["status"], row["error"]) == ("done", "")
    assert int(row["tiles"]) > 0
    areas = {key: float(value) for key, value in row.items() if key.startswith("area_mm2_")}
    assert list(areas) == ["area_mm2_TUM", "area_mm2_STR", "area_mm2_LYM", "area_mm2_NEC"]
    assert sum(areas.values()) == pytest.approx(sum(open_store(store).areas.values()), abs=1e-5)

    again = wsss("run", slide, "--model", bundle, "--out", tmp_path / "out", "--json")
    (row,) = again.json
    assert (again.code, row["status"]) == (0, "cached")
    assert (row["tiles"], row["store"]) == (int(summary(tmp_path / "out")["small"]["tiles"]), str(store))
    assert "receipt checked" in again.err


def test_options_reach_the_engine(wsss: Call, tmp_path: Path, slide: Path, bundle: Path) -> None:
    options = ["--overlap", 0, "--no-gate", "--region", "100,100,300,200", "--no-tissue-mask", "--mpp", 0.4]
    options += [
        "--batch-size",
        3,
        "--cams",
        "--probabilities",
        "--read-errors",
        "fill",
        "--precision",
        "fp32",
    ]
    answer = wsss("run", slide, "--model", bundle, "--out", tmp_path, *options)
    assert answer.code == 0, answer.err
    run = open_store(tmp_path / "small.zarr").run
    assert run["resolution"] == {"mpp": 0.4, "source": "--mpp"}
    assert run["parameters"]["overlap"] == 0
    assert run["parameters"]["tissue"] is None
    assert run["parameters"]["region"] == {"x": 100, "y": 100, "width": 300, "height": 200}
    assert (run["parameters"]["cams"], run["parameters"]["probabilities"]) == (True, True)
    assert run["model"]["gate"]["on"] is False
    assert run["model"]["precision"] == "fp32"


def test_colours_are_converted_on_request_and_the_store_says_so(
    wsss: Call, tmp_path: Path, slide: Path, bundle: Path
) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = tmp_path / "a.png"
    Image.fromarray(np.full((150, 150, 3), 120, np.uint8)).save(picture, icc_profile=profile)
    command = ["run", picture, "--model", bundle, "--out", tmp_path, "--mpp", 0.5, "--no-tissue-mask"]
    assert wsss(*command, "--icc").code == 0
    receipt = open_store(tmp_path / "a.zarr").receipt
    assert receipt is not None
    assert any("ICC" in warning for warning in receipt["warnings"])
    stored = wsss(*command)
    assert stored.code == 1
    assert "in sRGB" in stored.err


def test_exports_beside_the_store(wsss: Call, tmp_path: Path, slide: Path, bundle: Path) -> None:
    answer = wsss("run", slide, "--model", bundle, "--out", tmp_path, "--export", "geojson,tiff,csv,png")
    assert answer.code == 0, answer.err
    endings = ["areas.csv", "geojson", "labels.ome.tif", "overview.png", "tiles.csv", "zarr"]
    assert sorted(p.name for p in tmp_path.glob("small.*")) == [f"small.{ending}" for ending in endings]


def test_each_bad_slide_is_one_sentence_and_the_others_are_done(
    tmp_path: Path, slide: Path, bundle: Path
) -> None:
    """A real process: nothing but the sentence may reach a user, not even from an atexit hook."""
    folder, out = tmp_path / "slides", tmp_path / "out"
    first, last = copies(slide, folder, "a-good", "z-good")
    Image.fromarray(np.full((300, 300, 3), 200, np.uint8)).save(folder / "no-mpp.png")
    (folder / "text.svs").write_text("this is no slide\n")
    (folder / "cut.tif").write_bytes(slide.read_bytes()[:2000])
    (folder / "blocked.tif").write_bytes(slide.read_bytes())
    out.mkdir()
    (out / "blocked.zarr").write_text("in the way")
    bad = [folder / name for name in ("no-mpp.png", "text.svs", "cut.tif", "blocked.tif", "missing.svs")]
    command = [
        sys.executable,
        "-m",
        "napari_wsss.cli",
        "run",
        first,
        *bad,
        last,
        "--model",
        bundle,
        "--out",
        out,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.split() == [str(out / "a-good.zarr"), str(out / "z-good.zarr")]
    assert "Traceback" not in done.stderr
    assert "2 done, 5 failed" in done.stderr
    rows = summary(out)
    assert [rows[name]["status"] for name in ("a-good", "z-good")] == ["done", "done"]
    for path in bad:
        error = rows[path.stem]["error"]
        assert rows[path.stem]["status"] == "failed"
        assert "traceback" not in error, "a user's mistake has a sentence of its own"
        assert (str(path) if path.stem != "blocked" else str(out / "blocked.zarr")) in error
        (line,) = [line for line in done.stderr.splitlines() if f"{path.stem}: failed." in line]
        assert error in line
        assert (out / "logs" / f"{path.stem}.log").is_file()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--out", "FILE"], "cannot be written to"),
        (["--model", "nowhere"], "neither a bundle folder nor an embedded bundle"),
        (["--device", "tpu"], "no device 'tpu'"),
        (["--region", "1,2,3"], "Region '1,2,3' is not X,Y,W,H"),
        (["--region", "0,0,0,5"], "is empty"),
        (["--export", "pdf"], "no export pdf"),
        (["--shard", "3/2"], "K/N"),
        (["--gate-threshold", "7"], "threshold is 7"),
        (["--overlap", "x"], "--overlap"),
        (["--overlap", "nan"], "--overlap"),
        (["--overlap", "-0.1"], "--overlap"),
        (["--overlap", "1"], "--overlap"),
        (["--mpp", "inf"], "--mpp"),
        (["--mpp", "0"], "--mpp"),
        (["--batch-size", "9" * 400], "--batch-size"),
        (["--read-threads", "9" * 400], "--read-threads"),
        (["--workers", "9" * 400], "more processes than this machine can use"),
        (["--shard", f"1/{'9' * 5000}"], "K/N"),
        (["--match", "\n=TUM", "--roi", "FILE"], "--match cannot be read"),
    ],
)
def test_a_wrong_command_starts_nothing_and_exits_with_2(
    wsss: Call, tmp_path: Path, slide: Path, bundle: Path, options: list[str], complaint: str
) -> None:
    (tmp_path / "file").touch()
    options = [str(tmp_path / "file") if option == "FILE" else option for option in options]
    rest = [] if "--model" in options else ["--model", bundle]
    rest += [] if "--out" in options else ["--out", tmp_path / "out"]
    answer = wsss("run", slide, *options, *rest)
    assert answer.code == 2
    assert complaint in " ".join(answer.err.split())
    assert not list(tmp_path.rglob("*.zarr"))


def test_colliding_ids_start_nothing(wsss: Call, tmp_path: Path, slide: Path, bundle: Path) -> None:
    (one,), (two,) = copies(slide, tmp_path / "x", "same"), copies(slide, tmp_path / "y", "same")
    answer = wsss("run", one, two, "--model", bundle, "--out", tmp_path / "out")
    assert answer.code == 2
    assert str(one) in answer.err
    assert str(two) in answer.err
    assert not (tmp_path / "out").exists()


def test_a_manifest_gives_ids_and_mpp_and_shards_share_the_work(
    wsss: Call, tmp_path: Path, slide: Path, bundle: Path
) -> None:
    copies(slide, tmp_path, "a")
    manifest = tmp_path / "list.csv"
    manifest.write_text("slide_id,path,mpp\none,a.tif,0.6\ntwo,a.tif,\n")
    for shard in ("1/2", "2/2"):
        answer = wsss("run", manifest, "--model", bundle, "--out", tmp_path / "out", "--shard", shard)
        assert answer.code == 0, answer.err
    assert set(summary(tmp_path / "out")) == {"one", "two"}
    assert open_store(tmp_path / "out" / "one.zarr").run["resolution"] == {"mpp": 0.6, "source": "manifest"}
    assert open_store(tmp_path / "out" / "two.zarr").slide_mpp == pytest.approx(0.5)
    empty = wsss("run", manifest, "--model", bundle, "--out", tmp_path / "out", "--shard", "3/3")
    assert empty.code == 0
    assert "no slides" in empty.err


def test_other_parameters_are_refused_unless_restarted(
    wsss: Call, tmp_path: Path, slide: Path, bundle: Path
) -> None:
    command = ["run", slide, "--model", bundle, "--out", tmp_path]
    assert wsss(*command).code == 0
    changed = wsss(*command, "--overlap", 0.5)
    assert changed.code == 1
    assert "overlap: 0.25 → 0.5" in changed.err
    assert wsss(*command, "--overlap", 0.5, "--restart").code == 0


def test_a_slide_without_tissue_is_empty(wsss: Call, tmp_path: Path, bundle: Path) -> None:
    white = np.full((600, 600, 3), 250, np.uint8)
    tifffile.imwrite(
        tmp_path / "white.tif", white, tile=(256, 256), resolution=(20000, 20000), resolutionunit=3
    )
    exports = "geojson,tiff,csv,png"
    answer = wsss(
        "run", tmp_path / "white.tif", "--model", bundle, "--out", tmp_path / "out", "--export", exports
    )
    assert answer.code == 0, answer.err
    assert summary(tmp_path / "out")["white"]["status"] == "empty"


def test_the_work_on_a_slide_can_go_to_another_process(tmp_path: Path) -> None:
    work = SegmentSlide("model", Settings(overlap=0.5), tmp_path)
    assert pickle.loads(pickle.dumps(work)) == work


def test_polygons_confine_a_run_in_either_frame(
    wsss: Call, tmp_path: Path, slide: Path, bundle: Path
) -> None:
    (tmp_path / "roi").mkdir()
    square = {
        "type": "Polygon",
        "coordinates": [[[100, 100], [400, 100], [400, 300], [100, 300], [100, 100]]],
    }
    (tmp_path / "roi" / "small.geojson").write_text(json.dumps(square))
    options = ["--model", bundle, "--no-tissue-mask", "--roi", tmp_path / "roi"]
    answer = wsss("run", slide, *options, "--out", tmp_path / "a")
    assert answer.code == 0, answer.err
    labels = open_store(tmp_path / "a" / "small.zarr").labels()[0][...]
    inside = np.zeros_like(labels, bool)
    inside[50:150, 50:200] = True  # labels have 1 µm, the slide 0.5
    assert (labels[inside] > 0).all()
    assert not labels[~inside].any()
    again = wsss("run", slide, *options, "--frame", "openslide", "--out", tmp_path / "a")
    assert "cached" in again.err  # bounds (0, 0): both frames are one
    missing = wsss("run", *copies(slide, tmp_path / "s", "other"), *options, "--out", tmp_path / "b")
    assert missing.code == 1
    assert "other.geojson" in missing.err


def test_the_polygons_of_one_slide_are_not_used_for_two(
    wsss: Call, tmp_path: Path, slide: Path, bundle: Path
) -> None:
    (tmp_path / "roi.geojson").write_text("{}")
    slides = copies(slide, tmp_path / "s", "a", "b")
    answer = wsss(
        "run", *slides, "--model", bundle, "--out", tmp_path / "out", "--roi", tmp_path / "roi.geojson"
    )
    assert answer.code == 2
    assert "one <slide_id>.geojson (.xml, .ndpa) per slide" in answer.err


def test_processes_of_this_machine_or_a_cluster_not_both(
    wsss: Call, tmp_path: Path, slide: Path, bundle: Path
) -> None:
    options = ["--model", bundle, "--out", tmp_path / "out", "--workers", 2, "--cluster", "tcp://x:1"]
    answer = wsss("run", slide, *options)
    assert answer.code == 2
    assert "not both" in answer.err


@pytest.mark.parametrize(
    ("device", "number", "gpus", "chosen"),
    [
        ("auto", 3, 2, "cuda:1"),
        ("cuda", 0, 4, "cuda:0"),
        ("auto", 1, 1, "auto"),
        ("cpu", 3, 2, "cpu"),
        ("auto", None, 2, "auto"),
    ],
)
def test_local_workers_share_the_gpus_by_their_number(
    monkeypatch: pytest.MonkeyPatch, device: str, number: int | None, gpus: int, chosen: str
) -> None:
    import torch

    monkeypatch.setitem(sys.modules, "distributed.worker", object())  # as in a Dask worker
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(run, "worker_number", lambda: number)
    assert run._on_this_worker(Settings(device=device)).device == chosen


def test_a_slide_that_would_crash_the_program_costs_itself_only(
    wsss: Call, tmp_path: Path, slide: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiling.batch.first_contact import FirstContact
    from tiling.errors import SlideContactError

    def contact(self: FirstContact, path: Path) -> None:
        if path.stem == "bad":
            raise SlideContactError(
                f"{path} crashes the program that decodes it (SIGSEGV), so it was left out."
            )

    monkeypatch.setattr(FirstContact, "__call__", contact)
    paths = copies(slide, tmp_path / "in", "a", "bad", "b")
    answer = wsss("run", *paths, "--model", bundle, "--out", tmp_path / "out")
    assert answer.code == 1
    rows = summary(tmp_path / "out")
    assert {name: row["status"] for name, row in rows.items()} == {"a": "done", "bad": "failed", "b": "done"}
    assert "SIGSEGV" in rows["bad"]["error"]
