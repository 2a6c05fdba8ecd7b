"""`wsss-tile` apart from `run`: info, export, verify, models, demo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_wsss.cli import demo
from tiling.store.reader import open_store
from tiling.synthetic import SyntheticSlide, score_labels

Call = Callable[..., Any]


def test_info_shows_the_slide_and_what_a_run_takes(wsss: Call, slide: Path, bundle: Path) -> None:
    facts = wsss("info", slide, "--model", bundle, "--json").json
    assert (facts["width"], facts["height"], facts["mpp"]) == (700, 520, pytest.approx(0.5))
    assert facts["mpp_source"]
    assert facts["levels"][0] == {"width": 700, "height": 520, "downsample": 1.0}
    run = facts["run"]
    assert (run["tile"], run["labels_width"]) == (64, 350)
    assert 0 < run["tiles_with_tissue"] <= run["tiles_in_grid"] == 7 * 6
    assert sum(term["bytes"] for term in run["memory_terms"]) == run["memory_bytes"]
    answer = wsss("info", slide, "--model", bundle)
    assert answer.code == 0
    for text in ("700 × 520 px", "0.5 µm per pixel", "with tissue", "carry: 2 · 4 B", "MB"):
        assert text in answer.out


def test_info_tells_tiles_as_the_run_counts_them(
    wsss: Call, slide: Path, bundle: Path, finished: Path
) -> None:
    run = wsss("info", slide, "--model", bundle, "--json").json["run"]
    receipt = open_store(finished).receipt
    assert receipt is not None
    assert run["tiles_with_tissue"] == receipt["counters"]["tiles"]


def test_info_without_mpp_says_what_to_pass(wsss: Call, tmp_path: Path, bundle: Path) -> None:
    Image.fromarray(np.full((90, 120, 3), 200, np.uint8)).save(tmp_path / "a.png")
    answer = wsss("info", tmp_path / "a.png")
    assert answer.code == 0
    assert "unknown" in answer.out
    assert "--mpp" in answer.out
    assert wsss("info", tmp_path / "a.png", "--mpp", 0.5, "--model", bundle, "--json").json["run"]
    assert wsss("info", tmp_path / "a.png", "--json").json["mpp"] is None


def test_info_names_the_pictures_beside_the_slide(wsss: Call, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        slide = np.full((128, 160, 3), 200, np.uint8)
        tiff.write(slide, photometric="rgb", metadata=None, resolution=(20_000, 20_000), resolutionunit=3)
        tiff.write(slide[:90, :90], photometric="rgb", metadata=None, description="Label of Erika Muster")
    answer = wsss("info", path)
    assert "Beside it    'label' (90 × 90 px) (not read)" in answer.out
    assert "Erika" not in answer.out + answer.err
    assert wsss("info", path, "--json").json["beside"] == ["'label' (90 × 90 px)"]


@pytest.mark.shared
def test_info_names_label_macro_and_thumbnail_of_an_svs(wsss: Call, shared_dir: Path) -> None:
    answer = wsss("info", shared_dir / "slides" / "cmu-1-small-region.svs")
    assert "Beside it    label, macro, thumbnail (not read)" in answer.out


def test_info_lists_what_the_file_says_of_itself(wsss: Call, tmp_path: Path) -> None:
    """Two statements that differ: both are shown, none is taken."""
    path = tmp_path / "a.ome.tif"
    said = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(
        path,
        np.zeros((64, 64, 3), np.uint8),
        photometric="rgb",
        metadata=said,
        resolution=(20_000, 20_000),
        resolutionunit="INCH",
    )
    facts = wsss("info", path, "--json").json
    assert facts["mpp"] is None
    told = [(s["source"], s["verdict"], round(s["mpp_x"], 3)) for s in facts["statements"]]
    assert told == [("OME PhysicalSizeX", "in conflict", 0.5), ("TIFF XResolution", "in conflict", 1.27)]
    shown = wsss("info", path).out
    assert "1.27 µm: in conflict" in shown
    assert "0.5 µm: in conflict" in shown


@pytest.mark.parametrize("command", ["info", "verify", "export --png x.png", "models show"])
def test_what_is_not_there_is_one_sentence(wsss: Call, tmp_path: Path, command: str) -> None:
    name, *rest = command.split()
    arguments = [name, *rest, tmp_path / "gone"] if name == "models" else [name, tmp_path / "gone", *rest]
    answer = wsss(*arguments)
    assert answer.code == 1
    assert str(tmp_path / "gone") in answer.out + answer.err
    assert len((answer.out + answer.err).strip().splitlines()) == 1


def test_verify_believes_nothing(wsss: Call, tmp_path: Path, finished: Path) -> None:
    good, bad = tmp_path / "good.zarr", tmp_path / "bad.zarr"
    for copy in (good, bad):
        shutil.copytree(finished, copy)
    assert wsss("verify", good).code == 0
    chunk = next(p for p in (bad / "labels" / "tissue" / "0" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    answer = wsss("verify", good, bad)
    assert answer.code == 1
    first, second = answer.out.splitlines()
    assert first == f"ok   {good}"
    assert "differs from its receipt" in second
    assert [row["ok"] for row in wsss("verify", good, bad, "--json").json] == [True, False]
    folder = wsss("verify", tmp_path)  # all stores in it
    assert folder.code == 1
    assert sorted(line.split()[0] for line in folder.out.splitlines()) == ["BAD", "ok"]
    (good / "receipt.json").unlink()
    assert wsss("verify", good).code == 1


def test_export_writes_what_is_asked_for(wsss: Call, tmp_path: Path, finished: Path) -> None:
    files = {
        kind: tmp_path / name
        for kind, name in (("geojson", "a.geojson.gz"), ("csv", "a.csv"), ("png", "a.png"))
    }
    words = [word for kind, file in files.items() for word in (f"--{kind}", file)]
    answer = wsss("export", finished, *words, "--min-area", 20, "--simplify", 1, "--frame", "openslide")
    assert answer.code == 0, answer.err
    written = [files["geojson"], files["csv"], tmp_path / "a.tiles.csv", files["png"]]
    assert answer.out.split() == [str(path) for path in written]
    assert all(path.stat().st_size for path in written)
    wsss("export", finished, "--tiff", tmp_path / "a.ome.tif")
    assert (tmp_path / "a.ome.tif").is_file()


def test_export_refuses_nothing_and_unfinished(wsss: Call, tmp_path: Path, finished: Path) -> None:
    nothing = wsss("export", finished)
    assert nothing.code == 2
    assert "Nothing to write" in nothing.err
    half = tmp_path / "half.zarr"
    shutil.copytree(finished, half)
    (half / "receipt.json").unlink()
    answer = wsss("export", half, "--geojson", tmp_path / "a.geojson")
    assert answer.code == 1
    assert "not complete" in answer.err
    assert not (tmp_path / "a.geojson").exists()


def test_models_show_is_the_card(wsss: Call, bundle: Path) -> None:
    card = wsss("models", "show", bundle, "--json").json
    assert (card["name"], card["tile"]) == ("tiny", 64)
    text = wsss("models", "show", bundle).out
    for words in ("tiny", "Untrained, for tests.", "Tumour (TUM, #d41a00)", "not for diagnosis"):
        assert words in text


def test_models_list_is_the_default_of_models(wsss: Call) -> None:
    assert wsss("models").out == wsss("models", "list").out
    assert isinstance(wsss("models", "list", "--json").json, list)


def test_models_import_makes_a_bundle(wsss: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_wsss.models import legacy

    asked: dict[str, Any] = {}

    def imported(stage1: Path, stage2: Path | None, schema: str, out: Path, **rest: Any) -> Path:
        asked.update(rest, stage1=stage1, stage2=stage2, schema=schema)
        return out

    monkeypatch.setattr(legacy, "import_checkpoints", imported)
    answer = wsss(
        "models",
        "import",
        "--stage1",
        "a.pth",
        "--schema",
        "luad",
        "--out",
        tmp_path / "b",
        "--half",
        "--mpp",
        0.5,
    )
    assert (answer.code, answer.out.strip()) == (0, str(tmp_path / "b"))
    assert (asked["stage1"], asked["stage2"], asked["schema"]) == (Path("a.pth"), None, "luad")
    assert (asked["dtype"], asked["mpp"], asked["tile"]) == ("float16", 0.5, 224)


def test_models_import_of_a_missing_file_is_one_sentence(wsss: Call, tmp_path: Path) -> None:
    answer = wsss(
        "models", "import", "--stage1", tmp_path / "a.pth", "--schema", "bcss", "--out", tmp_path / "b"
    )
    assert answer.code == 1
    assert str(tmp_path / "a.pth") in answer.err


def test_demo_goes_the_whole_way(
    wsss: Call, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DEMO", SyntheticSlide(width=700, height=520, mpp=0.5, seed=3, region_um=60))
    monkeypatch.setattr(demo, "MODEL", str(bundle))
    answer = wsss("demo", "--out", tmp_path / "d")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("mIoU 0.")
    slide, store = tmp_path / "d" / "sample.tif", tmp_path / "d" / "sample.zarr"
    assert f"napari --plugin napari-wsss {slide} {store}" in answer.out
    assert "Research use only, not for diagnosis." in answer.out
    names = ["sample.geojson", "sample.overview.png", "sample.tif", "sample.zarr"]
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == names
    assert json.loads((tmp_path / "d" / "sample.geojson").read_text())["features"]
    facts = wsss("demo", "--out", tmp_path / "d", "--json").json  # a second time, over the first
    assert 0 <= facts["miou"] <= 1


def test_the_score_is_the_intersection_over_the_union(finished: Path) -> None:
    """Against a plain computation on whole arrays."""
    truth = SyntheticSlide(width=700, height=520, mpp=0.5, seed=3, region_um=60)
    found = open_store(finished).labels()[0][...]
    true = truth.truth(0, 0, 700, 520)[1::2, 1::2]
    tissue = true > 0
    store = open_store(finished)
    scores = score_labels(store.labels()[0], store.scale, truth)
    for label, value in enumerate(scores.iou, start=1):
        hit = ((found == label) & (true == label)).sum()
        union = (((found == label) & tissue) | (true == label)).sum()
        assert value == pytest.approx(hit / union)


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    for flags, shown in (([], False), (["--debug"], True)):
        command = [sys.executable, "-m", "napari_wsss.cli", *flags, "info", str(tmp_path / "gone")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) is shown


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "napari_wsss.cli", "verify", str(tmp_path)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""


def test_version_and_no_arguments(wsss: Call) -> None:
    assert wsss("--version").out.startswith("wsss-tile ")
    assert "Commands" in wsss().out + wsss().err
    assert wsss("nonsense").code == 2


def test_patches_of_a_segmented_slide_can_be_trained_on(
    wsss: Call, tmp_path: Path, slide: Path, finished: Path
) -> None:
    """Our own export serves as annotation: what was corrected in QuPath comes back the same way."""
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(open_store(finished).schema.to_dict()))
    wsss("export", finished, "--geojson", tmp_path / "a.geojson")
    words = [
        "--annotations",
        tmp_path / "a.geojson",
        "--schema",
        schema,
        "--out",
        tmp_path / "set",
        "--size",
        64,
    ]
    answer = wsss("patches", slide, *words, "--min-annotated", 0.5, "--json")
    assert answer.code == 0, answer.err
    files = list((tmp_path / "set" / "train").iterdir())
    assert len(files) == answer.json["patches"] > 0
    assert all(file.name.startswith("small-") and file.name.endswith("].png") for file in files)
    wrong = wsss("patches", slide, *words[:2], "--schema", "luad", *words[4:])
    assert wrong.code == 1
    assert "--skip-unknown" in wrong.err
