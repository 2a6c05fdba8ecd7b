from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.plugin.correct.corrected import corrected_path
from napari_wsss.plugin.correct.presenter import Corrector
from napari_wsss.plugin.correct.regions import corrections_folder
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.segment.session import session_for
from napari_wsss.plugin.view.layers import store_layers
from napari_wsss.project import new_project
from tiling.geometry import Box
from tiling.store import content_digest, open_store, verify


@pytest.fixture
def viewer() -> Any:
    from napari.components import ViewerModel

    viewer = ViewerModel()
    viewer.canvas.size = (600, 800)
    return viewer


@pytest.fixture
def result(toy: Any, toy_bundle: Bundle, banded_slide: Path, tmp_path: Path) -> Path:
    request = RunRequest(
        banded_slide, toy_bundle, tmp_path / "a.zarr", None, None, None, Preferences(skip_background=False)
    )
    list(toy.events(request))
    return request.out


@pytest.fixture
def corrector(viewer: Any, result: Path) -> Corrector:
    for data, arguments, kind in store_layers(open_store(result)):
        (viewer.add_image if kind == "image" else viewer.add_labels)(data, **arguments)
    made = Corrector(viewer)
    made.follow_layers()
    assert made.result is not None
    look_at(viewer, 300.0, 200.0, zoom=4.0)
    return made


def look_at(viewer: Any, y: float, x: float, zoom: float) -> None:
    viewer.scene.camera.center = (y, x)
    viewer.scene.camera.zoom = zoom


def wait(corrector: Corrector) -> None:
    assert corrector._job is not None
    assert corrector._job.wait(60)
    corrector.poll()
    assert not corrector.problem


def paint(corrector: Corrector, label: int, top: int, left: int, side: int) -> None:
    """Paint as a stroke does: napari tells of it when it ends."""
    assert corrector.painting is not None
    layer = corrector.painting.layer
    corrector.take_class(label)
    data = np.zeros(layer.data.shape, bool)
    data[top : top + side, left : left + side] = True
    layer.data_setitem(np.nonzero(data), label)
    layer.events.paint(value=[])


def test_from_a_look_to_a_corrected_result(corrector: Corrector, result: Path, viewer: Any) -> None:
    before = content_digest(result)
    assert corrector.begin()
    painting = corrector.painting
    assert painting is not None
    assert painting.box.width == pytest.approx(200, abs=2), (
        "800 px at zoom 4 are 200 µm, 200 px of the result"
    )
    layer = painting.layer
    assert layer.editable
    assert layer.mode == "paint"
    np.testing.assert_array_equal(layer.data, painting.before)
    corner = corrector.result.data_to_world((painting.box.y, painting.box.x))  # type: ignore[union-attr]
    np.testing.assert_allclose(layer.data_to_world((0, 0)), corner)
    paint(corrector, 4, 10, 20, 30)
    assert corrector.save()
    wait(corrector)
    assert corrector.painting is None
    assert layer not in viewer.layers
    store = open_store(result.with_name("a-corrected.zarr"))
    assert verify(store.path).ok
    wanted = np.asarray(open_store(result).labels()[0]).copy()
    box = painting.box
    wanted[box.y + 10 : box.y + 40, box.x + 20 : box.x + 50] = 4
    np.testing.assert_array_equal(np.asarray(store.labels()[0]), wanted)
    assert content_digest(result) == before
    shown = [layer for layer in corrector.results() if layer.visible]
    assert [Path(layer.metadata["wsss"]["path"]) for layer in shown] == [store.path]
    assert shown[0].name == f"{store.name} corrected"
    assert corrector.saved_regions() == 1

    # Another box, on top of what is corrected: both stay.
    look_at(viewer, 300.0, 500.0, zoom=4.0)
    assert corrector.begin()
    paint(corrector, 1, 0, 0, 10)
    assert corrector.save()
    wait(corrector)
    assert corrector.saved_regions() == 2
    both = np.asarray(open_store(store.path).labels()[0])
    session = session_for(viewer)
    assert session.result is not None
    assert session.result.store == store.path
    assert {row.name: row.mm2 for row in session.legend()} == pytest.approx(open_store(store.path).areas)
    assert "corrected by hand" in session.result_name
    assert (both[box.y + 10 : box.y + 40, box.x + 20 : box.x + 50] == 4).all()
    assert len(corrector.results()) == 2

    assert corrector.undo_all()
    assert not store.path.exists()
    assert not corrections_folder(result).exists()
    assert [Path(layer.metadata["wsss"]["path"]) for layer in corrector.results()] == [result]
    assert corrector.results()[0].visible
    assert not corrector.undo_all()


