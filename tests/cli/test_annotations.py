"""Annotations on the command line: --roi, --tissue, tissue, measure and patches read the same files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tiling.store import open_store

ASAP = """<ASAP_Annotations><Annotations>
<Annotation Name="a" Type="Polygon" PartOfGroup="Tumor: Positive"><Coordinates>
<Coordinate Order="0" X="100" Y="80"/><Coordinate Order="1" X="500" Y="80"/>
<Coordinate Order="2" X="500" Y="400"/><Coordinate Order="3" X="100" Y="400"/>
</Coordinates></Annotation>
<Annotation Name="f" Type="Polygon" PartOfGroup="Fat"><Coordinates>
<Coordinate Order="0" X="600" Y="450"/><Coordinate Order="1" X="640" Y="450"/>
<Coordinate Order="2" X="640" Y="500"/><Coordinate Order="3" X="600" Y="500"/>
</Coordinates></Annotation>
<Annotation Name="p" Type="Dot" PartOfGroup="Other"><Coordinates>
<Coordinate Order="0" X="1" Y="1"/></Coordinates></Annotation>
</Annotations></ASAP_Annotations>"""

Wsss = Callable[..., Any]
TORCH = ("--backend", "torch", "--device", "cpu")  # OpenVINO keeps threads


@pytest.fixture
def asap(tmp_path: Path) -> Path:
    path = tmp_path / "a.xml"
    path.write_text(ASAP)
    return path


def test_a_region_of_asap_confines_a_run_and_is_measured(
    wsss: Wsss, slide: Path, bundle: Path, asap: Path, tmp_path: Path
) -> None:
    common = ("run", slide, "--out", tmp_path / "o", "--model", bundle, "--no-tissue-mask", *TORCH)
    for wrong in (("--match", "Fat=Tumour"), ("--roi", asap, "--match", "Fat=Muscle")):
        refused = wsss(*common, *wrong)
        assert refused.code == 2
        assert "--match" in refused.err
    done = wsss(*common, "--roi", asap, "--match", "tumor: positive=tumour")
    assert done.code == 0, done.err
    assert "without area" in done.err
    assert "Not taken, because they mean no class: Fat (1)." in done.err
    path = tmp_path / "o" / f"{slide.stem}.zarr"
    assert sum(open_store(path).areas.values()) == pytest.approx(400 * 320 * 0.25 / 1e6, rel=1e-6)
    measured = wsss("measure", path, "--annotations", asap, "--ratio", "Tumour:STR")
    assert measured.code == 0, measured.err
    head, *rows = csv.reader(io.StringIO(measured.out))
    assert "no class" not in measured.err
    rows = rows[:4] + rows[8:]
    assert head[:4] == ["annotation", "name", "annotation_class", "class"]
    assert [row[2] for row in rows[:4]] == ["Tumor: Positive"] * 4
    assert sum(float(row[4]) for row in rows[:4]) == pytest.approx(0.032, rel=1e-3)
    assert sum(float(row[5]) for row in rows[:4]) == pytest.approx(100, abs=0.1)
    assert rows[4] == ["annotation", "name", "one", "other", "ratio"]
    as_json = wsss("measure", path, "--annotations", asap, "--csv", tmp_path / "m.csv", "--json").json
    assert [row["annotation_class"] for row in as_json["measures"]] == ["Tumor: Positive"] * 4 + ["Fat"] * 4
    matched = wsss("measure", path, "--annotations", asap, "--match", "Tumor: Positive=Tumour", "--json")
    assert [row["annotation_class"] for row in matched.json["measures"]] == ["Tumour"] * 4 + ["Fat"] * 4
    assert "Kept under their own names, because they mean no class: Fat (1)." in matched.err
    without = wsss("measure", path, "--annotations", asap, "--match", "Tumor: Positive=TUM,Fat=", "--json")
    assert [row["annotation_class"] for row in without.json["measures"]] == ["Tumour"] * 4
    assert "no class" not in without.err
    assert (tmp_path / "m.csv").read_text().startswith("annotation,name,annotation_class,class,area_mm2,")


@pytest.mark.parametrize("pair", ["Tumour", ":x", "x:"])
def test_a_ratio_that_is_none_is_a_usage_error(wsss: Wsss, asap: Path, tmp_path: Path, pair: str) -> None:
    answer = wsss("measure", tmp_path, "--annotations", asap, "--ratio", pair)
    assert answer.code == 2
    assert "A:B" in answer.err


def test_tissue_is_shown_corrected_and_used(wsss: Wsss, slide: Path, bundle: Path, tmp_path: Path) -> None:
    png, geojson = tmp_path / "t.png", tmp_path / "t.geojson"
    shown = wsss("tissue", slide, "--png", png, "--geojson", geojson, "--json")
    assert shown.code == 0, shown.err
    assert 0.1 < shown.json["share"] < 1
    assert shown.json["threshold_from"] == "picture"
    with Image.open(png) as picture:
        assert picture.size == (700, 520)
    assert len(json.loads(geojson.read_text())["features"]) >= 1
    assert "Glass" in wsss("tissue", slide, "--tissue-threshold", 0.2).out
    done = wsss("run", slide, "--out", tmp_path / "o", "--model", bundle, "--tissue", geojson, *TORCH)
    assert done.code == 0, done.err
    store = open_store(tmp_path / "o" / f"{slide.stem}.zarr")
    assert sum(store.areas.values()) == pytest.approx(shown.json["area_mm2"], rel=0.03)
    assert store.receipt is not None
    assert store.receipt["tissue"]["how"] == "drawn by hand"


def test_options_about_tissue_that_contradict(wsss: Wsss, slide: Path, bundle: Path, tmp_path: Path) -> None:
    common = ("run", slide, "--out", tmp_path / "o", "--model", bundle, "--no-tissue-mask")
    answer = wsss(*common, "--tissue-threshold", 0.1)
    assert answer.code == 2
    assert "contradict" in answer.err
    assert not (tmp_path / "o").exists()


def test_patches_take_names_of_others(wsss: Wsss, slide: Path, asap: Path, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(
        json.dumps({"name": "s", "classes": [{"name": "tumour", "abbreviation": "TUM", "color": "#ff0000"},
                                              {"name": "stroma", "abbreviation": "STR", "color": "#00ff00"}]})
    )  # fmt: skip
    common = (
        "patches",
        slide,
        "--annotations",
        asap,
        "--schema",
        tmp_path / "schema.json",
        "--out",
        tmp_path / "d",
    )
    refused = wsss(*common, "--size", 64)
    assert refused.code == 1
    assert "Tumor: Positive (1), Fat (1)" in refused.err
    cut = wsss(*common, "--size", 64, "--match", "Tumor: Positive=tumour,Fat=", "--json")
    assert cut.code == 0, cut.err
    assert cut.json["tumour"] > 3
    zero = wsss(*common, "--size", 64, "--patch-mpp", 0)
    assert zero.code in (1, 2)
    assert "Traceback" not in zero.err
