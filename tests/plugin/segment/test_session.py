from __future__ import annotations

import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_wsss.backends.courtesy import HAND
from napari_wsss.models.bundle import default_bundle
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.segment.session import SegmentSession, session_for
from napari_wsss.plugin.view.layers import METADATA_KEY
from tiling.engine.events import Event
from tiling.errors import StoreLockedError
from tiling.store.journal import Committed, Journal
from tiling.store.reader import Store, open_store


def test_a_run_from_start_to_legend(
    make_session: Callable[..., SegmentSession], viewer: Any, banded_slide: Path
) -> None:
    session = make_session()
    session.open_slide(banded_slide)
    assert session.run()
    assert session.wait(300).phase == "done"
    slide, result = viewer.layers
    store = open_store(banded_slide.parent / "wsss-results" / "banded.zarr")
    assert store.is_complete
    np.testing.assert_array_equal(np.asarray(result.data[0]), store.labels()[0][:])
    assert {row.name: row.mm2 for row in session.legend()} == pytest.approx(store.areas)
    assert [row.percent_text for row in session.legend()] == ["25.0 %"] * 4
    # Corners on corners: world extents are those of pixel centres.
    half = (np.asarray(result.scale) - np.asarray(slide.scale)) / 2
    np.testing.assert_allclose(result.extent.world - slide.extent.world, [half, -half])
    assert [str(unit) for unit in result.units] == ["micrometer"] * 2