def test_glass_stays_glass_unless_wanted(corrector: Corrector) -> None:
    assert corrector.begin()
    painting = corrector.painting
    assert painting is not None
    painting.before[:, :40] = 0
    painting.layer.data[:, :40] = 0
    paint(corrector, 4, 0, 20, 40)
    assert not painting.layer.data[:, :40].any()
    assert (painting.layer.data[:40, 40:60] == 4).all()
    corrector.keep_to_tissue(False)
    paint(corrector, 4, 0, 20, 40)
    assert (painting.layer.data[:40, 20:60] == 4).all()


def test_the_brush_is_in_micrometres_and_keys_choose_classes(corrector: Corrector) -> None:
    assert corrector.begin()
    assert corrector.painting is not None
    layer, mpp = corrector.painting.layer, corrector.painting.store.mpp
    corrector.set_brush(50)
    assert layer.brush_size == round(50 / mpp)
    corrector.take_class(3)
    assert corrector.label == 3
    corrector.take_class(0)
    assert corrector.label == 0
    assert layer.mode == "erase"
    corrector.take_class(99)
    assert corrector.label == 0


def test_strokes_are_undone(corrector: Corrector) -> None:
    assert corrector.begin()
    assert corrector.painting is not None
    paint(corrector, 4, 10, 10, 20)
    corrector.undo_stroke()
    np.testing.assert_array_equal(corrector.painting.layer.data, corrector.painting.before)
    assert not corrector.save()
    assert "Nothing was painted" in corrector.notice


