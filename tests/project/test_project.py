"""A project's folder: what is written, who may write, and one clear sentence for everything that can be wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_projects import OTHER, SMALL, held

from napari_wsss import new_project, open_project
from napari_wsss.project import Project
from tiling.errors import (
    FeaturesError,
    FewLabelsError,
    LabelError,
    ProjectError,
    ProjectReadOnlyError,
    SlideError,
)
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide

Make = Callable[..., Project]


def test_a_label_is_on_disk_at_once_and_comes_back(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    tile = project.label("small", 300, 200, {"Tumour", "str"}, reader="KL")
    assert (tile.row, tile.column) == (3, 4)
    assert (project.folder / "labels" / "small.csv").read_text().count("\n") == 2
    (label,) = open_project(project.folder, write=False).labels("small")
    assert label.tile == tile
    assert label.classes == ("Tumour", "Stroma")
    assert label.present == (True, True, False, False)
    assert (label.reader, label.source, label.test) == ("KL", "click", False)


def test_the_last_word_counts_and_an_empty_set_takes_it_back(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    project.label("small", 10, 10, {"Tumour"})
    project.label("small", 40, 20, {"Stroma"})
    assert [label.classes for label in project.labels("small")] == [("Stroma",)]
    project.label("small", 10, 10, ())
    assert project.labels("small") == []
    project.undo()
    assert [label.classes for label in project.labels("small")] == [("Stroma",)]
    project.undo()
    assert [label.classes for label in project.labels("small")] == [("Tumour",)]
    assert len(project.undo()) == 1
    assert project.undo() == []
    assert project.labels("small") == []


def test_a_rectangle_is_one_decision(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    tiles = [project.tile_of("small", row, column) for row in range(2) for column in range(3)]
    project.label("small", 10, 10, {"Necrosis"})
    project.label_tiles(tiles, {"Stroma"})
    assert len(project.labels()) == 6
    assert len(project.undo()) == 6
    assert [label.classes for label in project.labels()] == [("Necrosis",)]


def test_what_cannot_be_labelled_says_so(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    with pytest.raises(LabelError, match="beside the slide"):
        project.label("small", 5000, 10, {"Tumour"})
    with pytest.raises(LabelError, match="'Muscle' is no class of this project; it has Tumour, Stroma"):
        project.label("small", 10, 10, {"Muscle"})
    with pytest.raises(ProjectError, match="no slide 'big'; it has small"):
        project.label("big", 10, 10, {"Tumour"})
    assert project.labels() == []


def test_the_second_to_open_reads_and_is_told(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    project.label("small", 10, 10, {"Tumour"})
    with open_project(project.folder) as second:
        assert second.read_only
        assert "process" in second.notice
        assert len(second.labels()) == 1
        project.label("small", 200, 10, {"Stroma"})
        assert len(second.labels()) == 2
        with pytest.raises(ProjectReadOnlyError, match="not changed"):
            second.label("small", 10, 10, {"Stroma"})
        with pytest.raises(ProjectReadOnlyError):
            second.undo()
        with pytest.raises(ProjectReadOnlyError):
            second.add(slides["other"])
        with pytest.raises(ProjectReadOnlyError):
            list(second.prepare("small"))
    project.close()
    with open_project(project.folder) as third:
        assert not third.read_only


def test_another_process_only_reads(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    code = f"from napari_wsss import open_project; p = open_project({str(project.folder)!r}); assert p.read_only; "
    subprocess.run([sys.executable, "-c", code], check=True)
    project.close()
    code = code.replace("assert p", "assert not p") + "import os; os._exit(9)"  # dies without giving it back
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    with open_project(project.folder) as again:
        assert not again.read_only


def test_a_project_from_a_newer_version_is_refused(make: Make) -> None:
    project = make()
    path = project.folder / "project.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"format_version": 99}))
    with pytest.raises(ProjectError, match=r"version 99.*update napari-wsss"):
        open_project(project.folder, write=False)
    path.write_text("{")
    with pytest.raises(ProjectError, match="not valid JSON"):
        open_project(project.folder, write=False)
    del data["schema"]
    path.write_text(json.dumps(data))
    with pytest.raises(ProjectError, match="damaged"):
        open_project(project.folder, write=False)
    path.unlink()
    with pytest.raises(ProjectError, match="is no project"):
        open_project(project.folder, write=False)


def test_a_folder_that_is_taken_is_not_touched(tmp_path: Path, encoder: str) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(ProjectError, match="not empty"):
        new_project(tmp_path, SYNTHETIC_SCHEMA, encoder=encoder)
    with pytest.raises(ProjectError, match="imagenet:efficientnet-lite0"):
        new_project(tmp_path / "a.wsss", SYNTHETIC_SCHEMA, encoder="imagenet:resnet50")


def test_a_project_moves_with_its_slides(make: Make, slides: dict[str, Path], tmp_path: Path) -> None:
    here = tmp_path / "lab"
    here.mkdir()
    slide = shutil.copy(slides["small"], here / "small.tif")
    project = make(name="lab/liver")
    project.add(slide)
    project.label("small", 10, 10, {"Tumour"})
    project.close()
    here.rename(tmp_path / "moved")
    with open_project(tmp_path / "moved" / "liver.wsss") as moved:
        assert len(moved.labels("small")) == 1
        moved.open_slide("small").close()
        # The slide alone goes: the labels stay, and the sentence says where it was looked for.
        (tmp_path / "moved" / "small.tif").rename(tmp_path / "elsewhere.tif")
        with pytest.raises(SlideError, match=r"neither at .*moved.*small\.tif nor at .*Its labels are kept"):
            moved.open_slide("small")
        assert len(moved.labels("small")) == 1
        # Another file in its place is not taken for it.
        shutil.copy(slides["other"], tmp_path / "moved" / "small.tif")
        with pytest.raises(SlideError, match="its content has changed"):
            moved.open_slide("small")


def test_a_slide_is_added_once(make: Make, slides: dict[str, Path], tmp_path: Path) -> None:
    project = make(slides["small"])
    with pytest.raises(ProjectError, match="has a slide 'small' already"):
        project.add(slides["small"])
    copy = shutil.copy(slides["small"], tmp_path / "small.tif")
    with pytest.raises(ProjectError, match="in the project already, as 'small'"):
        project.add(copy, slide_id="copy")
    assert project.add(slides["other"], slide_id="B2") == "B2"
    assert project.slides == ("small", "B2")


def test_a_linked_slide_is_the_same_slide(make: Make, slides: dict[str, Path], tmp_path: Path) -> None:
    link = tmp_path / "linked.tif"
    link.symlink_to(slides["small"])
    project = make(link)
    project.open_slide("linked").close()


def test_features_are_a_cache(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    list(project.prepare("small", backend="torch"))
    tile = project.suggest(1)[0]
    project.label("small", *tile.middle, {"Tumour"})
    assert project.fit().map("small").labels.any()
    shutil.rmtree(project.folder / "features")
    (project.folder / "reduction.npz").unlink()
    with pytest.raises(FewLabelsError, match="is not prepared"):
        project.fit()
    list(project.prepare("small", backend="torch"))
    assert project.fit().map("small").labels.any()


def teach(project: Project, slide: SyntheticSlide, slide_id: str, count: int) -> None:
    """Label as one who knows the truth, the tiles that the project asks about."""
    for tile in project.suggest(count):
        if tile.slide_id == slide_id and (names := held(slide, tile)):
            project.label(slide_id, *tile.middle, names, reader="KL")


def test_from_labels_to_a_map(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    with pytest.raises(FeaturesError, match="is prepared yet"):
        project.suggest(3)
    project.label("small", 300, 200, {"Tumour"})
    with pytest.raises(FewLabelsError, match="Left out: 1 label on small"):
        project.fit()
    project.undo()
    events = list(project.prepare("small", backend="torch"))
    assert events[-1].tiles == project.prepared("small")[1] == project.prepared("small")[0]  # type: ignore[union-attr]
    with pytest.raises(FewLabelsError, match="is labelled"):
        project.fit()
    for _ in range(4):
        teach(project, SMALL, "small", 8)
    head = project.fit()
    labels, where = head.map("small")
    grid = project.grid("small")
    assert labels.shape == (grid.rows * 2, grid.columns * 2)  # 64 px: 2 x 2 places of 32
    assert where.step == pytest.approx(32 * grid.scale)
    truth = SMALL.truth(0, 0, SMALL.width, SMALL.height)
    step = round(where.step)
    middle = truth[step // 2 :: step, step // 2 :: step]
    found = labels[: middle.shape[0], : middle.shape[1]]
    known = (middle > 0) & (found > 0)
    assert (middle == found)[known].mean() > 0.7
    doubt = head.uncertainty("small").values
    assert (np.isnan(doubt) == (labels == 0)).all()
    assert 0 <= np.nanmin(doubt) < np.nanmax(doubt) <= 1
    assert "regions left out" in str(head.score) or "too few" in str(head.score)


def test_nothing_is_asked_twice_and_test_tiles_never_train(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"], slides["other"])
    list(project.prepare(backend="torch"))
    aside = project.set_aside(6)
    asked = [tile for _ in range(3) for tile in project.suggest(5)]
    assert len(set(asked)) == 15
    assert not set(asked) & set(aside)
    assert {tile.slide_id for tile in asked} == {"small", "other"}
    for tile in [*asked, *aside]:
        slide = SMALL if tile.slide_id == "small" else OTHER
        project.label(tile.slide_id, *tile.middle, held(slide, tile) or {"Stroma"})
    head = project.fit()
    assert {label.tile for label in head.taught.labels} == set(asked)
    assert {label.tile for label in head.tested.labels} == set(aside)
    assert set(open_project(project.folder, write=False).test_tiles()) == set(aside)


def test_what_a_person_should_know_is_said(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    list(project.prepare("small", backend="torch"))
    tissue = project.suggest(2)
    project.label("small", *tissue[0].middle, {"Tumour"}, reader="KL")
    project.label("small", *tissue[1].middle, {"Stroma"}, reader="KL")
    project.label("small", *tissue[1].middle, {"Tumour"}, reader="MM")
    head = project.fit()
    said = " ".join(head.notes)
    assert "contradict each other (KL says Stroma; MM says Tumour)" in said
    assert "No tile is labelled Stroma, Lymphocytes and Necrosis yet" in said
    assert set(np.unique(head.map("small").labels)) == {0, 1}
    assert "too few labels to say" in str(head.score)
    assert len(project.labels()) == 3


def test_features_of_another_encoder_are_not_used(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    list(project.prepare("small", backend="torch"))
    project.label("small", *project.suggest(1)[0].middle, {"Tumour"})
    data = json.loads((project.folder / "project.json").read_text())
    data["encoder"]["sha256"] = "0" * 64
    project.close()
    (project.folder / "project.json").write_text(json.dumps(data))
    with open_project(project.folder) as other:
        with pytest.raises(ProjectError, match="another encoder"):
            other.fit()
        with pytest.raises(FeaturesError, match="other weights"):
            list(other.prepare("small", backend="torch"))
        assert len(other.labels()) == 1