def test_the_layer_grows_while_the_run_goes_on(
    make_session: Callable[..., SegmentSession],
    viewer: Any,
    banded_slide: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("napari_wsss.plugin.segment.session.REFRESH_SECONDS", 0.0)
    session = make_session(delay=0.02)
    session.open_slide(banded_slide)
    session.run()
    shares = []
    while session.state.is_active:
        if session.poll() and len(viewer.layers) == 2:
            shares.append(float((np.asarray(viewer.layers[1].data[0]) > 0).mean()))
        time.sleep(0.005)
    assert shares == sorted(shares)
    assert len({share for share in shares if 0 < share < 1}) >= 2
    assert shares[-1] == 1


def test_cancel_then_resume_gives_the_same_as_one_run(
    make_session: Callable[..., SegmentSession], viewer: Any, banded_slide: Path, toy: Any
) -> None:
    pause = toy.Pause(after=60)
    session = make_session(pause=pause)
    session.open_slide(banded_slide)
    session.run()
    pause.wait_for(session)
    session.cancel()
    assert session.state.phase == "cancelling"
    before = session.state.tiles_done
    pause.end()
    state = session.wait(300)
    assert state.phase == "cancelled"
    assert state.tiles_done - before <= 4  # the batch in work, and no more
    assert state.can_resume
    assert not open_store(state.store).is_complete
    done = state.tiles_done
    layer = viewer.layers[1]
    layer.opacity = 0.9
    session.show_class(2, visible=False)
    assert session.resume()
    session.poll()
    assert session.wait(300).phase == "done"
    assert 0 < done < session.state.tiles
    assert viewer.layers[1] is layer
    assert layer.opacity == 0.9
    assert session.live.hidden_labels == {2}
    resumed = open_store(session.state.store).labels()[0][:]
    shutil.rmtree(session.state.store)
    assert session.run(restart=True)
    assert session.wait(300).phase == "done"
    np.testing.assert_array_equal(open_store(session.state.store).labels()[0][:], resumed)
    assert len(viewer.layers) == 2


def test_the_journal_is_not_read_in_the_thread_of_the_viewer(
    make_session: Callable[..., SegmentSession],
    banded_slide: Path,
    toy: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For a slide 60,000 px wide its two files had 430 MB, and Cancel froze the window for a second and more."""
    threads = set[int]()
    committed = Journal.committed

    def noted(journal: Journal) -> Committed:
        threads.add(threading.get_ident())
        return committed(journal)

    pause = toy.Pause(after=60)
    session = make_session(pause=pause)
    session.open_slide(banded_slide)
    session.run()
    pause.wait_for(session)
    monkeypatch.setattr(Journal, "committed", noted)
    session.cancel()
    pause.end()
    assert session.wait(300).phase == "cancelled"
    assert len(threads - {threading.get_ident()}) == len(threads) == 1


def test_a_new_result_takes_turns_of_the_window_and_its_store_is_opened_elsewhere(
    make_session: Callable[..., SegmentSession],
    viewer: Any,
    banded_slide: Path,
    toy: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Opening the levels, making the layer and drawing it in one turn froze the window for a third of a second."""
    threads = set[int]()
    labels = Store.labels

    def noted(store: Store) -> Any:
        threads.add(threading.get_ident())
        return labels(store)

    monkeypatch.setattr(Store, "labels", noted)
    pause = toy.Pause(after=60)
    session = make_session(pause=pause)
    session.open_slide(banded_slide)
    session.run()
    pause.wait_for(session)  # one turn, in which everything is told
    layer = viewer.layers[1]
    assert not layer.visible
    assert not layer.data[-1].any()
    assert session.poll()
    assert layer.visible
    session.poll()
    assert layer.data[-1].any()  # blocks told of before the layer was there are not lost
    assert threads
    assert threading.get_ident() not in threads
    pause.end()
    assert session.wait(300).phase == "done"
    np.testing.assert_array_equal(np.asarray(layer.data[0]), open_store(session.state.store).labels()[0][:])


def test_a_journal_that_is_damaged_when_the_run_ends_is_told(
    make_session: Callable[..., SegmentSession], banded_slide: Path, toy: Any
) -> None:
    pause = toy.Pause(after=60)

    def torn(request: RunRequest) -> Generator[Event]:
        try:
            with closing(toy.events(request, predictor=toy.Predictor(0.0, pause))) as events:
                yield from events
        finally:
            for name in ("even.row", "odd.row"):
                (request.out / "journal" / name).write_bytes(b"")

    session = make_session(events=torn)
    session.open_slide(banded_slide)
    session.run()
    pause.wait_for(session)
    session.cancel()
    pause.end()
    state = session.wait(300)
    assert state.phase == "failed"
    assert "damaged" in state.message


def test_a_finished_result_is_checked_and_shown(
    make_session: Callable[..., SegmentSession], viewer: Any, banded_slide: Path
) -> None:
    session = make_session()
    session.open_slide(banded_slide)
    session.run()
    session.wait(300)
    del viewer.layers[1]
    session.run()
    assert session.wait(300).phase == "cached"
    assert len(viewer.layers) == 2
    assert (np.asarray(viewer.layers[1].data[0]) > 0).all()


def test_other_options_ask_and_both_results_are_kept(
    make_session: Callable[..., SegmentSession], banded_slide: Path
) -> None:
    session = make_session()
    session.open_slide(banded_slide)
    session.run()
    session.wait(300)
    first = session.result
    assert first is not None
    session.set_preferences(overlap=0.5)
    assert not session.run()
    assert session.question is not None
    assert "the overlap (25 %)" in session.question.text
    assert "toy · whole slide" in session.question.text
    assert not any(word in session.question.text for word in ("sha256", "--", "restart"))
    assert session.keep_both()
    assert session.wait(300).phase == "done"
    assert [r.store.name for r in session.results()] == ["banded-2.zarr", "banded.zarr"]
    assert session.result_name == "toy · whole slide, overlap 50 %"
    assert open_store(first.store).is_complete
    # Asked again with either choice of options, the result that was made so is found: nothing is asked.
    assert session.run()
    assert session.wait(300).phase == "cached"
    session.set_preferences(overlap=0.25)
    assert session.run()
    assert session.wait(300).phase == "cached"
    assert session.result_name == "toy · whole slide"
    assert session.result == session.book.get(first.store)


def test_other_options_replace_when_told_to(
    make_session: Callable[..., SegmentSession], banded_slide: Path
) -> None:
    session = make_session()
    session.open_slide(banded_slide)
    session.run()
    session.wait(300)
    session.set_preferences(overlap=0.5)
    assert not session.run()
    session.leave_it()
    assert session.question is None
    assert not session.run()
    assert session.replace_result()
    assert session.wait(300).phase == "done"
    assert [r.store.name for r in session.results()] == ["banded.zarr"]
    assert session.results()[0].run["parameters"]["overlap"] == 0.5


def test_what_only_the_engine_can_tell_apart_is_asked_as_well(
    make_session: Callable[..., SegmentSession], banded_slide: Path, toy: Any
) -> None:
    class Other(toy.Predictor):
        def __init__(self) -> None:
            super().__init__()
            self.identity = {**self.identity, "precision": "bf16"}

    session = make_session()
    session.open_slide(banded_slide)
    session.run()
    session.wait(300)
    session._events = partial(toy.events, predictor=Other())
    assert session.run()
    session.wait(300)
    assert session.question is not None
    assert session.state.phase == "done", "what is shown is the result that is there"
    assert session.keep_both()
    assert session.wait(300).phase == "done"
    assert len(session.results()) == 2


def test_the_layer_is_deleted_in_the_middle(
    make_session: Callable[..., SegmentSession], viewer: Any, banded_slide: Path, toy: Any
) -> None:
    pause = toy.Pause(after=40)
    session = make_session(pause=pause)
    session.open_slide(banded_slide)
    session.run()
    pause.wait_for(session)
    del viewer.layers[1]
    pause.end()
    assert session.wait(300).phase == "done"
    assert len(viewer.layers) == 1
    assert session.live is not None
    assert session.result_layer is None
    session.show_class(1, visible=False)  # nothing to hide, no error
    session.live.show()
    assert (np.asarray(viewer.layers[1].data[0]) > 0).all()


def test_the_slide_is_deleted_in_the_middle(
    make_session: Callable[..., SegmentSession], viewer: Any, banded_slide: Path, toy: Any
) -> None:
    pause = toy.Pause(after=40)
    session = make_session(pause=pause)
    session.open_slide(banded_slide)
    session.run()
    pause.wait_for(session)
    del viewer.layers[0]
    pause.end()
    assert session.wait(300).phase == "done"
    assert session.run() is False
    assert "No slide is chosen" in session.problem


def test_the_store_is_deleted_in_the_middle(
    make_session: Callable[..., SegmentSession], banded_slide: Path, toy: Any
) -> None:
    pause = toy.Pause(after=40)
    session = make_session(pause=pause)
    session.open_slide(banded_slide)
    session.run()
    pause.wait_for(session)
    shutil.rmtree(session.state.store, ignore_errors=True)
    pause.end()
    state = session.wait(300)
    assert state.phase == "failed"
    assert "banded.zarr" in state.message


def test_closing_stops_the_run(make_session: Callable[..., SegmentSession], banded_slide: Path) -> None:
    session = make_session(delay=0.05)
    session.open_slide(banded_slide)
    session.run()
    while session.state.tiles_done < 8:
        session.poll()
        assert session.state.is_active
        time.sleep(0.01)
    session.close()
    again = make_session()
    again.open_slide(banded_slide)
    again.run()
    assert again.wait(300).phase == "done"  # the lock was freed


def test_a_run_that_has_told_of_its_end_goes_on_until_its_thread_ends(
    make_session: Callable[..., SegmentSession], banded_slide: Path, toy: Any
) -> None:
    told, go_on = threading.Event(), threading.Event()

    def events(request: RunRequest) -> Generator[Event]:
        yield from toy.events(request, predictor=toy.Predictor())
        told.set()
        assert go_on.wait(60)

    session = make_session(events=events)
    session.open_slide(banded_slide)
    session.run()
    assert told.wait(60)
    session.poll()
    # Nothing else may begin yet: a press of Run would be lost.
    assert session.state.phase == "running"
    assert session.active is not None
    assert [row.percent_text for row in session.legend()] == ["25.0 %"] * 4
    go_on.set()
    assert session.wait(60).phase == "done"
    assert session.active is None


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (StoreLockedError("a.zarr is written by process 7."), "wait until the other run"),
        (RuntimeError("CUDA out of memory"), "smaller batch size"),
        (ZeroDivisionError("division by zero"), "please report it"),
    ],
)
def test_errors_are_explained_in_full(
    make_session: Callable[..., SegmentSession], banded_slide: Path, error: Exception, advice: str
) -> None:
    def events(request: RunRequest) -> Generator[Event]:
        raise error
        yield

    session = make_session(events=events)
    session.open_slide(banded_slide)
    session.run()
    state = session.wait(300)
    assert state.phase == "failed"
    assert str(error) in state.message
    assert advice in state.message


