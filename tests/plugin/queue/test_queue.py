from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from napari_wsss.plugin.common import Preferences
from napari_wsss.plugin.queue.presenter import SlideQueue
from napari_wsss.plugin.segment import SegmentSession
from tiling.batch import SlideJob
from tiling.engine import Event, run
from tiling.plan import RunOptions
from tiling.slides import open_slide
from tiling.store import open_store


@pytest.fixture
def make_queue(toy: Any, toy_bundle: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SlideQueue]:
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.load_preferences", Preferences)
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.save_preferences", lambda preferences: None)

    def make(viewer: Any, pause: Any = None) -> SlideQueue:
        def segment(job: SlideJob, out: Path) -> Generator[Event]:
            options = RunOptions(mpp=1.0, tissue=None, batch_size=4)
            with open_slide(job.path, mpp=job.mpp) as slide:
                yield from run(slide, toy.Predictor(0.0, pause), out, options)

        session = SegmentSession(viewer)
        session.bundle, session.bundle_problem = toy_bundle, ""
        return SlideQueue(session, segment=segment)

    return make


@pytest.fixture
def three_slides(tmp_path: Path, toy: Any) -> Path:
    """A folder with two slides and a broken one."""
    folder = tmp_path / "slides"
    toy.write_banded(folder / "a.tif")
    (folder / "b.svs").write_text("no slide")
    toy.write_banded(folder / "c.tif", mpp=1.0)
    return folder


def test_a_broken_slide_does_not_stop_the_others(
    make_queue: Callable[..., SlideQueue], three_slides: Path
) -> None:
    from napari.components import ViewerModel

    queue = make_queue(ViewerModel())
    assert not queue.run()
    assert "Nothing waits" in queue.problem
    queue.add([three_slides])
    queue.session.set_preferences(folder="~nobody-of-this-name/out")
    assert not queue.run()
    assert "a user who does not exist" in queue.problem
    queue.session.set_preferences(folder="")
    queue.add([three_slides / "a.tif"])
    assert [row.job.slide_id for row in queue.rows] == ["a", "b", "c"]
    assert queue.run()
    queue.wait(300)
    assert [row.status for row in queue.rows] == ["done", "failed", "done"]
    assert "b.svs" in queue.rows[1].text
    assert queue.summary() == "2 of 3 slides done, 1 failed"
    with (three_slides / "wsss-results" / "summary.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done", "failed", "done"]
    queue.look_at(0)
    assert queue.session.result is not None, "its result comes with the slide"
    assert queue.session.can_export
    # Again: what is done is not done again, what failed is tried anew.
    assert queue.run()
    queue.wait(300)
    assert [row.status for row in queue.rows] == ["done", "failed", "done"]


def test_a_stopped_queue_goes_on(make_queue: Callable[..., SlideQueue], three_slides: Path, toy: Any) -> None:
    from napari.components import ViewerModel

    pause = toy.Pause(after=60)
    queue = make_queue(ViewerModel(), pause)
    queue.add([three_slides / "a.tif", three_slides / "c.tif"])
    queue.run()
    assert pause._reached.wait(300)
    queue.poll()
    assert queue.rows[0].status == "running"
    assert "tiles" in queue.rows[0].text
    queue.stop()
    pause.end()
    queue.wait(300)
    assert [row.status for row in queue.rows] == ["stopped", "waiting"]
    assert queue.problem == ""
    assert queue.run()
    queue.wait(300)
    assert [row.status for row in queue.rows] == ["done", "done"]


def test_a_scale_for_files_that_have_none(
    make_queue: Callable[..., SlideQueue], three_slides: Path, toy: Any
) -> None:
    from napari.components import ViewerModel

    plain = toy.write_banded(three_slides / "plain.tif", mpp=None)
    manifest = three_slides / "manifest.csv"
    manifest.write_text("slide_id,path,mpp\nother,c.tif,2.0\n")
    queue = make_queue(ViewerModel())
    queue.add([three_slides / "a.tif", plain, manifest])
    queue.run()
    queue.wait(300)
    assert [row.status for row in queue.rows] == ["done", "failed", "done"]
    queue.scale = 0.25
    queue.run()
    queue.wait(300)
    assert [row.status for row in queue.rows] == ["done", "done", "done"]
    said = [open_store(queue.folder / f"{row.job.slide_id}.zarr").slide_mpp for row in queue.rows]
    assert said == [0.5, 0.25, 2.0], "the file, what was typed, the manifest"
    for index, mpp in enumerate(said):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            queue.look_at(index)
        assert queue.session.slide_mpp == mpp
        assert queue.session.slide_name == queue.rows[index].job.path.name


@pytest.mark.gui
def test_the_dock(
    make_napari_viewer_proxy: Callable[..., Any],
    make_queue: Callable[..., SlideQueue],
    three_slides: Path,
    toy: Any,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from qtpy.QtWidgets import QFileDialog

    from napari_wsss.plugin.queue.dock import QueueWidget

    viewer = make_napari_viewer_proxy(show=True)
    pause = toy.Pause(after=8)  # a queue that ends between two redraws never shows that it runs
    widget = QueueWidget(viewer, make_queue(viewer, pause))
    viewer.window.add_dock_widget(widget, name="Queue of slides")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(three_slides))
    widget.add_folder.click()
    qtbot.waitUntil(lambda: widget.table.rowCount() == 3)
    widget.scale.setValue(0.75)
    assert widget.queue.scale == 0.75
    widget.run.click()
    qtbot.waitUntil(lambda: widget.stop.isVisible())
    assert not widget.scale.isEnabled()
    pause.end()
    qtbot.waitUntil(lambda: widget.run.isVisible(), timeout=120_000)
    qtbot.waitUntil(lambda: widget.table.item(2, 1).text() == "done")
    assert widget.table.item(1, 1).text().startswith("failed: ")
    # A cell has no room for the reason: it stands below, of the first that failed, or of the chosen one.
    assert widget.error.isVisible()
    assert widget.error.text().startswith("b: ")
    assert "b.svs is not a slide" in widget.error.text()
    widget.queue._put("c", error="Of the third.")
    widget.table.selectRow(2)
    assert widget.error.text() == "c: Of the third."
    widget.queue._put("c", error="")
    widget.tick()
    widget.table.clearSelection()
    widget.table.itemDoubleClicked.emit(widget.table.item(2, 0))
    assert [layer.name for layer in viewer.layers if layer.visible] == ["c.tif", "c tissue"]
