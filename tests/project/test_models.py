"""From a taught project to models: the quick one says what the live map says, and training goes on after a stop."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_projects import SMALL, held

from napari_wsss import load_bundle, segment
from napari_wsss.project import Project, StepFinished, Trained, TrainProgress
from napari_wsss.project.recipe import recipe_for
from napari_wsss.project.training_run import TrainOptions, _begin, _recipe, advice_on
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
    project = taught(make(slides["small"]), 4)
    with pytest.raises(FewLabelsError, match="training needs 8; label more"):
        project.train("first")
    with pytest.raises(TrainingError.__mro__[1], match="cannot be a model's name"):
        project.train("../first")


@pytest.mark.slow
def test_training_goes_on_after_a_stop(make: Make, slides: dict[str, Path], tmp_path: Path) -> None:
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


def test_another_label_is_another_run(tmp_path: Path) -> None:
    manifest = {"labels": [["a", 0, 0, [1, 0], False]] * 40, "corrections": []}
    recipe = _recipe(manifest, TrainOptions())
    _begin(tmp_path, manifest, recipe, TrainOptions())
    (tmp_path / "stage2" / "bundle").mkdir(parents=True)
    (tmp_path / "test.json").write_text("{}")
    _begin(tmp_path, manifest, recipe, TrainOptions())
    assert (tmp_path / "stage2").is_dir()
    more = {**manifest, "labels": [*manifest["labels"], ["a", 0, 1, [0, 1], False]]}
    _begin(tmp_path, more, _recipe(more, TrainOptions()), TrainOptions())
    assert not (tmp_path / "stage2").exists()
    assert not (tmp_path / "test.json").exists()


@pytest.mark.parametrize("labels", [8, 60, 300, 5000])
def test_settings_follow_the_amount_of_labels(labels: int) -> None:
    recipe = recipe_for(labels, labels // 2, 3)
    assert 4 <= recipe.batch_size <= max(4, labels)
    assert recipe_for(4 * labels, labels, 3).patches == pytest.approx(2 * recipe.patches, rel=0.01)
    # As many patches with tiles that nobody labelled as without.
    assert recipe.epochs_of(2 * labels) == pytest.approx(recipe.epochs_of(labels) / 2, abs=1)
    assert recipe.epochs_of(100 * recipe.patches) == 1
    assert recipe_for(labels, 3, 1).mosaic == 0


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