def test_a_slide_without_mpp(make_session: Callable[..., SegmentSession], toy: Any, tmp_path: Path) -> None:
    session = make_session()
    with pytest.warns(UserWarning, match="shown in pixels"):
        layer = session.open_slide(toy.write_banded(tmp_path / "plain.tif", mpp=None))
    assert session.slide_mpp is None
    assert any("µm per pixel" in text for text in session.warnings())
    assert not session.run()
    assert "µm per pixel" in session.problem
    assert "µm per pixel" in session.why_not()
    session.set_mpp(0.5)
    assert session.warnings() == []
    assert tuple(layer.scale) == (0.5, 0.5)
    session.run()
    assert session.wait(300).phase == "done"
    assert [row.percent_text for row in session.legend()] == ["25.0 %"] * 4


@pytest.mark.parametrize("folder", ["~nobody-of-this-name/out", "out\0"])
def test_a_folder_for_results_that_cannot_be_is_one_sentence(
    make_session: Callable[..., SegmentSession], banded_slide: Path, folder: str
) -> None:
    session = make_session()
    session.set_preferences(folder=folder)
    session.open_slide(banded_slide)
    assert not session.run()
    assert session.problem.startswith(f"The folder for results {folder!r} ")
    assert session.why_not() == session.problem


@pytest.mark.parametrize("moved", [("center", (3.0, 4.0)), ("zoom", 7.0)])
def test_a_move_in_the_viewer_is_noted_for_the_networks(
    make_session: Callable[..., SegmentSession],
    viewer: Any,
    monkeypatch: pytest.MonkeyPatch,
    moved: tuple[str, Any],
) -> None:
    make_session()
    monkeypatch.setattr(HAND, "_last", float("-inf"))
    setattr(viewer.scene.camera, *moved)
    assert HAND._last > float("-inf")


