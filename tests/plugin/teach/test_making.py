from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from napari_wsss.models.bundle import load_bundle
from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.plugin.segment.session import session_for
from napari_wsss.plugin.teach.making import Training, advance
from napari_wsss.plugin.teach.presenter import Teacher
from napari_wsss.project import StepFinished, StepStarted, Trained, TrainProgress
from napari_wsss.project.project import Project

TILE = 64


@pytest.fixture(autouse=True)
def no_preferences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.load_preferences", Preferences)
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.save_preferences", lambda preferences: None)


def progress(step: str, epoch: int, loss: float | None, score: float | None = None) -> TrainProgress:
    return TrainProgress(step, epoch, 3, loss, score, 0.1 * epoch, 10.0, 75.0)


def test_a_training_in_words() -> None:
    training = Training("trained-1")
    assert training.words() == "starting"
    for event in (
        StepStarted("stage2", 1, 4),
        progress("stage2", 1, 0.9),
        progress("stage2", 1, 0.8),
        progress("stage2", 2, 0.5, 0.61),
    ):
        training = advance(training, event)
    assert training.losses == (0.8, 0.5), "one value per round"
    assert training.samples is None
    seen = advance(training, replace(progress("stage2", 2, 0.5), samples=Path("epoch_002.png")))
    assert advance(seen, progress("stage2", 2, 0.5)).samples == Path("epoch_002.png"), (
        "until there is a newer one"
    )
    assert training.words() == "learning to draw classes · round 2 of 3 · loss 0.5 · score 0.61 · 1:15 left"
    training = advance(training, StepFinished("stage2", 1.0))
    assert training.losses == (0.8, 0.5)
    training = advance(training, StepStarted("evaluate test", 3, 4))
    assert training.losses == ()
    training = advance(training, Trained(Path("x"), 5.0))
    assert training.step == "done"
    assert training.share == 1


def label(teacher: Teacher) -> None:
    for index, column in enumerate((1, 5, 8, 12)):
        for row in (2, 8):
            teacher._hovered((column + 0.5) * TILE, (row + 0.5) * TILE)
            assert teacher.key(index)


def train_with(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch, events: Callable[..., Generator[Any]]
) -> None:
    monkeypatch.setattr(Project, "train_events", events)
    assert teacher.making.train()


def test_a_training_goes_on_where_it_stopped_and_ends_in_segment(
    teacher: Teacher, settled: Callable[[Teacher], None], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    label(teacher)
    asked: list[str] = []
    chosen: list[str] = []
    session = session_for(teacher.viewer)
    monkeypatch.setattr(session, "choose_bundle", chosen.append)

    def endless(project: Project, name: str, fresh: bool) -> Generator[Any]:
        asked.append(name)
        (project.folder / "runs" / name).mkdir(parents=True, exist_ok=True)
        epoch = 0
        while True:
            epoch += 1
            yield progress("stage2", epoch, 1.0 / epoch)

    train_with(teacher, monkeypatch, endless)
    assert not teacher.making.train(), "one at a time"
    while teacher.making.training is None or not teacher.making.training.losses:
        teacher.poll()
    teacher.making.cancel()
    settled(teacher)
    assert "Train goes on" in teacher.work.notice
    assert teacher.making.unfinished == "trained-1"

    def short(project: Project, name: str, fresh: bool) -> Generator[Any]:
        asked.append(name)
        yield StepStarted("stage2", 1, 1)
        bundle = project.folder / "models" / name
        bundle.mkdir(parents=True)
        (bundle / "model.json").write_text("{}")
        yield Trained(bundle, 1.0, {}, "It is not better than the quick model.")

    train_with(teacher, monkeypatch, short)
    settled(teacher)
    assert "is ready" in teacher.work.notice
    assert teacher.work.notice.endswith("It is not better than the quick model.")
    assert asked == ["trained-1", "trained-1"]
    assert chosen == [str(folder / "models" / "trained-1")]
    assert teacher.making.unfinished == ""
    train_with(teacher, monkeypatch, short)
    settled(teacher)
    assert asked[-1] == "trained-2", "another training does not take the place of a finished model"

    def worse(project: Project, name: str, fresh: bool) -> Generator[Any]:
        assert fresh
        yield Trained(folder / "models" / name, 1.0, {}, "It is not better.", folder / "models" / "trained-1")

    teacher.making.fresh = True
    train_with(teacher, monkeypatch, worse)
    settled(teacher)
    assert "“trained-3” is ready; “trained-1” is better and chosen" in teacher.work.notice
    assert chosen[-1] == str(folder / "models" / "trained-1")
    session.close()


def test_a_training_that_fails_says_why(
    teacher: Teacher, settled: Callable[[Teacher], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(project: Project, name: str, fresh: bool) -> Generator[Any]:
        yield StepStarted("stage2", 1, 1)
        raise MemoryError("no room")

    label(teacher)
    train_with(teacher, monkeypatch, broken)
    settled(teacher)
    assert "not enough memory" in teacher.work.problem
    assert not teacher.making.is_training


def test_the_quick_model_is_chosen_at_once(
    viewer: Any, tmp_path: Path, settled: Callable[[Teacher], None]
) -> None:
    """A real one: features by the network, so that they fit it."""
    from napari_wsss.project import new_project
    from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide, write_slide

    slide = SyntheticSlide(width=512, height=384, mpp=0.5, seed=3, region_um=60)
    write_slide(tmp_path / "s.tif", slide)
    new_project(tmp_path / "p.wsss", SYNTHETIC_SCHEMA, tile=64, encoder="synthetic-demo").close()
    teacher = Teacher(viewer)
    assert teacher.open_project(tmp_path / "p.wsss")
    assert not teacher.making.train()
    assert "Label some tiles first" in teacher.work.notice
    assert teacher.add_slide(tmp_path / "s.tif", "P1")
    assert teacher.preparing.begin()
    settled(teacher)
    assert not teacher.work.problem
    assert teacher.slides()[0].prepared == 1
    for index, (x, y) in enumerate(((100, 100), (200, 200), (300, 120), (400, 300))):
        teacher._hovered(x, y)
        teacher.key(index)
    settled(teacher)
    assert teacher.canvas.shown("map") is not None
    assert teacher.making.quick()
    settled(teacher)
    bundle = load_bundle(tmp_path / "p.wsss" / "models" / "quick")
    assert bundle.schema.names == SYNTHETIC_SCHEMA.names
    session = session_for(viewer)
    assert session.bundle is not None
    assert session.bundle.path == bundle.path
    assert str(bundle.path) in session.bundles()
    assert "Segment slide" in teacher.work.notice
    session.close()
    teacher.close()


def test_what_a_model_was_offered_to_ends_with_the_project(teacher: Teacher, folder: Path) -> None:
    """Its session holds the files of all slides that are open."""
    teacher.making._offer(folder / "models" / "none")
    session = weakref.ref(session_for(teacher.viewer))
    assert session() is teacher.making._session
    teacher._use(None)
    gc.collect()
    assert session() is None
