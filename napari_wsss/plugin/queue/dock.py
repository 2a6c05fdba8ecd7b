"""The dock "Queue"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import (
    ElidedLabel,
    button,
    called,
    guard_wheel,
    note,
    quiet,
    scale_box,
    set_note,
    set_tip,
    start_heartbeat,
    table,
    title,
)
from napari_wsss.plugin.queue.presenter import SlideQueue
from napari_wsss.plugin.segment import session_for

if TYPE_CHECKING:
    import napari

__all__ = ["QueueWidget"]

TICK_MS = 250
NAME_WIDTH = 150


class QueueWidget(QWidget):
    """Add slides or a folder, run them in the background, look at one while others run.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    queue : SlideQueue, optional
        Another presenter, for tests.
    """

    def __init__(self, napari_viewer: napari.Viewer, queue: SlideQueue | None = None) -> None:
        super().__init__()
        self.queue = queue or SlideQueue(session_for(napari_viewer))
        layout = QVBoxLayout(self)
        layout.addWidget(title())
        row = QHBoxLayout()
        self.add_slides = button("&Add slides…", self._add_slides, "Slides that wait to be segmented")
        self.add_folder = button("Add &folder…", self._add_folder, "All slides in a folder")
        self.clear = button("C&lear", self.queue.clear, "Forget the list; results stay")
        for each in (self.add_slides, self.add_folder, self.clear):
            row.addWidget(each)
        layout.addLayout(row)
        self.model = ElidedLabel()
        layout.addWidget(self.model)
        row = QHBoxLayout()
        label = QLabel("Sc&ale if missing")
        self.scale: QDoubleSpinBox = called(
            scale_box(), "µm per pixel of files without", "µm per pixel of slides whose files do not say it"
        )
        label.setBuddy(self.scale)
        self.scale.valueChanged.connect(self._scale_typed)
        row.addWidget(label)
        row.addWidget(self.scale, 1)
        layout.addLayout(row)
        self.table = table(("Slide", "State"), 1)
        if (across := self.table.horizontalHeader()) is not None:
            across.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)  # names may be long
            across.resizeSection(0, NAME_WIDTH)
        self.table.setAccessibleName("Slides")
        self.table.itemDoubleClicked.connect(self._look_at)
        self.table.itemSelectionChanged.connect(self._say_why)
        layout.addWidget(self.table, 1)
        self.summary = ElidedLabel()
        layout.addWidget(self.summary)
        row = QHBoxLayout()
        self.run = button("&Run queue", self.queue.run, "With the model and options of “Segment slide”")
        self.stop = button("&Stop", self.queue.stop, "Stop; what is done is kept")
        row.addWidget(self.run)
        row.addWidget(self.stop)
        layout.addLayout(row)
        self.error = note("error")
        layout.addWidget(self.error)
        guard_wheel(self)
        self._seen: object = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.tick)
        self._timer.start(TICK_MS)
        self.tick()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Join the window's heartbeat: the queue goes on when this panel is closed."""
        start_heartbeat(self, self.queue)
        start_heartbeat(self, self.queue.session)
        super().showEvent(event)

    def tick(self) -> None:
        """Show news."""
        queue = self.queue
        bundle = queue.session.bundle
        self.model.set_whole(f"Model: {bundle.name}" if bundle is not None else "No model is chosen.")
        if queue.revision == self._seen:
            return
        self._seen = queue.revision
        with quiet(self.table):
            self.table.setRowCount(len(queue.rows))
            for number, row in enumerate(queue.rows):
                for column, text in enumerate((row.job.slide_id, row.text)):
                    item = QTableWidgetItem(text)
                    item.setToolTip(text)
                    self.table.setItem(number, column, item)
        set_tip(self.table, "A double click opens the slide")
        self.summary.set_whole(queue.summary())
        self.run.setVisible(not queue.is_running)
        self.stop.setVisible(queue.is_running)
        for each in (self.add_slides, self.add_folder, self.clear, self.scale):
            each.setEnabled(not queue.is_running)
        self._say_why()

    def _say_why(self) -> None:
        """Say in full why the chosen slide failed, or the first that did: a cell of the table has no room for it."""
        queue, chosen = self.queue, self.table.currentRow()
        rows = [*queue.rows[chosen : chosen + 1], *queue.rows] if chosen >= 0 else queue.rows
        failed = next((f"{row.job.slide_id}: {row.error}" for row in rows if row.error), "")
        set_note(self.error, queue.problem or failed)

    def _add_slides(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Add slides", "", "All files (*)")
        if paths:
            self.queue.add(paths)

    def _add_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Add all slides of a folder")
        if folder:
            self.queue.add([folder])

    def _scale_typed(self, value: float) -> None:
        self.queue.scale = value or None

    def _look_at(self, item: QTableWidgetItem) -> None:
        self.queue.look_at(item.row())