def test_no_slide_and_no_bundle(make_session: Callable[..., SegmentSession], banded_slide: Path) -> None:
    session = make_session()
    assert session.run() is False
    assert "Open slide" in session.problem
    session.open_slide(banded_slide)
    session.choose_bundle("/nowhere")
    assert session.bundle is None
    assert "/nowhere" in session.bundle_problem
    assert session.run() is False
    assert "/nowhere" in session.problem
    assert session.schema is None
    assert session.legend() == []


def test_the_sample_slide_gets_the_model_that_was_made_for_it(
    make_session: Callable[..., SegmentSession], banded_slide: Path, tmp_path: Path, toy: Any
) -> None:
    session = make_session()
    session.choose_bundle("")
    usual = session.bundle
    assert usual is not None
    assert usual.name == default_bundle()
    sample = session.open_slide(banded_slide)
    sample.metadata[METADATA_KEY]["bundle"] = "synthetic-demo"
    session.choose_slide(None)
    session.choose_slide(sample)
    assert session.bundle is not None
    assert session.bundle.name == "synthetic-demo"
    assert session.warnings() == []
    assert session.preferences.bundle == ""
    other = session.open_slide(toy.write_banded(tmp_path / "slides" / "other.tif"))
    assert session.bundle.name == usual.name
    # What was chosen by hand stays, with a word of warning.
    session.bundle = replace(usual, name="mine")
    session.preferences = replace(session.preferences, bundle="mine")
    session.choose_slide(sample)
    assert session.bundle.name == "mine"
    assert "synthetic-demo was made for it" in " ".join(session.warnings())
    session.choose_slide(other)
    assert "synthetic" not in " ".join(session.warnings())


def test_a_region_drawn_with_shapes(
    make_session: Callable[..., SegmentSession], viewer: Any, banded_slide: Path
) -> None:
    session = make_session()
    session.open_slide(banded_slide)
    session.region = "shapes"
    assert session.run() is False
    assert "No shapes layer" in session.problem
    # 200 × 100 µm in the first two bands.
    rectangle = np.array([[100, 100], [100, 300], [200, 300], [200, 100]])
    session.shapes = viewer.add_shapes([rectangle], units=("micrometer", "micrometer"))
    session.run()
    state = session.wait(300)
    assert state.phase == "done"
    assert state.store is not None
    assert state.store.name == "banded-region.zarr"
    labels = open_store(state.store).labels()[0][:]
    rows, columns = np.flatnonzero(labels.any(1)), np.flatnonzero(labels.any(0))
    np.testing.assert_allclose((rows[0], rows[-1], columns[0], columns[-1]), (100, 200, 100, 300), atol=1)
    assert set(np.unique(labels)) == {0, 1, 2}


