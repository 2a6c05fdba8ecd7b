"""The whole story without a window: new, add, prepare, label what is asked, fit, run the quick model, merge."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from toy_projects import OTHER, SMALL, held

from napari_wsss.project import open_project
from tiling.synthetic import SYNTHETIC_SCHEMA, write_slide

TRAINS = pytest.mark.skipif(find_spec("lightning") is None, reason="needs napari-wsss[train]")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("slides")
    paths = folder / "small.tif", folder / "other.tif"
    write_slide(paths[0], SMALL)
    write_slide(paths[1], OTHER)
    schema = folder / "schema.json"
    schema.write_text(json.dumps(SYNTHETIC_SCHEMA.to_dict()))
    return (*paths, schema)


def truly(project: Path, row: dict[str, Any]) -> str:
    """Return what one who knows the truth would say about a suggested tile."""
    slide = SMALL if row["slide_id"] == "small" else OTHER
    with open_project(project, write=False) as opened:
        tile = opened.tile_at(row["slide_id"], row["x"] + 1, row["y"] + 1)
        assert tile is not None
        return "+".join(sorted(held(slide, tile))) or "Stroma"


def test_the_story_on_the_command_line(
    wsss: Callable[..., Any], two: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    small, other, schema = two
    project = tmp_path / "liver.wsss"
    made = wsss("project", "new", project, "--schema", schema, "--tile", 64, "--encoder", "synthetic-demo")
    assert made.code == 0, made.err
    assert wsss("project", "add", project, small, "--case", "P1").out.split() == ["small"]
    assert wsss("project", "add", project, other, "--case", "P2").out.split() == ["other"]
    done = wsss("project", "prepare", project, "--backend", "torch")
    assert done.code == 0
    assert "tiles prepared" in done.err

    asked: set[tuple[str, float, float]] = set()
    for _ in range(3):
        rows = wsss("project", "labels", project, "--suggest", 10, "--json").json
        for slide_id in ("small", "other"):
            here = [row for row in rows if row["slide_id"] == slide_id]
            says = [f"--set={r['x'] + 1},{r['y'] + 1}={truly(project, r)}" for r in here]
            if says:
                assert wsss("project", "labels", project, slide_id, *says, "--reader", "KL").code == 0
        places = {(r["slide_id"], r["x"], r["y"]) for r in rows}
        assert not places & asked
        asked |= places
    listed = wsss("project", "labels", project, "--json").json
    assert len(listed) == 30
    assert {row["reader"] for row in listed} == {"KL"}
    assert "Took back the labels of 1 tiles" in wsss("project", "labels", project, "--undo").err
    with (project / "labels" / "small.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) > 5

    fitted = wsss("project", "fit", project, "--maps", tmp_path / "maps", "--json")
    assert fitted.code == 0, fitted.err
    assert fitted.json["score"]["by"] == "case"
    with Image.open(tmp_path / "maps" / "other.png") as picture:
        assert len(picture.getcolors()) > 2
    ran = wsss("run", other, "--model", fitted.json["model"], "--out", tmp_path / "out", "--backend", "torch")
    assert ran.code == 0, ran.err
    status = wsss("project", "status", project, "--json").json
    assert status["labels"] == 29
    assert list(status["models"]) == ["quick"]
    assert all(slide["prepared"][0] == slide["prepared"][1] > 0 for slide in status["slides"])
    assert "Score: " in wsss("project", "status", project).out

    # Annotations go out to QuPath and come back into another reader's project.
    geojson = tmp_path / "labels.geojson"
    assert wsss("project", "labels", project, "small", "--export", geojson).code == 0
    single = [
        f
        for f in json.loads(geojson.read_text())["features"]
        if ": " not in f["properties"]["classification"]["name"]
    ]
    geojson.write_text(json.dumps({"type": "FeatureCollection", "features": single}))
    second = tmp_path / "second.wsss"
    wsss("project", "new", second, "--schema", schema, "--tile", 64, "--encoder", "synthetic-demo")
    wsss("project", "add", second, small)
    back = wsss("project", "labels", second, "small", "--import", geojson, "--reader", "MM")
    assert f"Labelled {len(single)} tiles" in back.err
    first_classes = {
        (r["x"], r["y"]): r["classes"] for r in wsss("project", "labels", project, "small", "--json").json
    }
    for row in wsss("project", "labels", second, "--json").json:
        assert first_classes[row["x"], row["y"]] == row["classes"]
    merged = wsss("project", "merge", project, second, "--json").json
    assert (merged["tiles"], merged["conflicts"]) == (len(single), [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["labels", "{}", "small", "--set", "here=Tumour"], "is not X,Y=CLASS"),
        (["labels", "{}", "--set", "1,2=Tumour"], "Name the slide"),
        (["labels", "{}", "small", "--set", "1,2=Muscle"], "is no class of this project"),
        (["labels", "{}", "small", "--set", "99999,2=Tumour"], "beside the slide"),
        (["fit", "{}"], "label one first"),
        pytest.param(["train", "{}"], "training needs 8", marks=TRAINS),
        (["prepare", "{}", "nobody"], "no slide 'nobody'"),
        (["status", "nowhere.wsss"], "is no project"),
        (["add", "{}", "nowhere.svs"], "does not exist"),
    ],
)
def test_mistakes_are_one_sentence(
    wsss: Callable[..., Any], two: tuple[Path, Path, Path], tmp_path: Path, words: list[str], said: str
) -> None:
    small, _, schema = two
    project = tmp_path / "a.wsss"
    wsss("project", "new", project, "--schema", schema, "--tile", 64, "--encoder", "synthetic-demo")
    wsss("project", "add", project, small)
    result = wsss("project", *(str(project) if word == "{}" else word for word in words))
    assert result.code in (1, 2)
    assert said in result.err
    assert "Traceback" not in result.err


def test_who_comes_second_is_told(
    wsss: Callable[..., Any], two: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    small, _, schema = two
    project = tmp_path / "a.wsss"
    wsss("project", "new", project, "--schema", schema, "--tile", 64, "--encoder", "synthetic-demo")
    with open_project(project):
        refused = wsss("project", "add", project, small)
        assert refused.code == 1
        assert "can be looked at here but not changed" in refused.err
        assert wsss("project", "status", project).code == 0


def test_imported_names_mean_classes_and_what_means_none_is_told(
    wsss: Callable[..., Any], two: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    small, _, schema = two
    project, drawn = tmp_path / "a.wsss", tmp_path / "a.geojson"
    wsss("project", "new", project, "--schema", schema, "--tile", 64, "--encoder", "synthetic-demo")
    wsss("project", "add", project, small)

    def square(name: str, x: int) -> dict[str, Any]:
        ring = [[x, 0], [x + 300, 0], [x + 300, 300], [x, 300], [x, 0]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        return {"type": "Feature", "geometry": geometry, "properties": {"classification": name}}

    drawn.write_text(json.dumps([square("Tumor: Positive", 0), square("Muscle", 300)]))
    common = ("project", "labels", project, "small", "--import", drawn, "--reader", "KL")
    refused = wsss(*common, "--match", "Tumor: Positive=Tumour")
    assert refused.code == 1
    assert "Muscle (1)" in refused.err
    done = wsss(*common, "--match", "Tumor: Positive=Tumour", "--skip-unknown")
    assert done.code == 0, done.err
    assert "Not taken, because they mean no class: Muscle (1)." in done.err
    rows = wsss("project", "labels", project, "--json").json
    assert rows
    assert all(row["classes"] == ["Tumour"] for row in rows)


@TRAINS
def test_what_has_changed_meanwhile_is_one_sentence(
    wsss: Callable[..., Any], two: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    small, other, schema = two
    project, slide = tmp_path / "a.wsss", tmp_path / "slide.tif"
    shutil.copy(small, slide)
    wsss("project", "new", project, "--schema", schema, "--tile", 64, "--encoder", "synthetic-demo")
    wsss("project", "add", project, slide)
    assert wsss("project", "labels", project, "slide", "--set", "10,10=Tumour", "--reader", "KL").code == 0
    assert wsss("project", "labels", project, "slide", "--set", "10,10=Stroma", "--reader", "MM").code == 0

    def refused(*words: object) -> str:
        result = wsss("project", *words)
        assert result.code == 1
        assert result.err.count("Error: ") == 1
        assert "Traceback" not in result.err
        assert len(wsss("project", "labels", project, "--json").json) == 2, "nothing is lost"
        return str(result.err)

    # Both labels of the tile count against each other.
    assert "1 more where labels contradict each other do not count" in refused("train", project)
    shutil.copy(other, slide)
    assert "its content has changed" in refused("prepare", project)
    slide.unlink()
    assert "Its labels are kept" in refused("prepare", project)

    moved = tmp_path / "moved" / "a.wsss"
    moved.parent.mkdir()
    shutil.copy(small, tmp_path / "moved" / "slide.tif")
    project.rename(moved)
    project = moved
    assert "its file is missing" not in wsss("project", "status", project).out
    path = project / "project.json"
    known = path.read_text()
    path.write_text(json.dumps(json.loads(known) | {"format_version": 99}))
    newer = wsss("project", "status", project)
    assert newer.code == 1
    assert "update napari-wsss" in newer.err
    path.write_text(known)
    assert len(wsss("project", "labels", project, "--json").json) == 2