def test_too_large_a_view_says_what_to_do(corrector: Corrector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_wsss.plugin.correct.presenter.LARGEST_SIDE", 100)
    assert not corrector.begin()
    assert "zoom in" in corrector.problem


def test_leaving_changes_nothing(corrector: Corrector, result: Path, viewer: Any) -> None:
    assert corrector.begin()
    paint(corrector, 4, 10, 10, 20)
    corrector.discard()
    assert corrector.painting is None
    assert corrector.result.visible  # type: ignore[union-attr]
    assert sorted(path.name for path in result.parent.iterdir() if path.suffix == ".zarr") == ["a.zarr"]
    assert corrector.begin()
    viewer.layers.remove(corrector.painting.layer)  # type: ignore[union-attr]
    corrector.follow_layers()
    assert corrector.painting is None
    assert corrector.result.visible  # type: ignore[union-attr]


def test_a_region_goes_into_the_open_project(
    result: Path, corrector: Corrector, banded_slide: Path, tmp_path: Path
) -> None:
    schema = open_store(result).schema
    with new_project(tmp_path / "p.wsss", schema, tile=64, mpp=1.0, encoder="synthetic-demo") as project:
        slide_id = project.add(banded_slide)
        corrector._project = lambda: project
        assert corrector.begin()
        painting = corrector.painting
        assert painting is not None
        paint(corrector, 4, 0, 0, 5)
        painted = np.array(painting.layer.data)
        assert corrector.save()
        wait(corrector)
        (kept,) = project.corrections(slide_id)
        np.testing.assert_array_equal(kept.mask, painted)
        box = painting.box  # the slide has 0.5 µm per pixel, the result 1
        assert kept.box == Box(2 * box.x, 2 * box.y, 2 * box.width, 2 * box.height)

        # Taken back, it is in neither place; while the project is not open, that is refused and nothing is lost.
        corrector._project = lambda: None
        assert not corrector.undo_all()
        assert "p.wsss" in corrector.problem
        assert "open it in Teach" in corrector.problem
        assert corrector.saved_regions() == len(project.corrections(slide_id)) == 1
        corrector._project = lambda: project
        assert corrector.undo_all(), corrector.problem
        assert project.corrections(slide_id) == []
        assert list((project.folder / "corrections" / slide_id).iterdir()) == []


def test_two_regions_from_one_corner_are_both_kept(
    result: Path, corrector: Corrector, banded_slide: Path, tmp_path: Path
) -> None:
    """Two looks at the slide's corner begin at one place: the second must not take the place of the first."""
    schema = open_store(result).schema
    with new_project(tmp_path / "p.wsss", schema, tile=64, mpp=1.0, encoder="synthetic-demo") as project:
        slide_id = project.add(banded_slide)
        project.correct(slide_id, Box(0, 0, 400, 300), np.ones((150, 200), np.uint8), "other", mpp=1.0)
        corrector._project = lambda: project
        for zoom in (2.0, 3.0):
            look_at(corrector.viewer, 0.0, 0.0, zoom=zoom)
            assert corrector.begin()
            paint(corrector, 4, 0, 0, 5)
            if zoom == 3.0:
                paint(corrector, 2, 0, 0, 5)
            assert corrector.save()
            wait(corrector)
        assert len(project.corrections(slide_id)) == 3
        assert corrector.saved_regions() == 2
        assert corrector.undo_all()
        (other,) = project.corrections(slide_id)
        assert other.reader == "other"


def test_what_the_project_keeps_is_brought_onto_another_result(
    result: Path, corrector: Corrector, banded_slide: Path, tmp_path: Path
) -> None:
    """A new model made the slide anew: what was corrected before need not be painted again."""
    schema = open_store(result).schema
    assert not corrector.has_project
    with new_project(tmp_path / "p.wsss", schema, tile=64, mpp=1.0, encoder="synthetic-demo") as project:
        slide_id = project.add(banded_slide)
        corrector._project = lambda: project
        assert corrector.has_project
        assert not corrector.bring_in()
        assert "keeps no corrected region" in corrector.notice
        project.correct(slide_id, Box(0, 0, 20, 20), np.zeros((10, 10), np.uint8), "nothing", mpp=1.0)
        assert not corrector.bring_in()
        assert "name none of its classes" in corrector.notice
        assert project.take_correction_back(slide_id, Box(0, 0, 20, 20))
        mask = np.full((20, 30), 4, np.uint8)
        mask[0] = 0
        project.correct(slide_id, Box(40, 60, 60, 40), mask, "earlier", mpp=1.0)
        assert corrector.bring_in(), corrector.problem
        wait(corrector)
        before, after = (
            np.asarray(open_store(path).labels()[0]) for path in (result, corrected_path(result))
        )
        np.testing.assert_array_equal(after[31:50, 20:50], 4)
        changed = before != after
        changed[31:50, 20:50] = False
        assert not changed.any()
        assert corrector.saved_regions() == 1
        assert not corrector.bring_in()
        assert "that this result lacks" in corrector.notice
        # Taken back here, it stays in the project: it was painted on another result.
        assert corrector.undo_all(), corrector.problem
        assert len(project.corrections(slide_id)) == 1


@pytest.mark.parametrize("mpp", [0.69, 1.45])
def test_a_region_is_never_brought_onto_the_result_that_it_was_painted_on(
    mpp: float, toy: Any, toy_bundle: Bundle, viewer: Any, tmp_path: Path
) -> None:
    """Places go through whole pixels of the slide, and come back beside where they were."""
    slide = toy.write_banded(tmp_path / "odd.tif", mpp=mpp)
    request = RunRequest(
        slide, toy_bundle, tmp_path / "odd.zarr", None, None, None, Preferences(skip_background=False)
    )
    list(toy.events(request))
    for data, arguments, kind in store_layers(open_store(request.out)):
        (viewer.add_image if kind == "image" else viewer.add_labels)(data, **arguments)
    corrector = Corrector(viewer)
    corrector.follow_layers()
    schema = open_store(request.out).schema
    with new_project(tmp_path / "p.wsss", schema, tile=64, mpp=1.0, encoder="synthetic-demo") as project:
        project.add(slide)
        corrector._project = lambda: project
        for number in range(1, 4):
            look_at(viewer, 150.0 + 7.7 * number, 120.0 + 9.1 * number, zoom=4.0)
            assert corrector.begin(), corrector.problem
            for label in (1, 2):
                paint(corrector, label, 20 * label, 3, 9)
            assert corrector.save(), corrector.problem
            wait(corrector)
            assert not corrector.bring_in()
            assert "that this result lacks" in corrector.notice
            assert corrector.saved_regions() == number


def test_without_a_result_nothing_happens() -> None:
    from napari.components import ViewerModel

    corrector = Corrector(ViewerModel())
    corrector.follow_layers()
    assert not corrector.begin()
    assert not corrector.save()
    assert not corrector.undo_all()
    corrector.discard()
    assert corrector.saved_regions() == 0