def test_the_result_lies_on_a_moved_and_turned_slide(
    make_session: Callable[..., SegmentSession], viewer: Any, banded_slide: Path
) -> None:
    session = make_session()
    slide = session.open_slide(banded_slide)
    slide.translate = (100, -50)
    slide.rotate = 30
    slide.shear = [0.1]
    slide.affine = np.array([[0.9, 0.1, 5], [-0.2, 1.1, 7], [0, 0, 1]])
    session.run()
    session.wait(300)
    result = viewer.layers[1]
    for y, x in ((0, 0), (599, 0), (300, 799)):
        # Label pixel (y, x) covers level-0 pixels 2y, 2y + 1: its centre is half a pixel after 2y.
        np.testing.assert_allclose(
            result.data_to_world((y, x)), slide.data_to_world((2 * y + 0.5, 2 * x + 0.5)), atol=1e-6
        )


def test_a_class_is_hidden_and_shown(
    make_session: Callable[..., SegmentSession], viewer: Any, banded_slide: Path
) -> None:
    session = make_session()
    session.open_slide(banded_slide)
    session.run()
    session.wait(300)
    layer = viewer.layers[1]
    session.show_class(3, visible=False)
    assert tuple(layer.colormap.color_dict[3])[3] == 0
    assert tuple(layer.colormap.color_dict[2])[3] == 1
    session.show_class(3, visible=True)
    assert tuple(layer.colormap.color_dict[3])[3] == 1


def test_the_model_does_not_fit_the_slide(
    make_session: Callable[..., SegmentSession], banded_slide: Path
) -> None:
    session = make_session()
    session.open_slide(banded_slide)
    assert session.warnings() == []
    session.set_mpp(2.0)
    assert "enlarged" in session.warnings()[0]


def test_exports_are_written_one_after_another_and_told(
    make_session: Callable[..., SegmentSession], banded_slide: Path, tmp_path: Path
) -> None:
    session = make_session()
    assert not session.export(tmp_path / "a.csv")
    session.open_slide(banded_slide)
    session.run()
    session.wait(300)
    assert session.can_export
    assert session.export(tmp_path / "a.csv")
    assert session.export(tmp_path / "b.geojson"), "asked for while the first is written"
    assert "1 more" in session.exports.notice
    session.wait(300)
    assert (tmp_path / "a.csv").exists()
    assert (tmp_path / "b.geojson").exists()
    assert session.exports.notice == f"{tmp_path / 'b.geojson'} is written."
    session.export(tmp_path / "missing-ending")
    session.wait(300)
    assert "ending" in session.exports.problem
    assert session.exports.notice == ""


def test_docks_of_one_viewer_share_a_session_as_long_as_one_holds_it(viewer: Any) -> None:
    from napari.components import ViewerModel
    from napari.utils._proxies import PublicOnlyProxy

    session = session_for(viewer)
    assert session_for(PublicOnlyProxy(viewer)) is session
    assert session_for(ViewerModel()) is not session
    known = weakref.ref(viewer)
    del viewer, session
    gc.collect()
    assert known() is None or session_for(known()) is not None


def test_uncertainty_is_a_layer_on_the_tiles(
    make_session: Callable[..., SegmentSession], viewer: Any, banded_slide: Path
) -> None:
    session = make_session()
    slide = session.open_slide(banded_slide)
    session.run()
    session.wait(300)
    assert session.live is not None
    layer = session.live.show_doubt()
    assert session.live.show_doubt() is layer
    store = session.live.store
    assert layer.data.shape == (store.grid.rows, store.grid.columns)
    np.testing.assert_allclose(
        layer.data.ravel(),
        1 - store.tiles()["confidence"].ravel(),
        atol=1e-6,
        err_msg="every tile was predicted",
    )
    # The middle of a tile of the slide lies in its pixel.
    box = store.grid.tile_box(2, 3)
    middle = (box.y + box.height / 2) * 2 - 0.5, (box.x + box.width / 2) * 2 - 0.5
    np.testing.assert_allclose(layer.world_to_data(slide.data_to_world(middle)), (2, 3), atol=0.01)
