"""A pathologist's afternoon in napari, played with real clicks and keys; a picture of every step. Needs a display.

xvfb-run -s "-screen 0 1600x1200x24" python scripts/pathologist.py SLIDE SLIDE --out DIR
        [--size 1280 800] [--theme light] [--docs docs/img]

``QT_SCALE_FACTOR=2`` in the environment plays it at 200 %. ``tests/plugin/test_gui_pathologist.py`` plays it, too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

PATIENCE = 600.0
DOCUMENTED = {
    "03-tissue": "tissue",
    "05-view-grows": "growing",
    "07-whole": "result",
    "12-shapes": "shapes",
    "14-queue": "queue",
    "15-explain": "explain",
    "16-review": "review",
}
"""Pictures of the first slide that ``docs/plugin.md`` shows, and what they are called there."""


class Pathologist:
    """Hands, eyes and a notebook.

    Parameters
    ----------
    make_viewer : callable
        Opens a window of napari.
    slides : sequence of Path
        Two slides; a scale is typed for those whose files have none.
    work : Path
        Where results and exports go.
    pictures : Path
        Where pictures go.
    bundle : str
        Model; empty for the default.
    size : (int, int)
        Of the window.
    """

    def __init__(
        self,
        make_viewer: Callable[[], Any],
        slides: Sequence[Path],
        work: Path,
        pictures: Path,
        bundle: str = "",
        size: tuple[int, int] = (1500, 940),
        theme: str = "dark",
    ) -> None:
        self.make_viewer, self.slides, self.work, self.pictures = make_viewer, slides, work, pictures
        self.bundle, self.size, self.theme = bundle, size, theme
        self.exports = work / "exports"
        for folder in (self.exports, pictures):
            folder.mkdir(parents=True, exist_ok=True)
        self.open_napari()

    # --- hands and eyes --------------------------------------------------------------------------------------

    def open_napari(self) -> None:
        """Open a window with the panel, as after a start."""
        self.viewer = self.make_viewer()
        self.viewer.theme = self.theme
        self.viewer.window.resize(*self.size)
        self.panel = self.dock("Segment slide")
        self.session = self.panel.session
        self.session.choose_bundle(self.bundle)
        self.session.set_preferences(folder=str(self.work / "results"))
        self.canvas = self.viewer.window._qt_viewer.canvas.native

    def dock(self, name: str) -> Any:
        """Open a dock from the menu Plugins; return what is in it."""
        known = self.viewer.window._wrapped_dock_widgets

        def found() -> Any:
            return next((dock for full, dock in known.items() if full.startswith(name)), None)

        if found() is None:
            next(a for a in _actions(self.viewer.window.plugins_menu) if a.text().startswith(name)).trigger()
            self.wait(found, name)
        self.raise_dock(name)
        return found().inner_widget()

    def raise_dock(self, name: str) -> None:
        """Bring the tab of a dock to the front."""
        dock = next(
            d for full, d in self.viewer.window._wrapped_dock_widgets.items() if full.startswith(name)
        )
        dock.raise_()
        self.wait(lambda: not dock.visibleRegion().isEmpty(), f"{name} is on top")

    def wait(self, until: Callable[[], object], what: str = "") -> None:
        """Wait until something is to be seen."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < end, f"waited in vain: {what or until}"
            QApplication.processEvents()
            time.sleep(0.002)

    def rest(self) -> None:
        """Let everything be drawn that has to be."""
        for _ in range(3):
            ticked = self.panel.session.revision
            end = time.monotonic() + 0.25
            self.wait(lambda end=end: time.monotonic() > end)
            if ticked == self.panel.session.revision:
                break

    def picture(self, name: str) -> None:
        """Keep what the window shows."""
        from PIL import Image

        self.rest()
        pixels = np.asarray(self.viewer.screenshot(canvas_only=False, flash=False))
        assert pixels[..., :3].std() > 5, "an empty window"
        Image.fromarray(pixels[..., :3]).save(self.pictures / f"{name}.png")

    def click(self, button: Any) -> None:
        """Press a button with the mouse."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        self.wait(lambda: button.isVisible() and button.isEnabled(), f"{button.text()} can be pressed")
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    def choose(self, combo: Any, index: int) -> None:
        """Choose an entry of a box with the arrow keys."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        combo.setFocus()
        while combo.currentIndex() != index:
            before = combo.currentIndex()
            QTest.keyClick(combo, Qt.Key.Key_Down if before < index else Qt.Key.Key_Up)
            assert combo.currentIndex() != before, f"{combo.accessibleName()} does not answer the keys"

    def type(self, spin: Any, text: str) -> None:
        """Type a number and press Return."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        spin.setFocus()
        spin.selectAll()
        QTest.keyClicks(spin, text)
        QTest.keyClick(spin, Qt.Key.Key_Return)

    def place(self, y: float, x: float) -> Any:
        """Where a part of the chosen slide (0 to 1) is on the canvas."""
        from qtpy.QtCore import QPoint

        slide = self.session.slide
        shape = np.array(slide.data[0].shape[:2])
        world = np.asarray(slide.data_to_world(tuple(shape * (y, x))))[-2:]
        offset = (world - self.viewer.scene.camera.center[-2:]) * self.viewer.scene.camera.zoom
        height, width = self.viewer.canvas.size
        return QPoint(round(width / 2 + offset[1]), round(height / 2 + offset[0]))

    def stroke(self, *places: tuple[float, float]) -> None:
        """Press the mouse at the first place of the slide, draw through the others, let go at the last."""
        from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        def move(at: QPoint, pressed: Qt.MouseButton) -> None:
            event = QMouseEvent(
                QEvent.Type.MouseMove,
                QPointF(at),
                QPointF(self.canvas.mapToGlobal(at)),
                Qt.MouseButton.NoButton,
                pressed,
                Qt.KeyboardModifier.NoModifier,
            )
            QApplication.sendEvent(self.canvas, event)
            QApplication.processEvents()

        points = [self.place(*place) for place in places]
        move(points[0], Qt.MouseButton.NoButton)
        QTest.mousePress(self.canvas, Qt.MouseButton.LeftButton, pos=points[0])
        for start, end in pairwise(points):
            for share in (0.25, 0.5, 0.75, 1.0):
                move(start + (end - start) * share, Qt.MouseButton.LeftButton)
        QTest.mouseRelease(self.canvas, Qt.MouseButton.LeftButton, pos=points[-1])
        QApplication.processEvents()

    @contextmanager
    def answering(self, dialog: str, path: Path | Sequence[str]) -> Iterator[None]:
        """Answer a file dialog."""
        from qtpy.QtWidgets import QFileDialog

        answer = (
            str(path)
            if dialog == "getExistingDirectory"
            else ((str(path) if isinstance(path, Path) else list(path)), "")
        )
        with mock.patch.object(QFileDialog, dialog, return_value=answer):
            yield

    def legend(self) -> list[tuple[str, str]]:
        """Read the legend aloud: names and areas."""
        return [(row.name.whole, row.area.text()) for row in self.panel.legend.rows]

    # --- the afternoon ---------------------------------------------------------------------------------------

    def open_slide(self, path: Path) -> None:
        """Open a slide with the button; type its scale when the file has none."""
        with self.answering("getOpenFileName", path):
            self.click(self.panel.input.open)
        self.wait(lambda: self.panel.input.slides.currentText() == path.name)
        if self.session.slide_mpp is None:
            self.wait(lambda: "type it in" in self.panel.input.warning.text())
            self.type(self.panel.input.mpp, "0.5")
            self.wait(lambda: self.session.slide_mpp == 0.5)

    def show_tissue(self) -> None:
        """Outline the tissue and lower the threshold a little."""
        self.click(self.panel.tissue.show_tissue)
        self.wait(lambda: "% tissue" in self.panel.tissue.text.whole)

    def run(self, region: int) -> None:
        """Run on a region (0 whole, 1 view) to the end."""
        self.choose(self.panel.region.choice, region)
        self.click(self.panel.run.run)
        self.finish()

    def finish(self) -> None:
        """Wait for the end of a run, as the panel tells it."""
        self.wait(lambda: self.session.active is None, "the run ends")
        self.wait(lambda: self.panel.run.progress.text().startswith("Finished"))
        self.wait(lambda: self.legend() == [(row.name, row.area_text) for row in self.session.legend()])

    def play(self) -> None:
        """Do all of it."""
        one, two = self.slides
        self.picture("01-start")
        self.open_slide(one)
        self.wait(lambda: "about" in self.panel.run.cost.text(), "the estimate")
        self.picture("02-slide")
        self.show_tissue()
        self.picture("03-tissue")
        self.viewer.layers["Tissue"].visible = False
        self.view_then_whole()
        self.second_slide(two)
        first = self.legends[one.name]
        self.choose(self.panel.input.slides, 0)
        self.wait(lambda: self.legend() == first, "numbers follow the slide")
        self.picture("10-switched-back")
        self.close_and_reopen(one, first)
        self.shapes_and_report()
        self.queue()
        self.explain_and_review()
        self.correct()

    def view_then_whole(self) -> None:
        """Try the model on the view, then run the whole slide, and both with another overlap."""
        self.viewer.scene.camera.zoom *= 2.2
        self.choose(self.panel.region.choice, 1)
        self.wait(lambda: "tiles" in self.panel.run.cost.text())
        self.picture("04-view")
        self.click(self.panel.run.run)
        self.wait(lambda: sum(row.mm2 for row in self.session.legend()) > 0, "first colour")
        self.picture("05-view-grows")
        self.finish()
        self.picture("06-view-done")
        self.run(0)
        self.fit()
        self.picture("07-whole")
        name = self.panel.input.slides.currentText()
        self.legends = {name: self.legend()}
        self.panel.options.fold.expand()
        self.type(self.panel.options.overlap, "0.1")
        self.panel.options.fold.collapse()
        self.click(self.panel.run.run)
        self.wait(self.panel.run.question.isVisible, "both or one?")
        self.picture("08-question")
        self.click(self.panel.run.question.keep)
        self.finish()
        self.type(self.panel.options.overlap, "0.25")
        results = self.panel.legend.results
        assert results.count() == 3, "view, whole, whole with another overlap"
        whole = next(i for i in range(3) if results.itemData(i).endswith(f"{Path(name).stem}.zarr"))
        self.choose(results, whole)
        self.wait(lambda: self.legend() == self.legends[name])

    def fit(self) -> None:
        """Press napari's house."""
        self.click(self.viewer.window._qt_viewer.viewerButtons.resetViewButton)

    def second_slide(self, path: Path) -> None:
        """Open the other slide and run it; the numbers are its own."""
        self.open_slide(path)
        self.wait(lambda: not self.panel.legend.isVisible())
        self.run(0)
        self.legends[path.name] = self.legend()
        assert len({str(numbers) for numbers in self.legends.values()}) == 2
        self.picture("09-second-slide")

    def close_and_reopen(self, path: Path, numbers: list[tuple[str, str]]) -> None:
        """Close napari, start it again, open the slide: its results come with it."""
        self.viewer.close()
        self.open_napari()
        self.open_slide(path)
        self.wait(lambda: self.panel.legend.results.count() == 3)
        results = self.panel.legend.results
        whole = next(i for i in range(3) if results.itemData(i).endswith(f"{path.stem}.zarr"))
        self.choose(results, whole)
        self.wait(lambda: self.legend() == numbers, "the result comes back")
        self.picture("11-reopened")

    def correct(self) -> None:
        """Paint over a part of the result; the corrected one is counted anew, the first stays."""
        before = {row.name: row.mm2 for row in self.session.legend()}
        correct = self.dock("Correct a region")
        self.wait(lambda: correct.begin.isEnabled())
        self.fit()
        self.viewer.scene.camera.zoom *= 3
        self.click(correct.begin)
        self.wait(lambda: correct.tools.isVisible(), "paintable")
        correct.classes.setCurrentRow(1)
        correct.brush.setValue(120)
        self.stroke((0.45, 0.45), (0.5, 0.55), (0.55, 0.48))
        self.wait(lambda: correct.corrector.painting is not None)
        self.picture("17-correct")
        self.click(correct.save)
        self.wait(lambda: correct.saved.isVisible() and not correct.corrector.is_busy, "saved")
        self.raise_dock("Segment slide")
        after = {row.name: row.mm2 for row in self.session.legend()}
        assert after != before, "counted anew"
        self.wait(lambda: self.legend() == [(row.name, row.area_text) for row in self.session.legend()])
        self.picture("18-corrected")

    def shapes_and_report(self) -> None:
        """Measure two drawn shapes, and write the report."""
        self.fit()
        self.choose(self.panel.region.choice, 2)
        self.click(self.panel.region.new_shapes)
        self.stroke((0.1, 0.15), (0.4, 0.6))
        self.stroke((0.5, 0.3), (0.8, 0.9))
        table = self.exports / "shapes.csv"
        with self.answering("getSaveFileName", table):
            self.panel.results.shapes.trigger()
        self.wait(lambda: self.panel.results.notice.whole == f"{table} is written.")
        lines = table.read_text().splitlines()
        assert len({line.split(",")[0] for line in lines[1:]}) == 2, lines
        self.picture("12-shapes")
        for ending in (".report.html", ".report.pdf"):
            report = self.exports / f"report{ending}"
            with self.answering("getSaveFileName", report):
                self.panel.results.actions_by_ending[ending].trigger()
            self.wait(lambda report=report: self.panel.results.notice.whole == f"{report} is written.")
            assert report.stat().st_size > 5000
        self.picture("13-report")
        self.choose(self.panel.region.choice, 0)
        self.viewer.layers.remove(self.session.shapes)
        self.viewer.layers.selection.active = self.session.result_layer

    def queue(self) -> None:
        """Run three slides in the background, one of which is broken."""
        broken = self.work / "broken.svs"
        broken.write_text("no slide")
        queue = self.dock("Queue of slides")
        with self.answering("getOpenFileNames", [str(path) for path in (*self.slides, broken)]):
            self.click(queue.add_slides)
        self.wait(lambda: queue.table.rowCount() == 3)
        self.type(queue.scale, "0.5")
        self.click(queue.run)
        self.wait(lambda: queue.run.isVisible() and not queue.queue.is_running, "the queue ends")
        self.wait(lambda: queue.table.item(2, 1).text().startswith("failed"))
        queue.table.setCurrentCell(2, 1)
        assert [queue.table.item(i, 1).text() for i in range(2)] == ["done before"] * 2
        self.picture("14-queue")

    def explain_and_review(self) -> None:
        """Ask why a tile was labelled so, and which tiles deserve a look."""
        explain = self.dock("Explain tile")
        self.click(explain.pick)
        self.stroke((0.4, 0.55))
        self.wait(lambda: explain.explainer.explanation is not None, "explained")
        self.wait(lambda: len(explain.rows) > 0)
        self.picture("15-explain")
        self.click(explain.pick)
        review = self.dock("Review tiles")
        self.wait(lambda: review.table.rowCount() > 0, "tiles to review")
        review.table.selectRow(0)
        self.picture("16-review")


def _actions(menu: Any) -> Iterator[Any]:
    for action in menu.actions():
        if action.menu() is None:
            yield action
        else:
            yield from _actions(action.menu())


def documented(pictures: Path, folder: Path) -> None:
    """Turn the pictures that the documentation shows into its JPEGs."""
    from PIL import Image

    for name, called in DOCUMENTED.items():
        Image.open(pictures / f"{name}.png").save(folder / f"plugin-{called}.jpg", quality=88, optimize=True)


def main() -> None:
    """Play it in a window of its own."""
    os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slides", type=Path, nargs=2)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", default="")
    parser.add_argument("--size", type=int, nargs=2, default=(1500, 940))
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--docs", type=Path, help="also write the pictures of docs/plugin.md there")
    arguments = parser.parse_args()
    import napari

    work = Path(tempfile.mkdtemp())
    person = Pathologist(
        lambda: napari.Viewer(show=True),
        [path.resolve() for path in arguments.slides],
        work,
        arguments.out,
        arguments.bundle,
        tuple(arguments.size),
        arguments.theme,
    )
    person.play()
    person.viewer.close()
    if arguments.docs:
        documented(arguments.out, arguments.docs)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
