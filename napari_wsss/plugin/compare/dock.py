"""The dock "Compare results"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QProgressBar,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import button, fill_combo, note, section, set_note, table, title
from napari_wsss.plugin.compare.presenter import Comparer, comparison_rows

if TYPE_CHECKING:
    import napari

__all__ = ["CompareWidget"]

TICK_MS = 100


class CompareWidget(QWidget):
    """Two results, or a result and a truth: where they differ, and the IoU of each class.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.comparer = Comparer(napari_viewer)
        layout = QVBoxLayout(self)
        layout.addWidget(title())
        box, form = section("Layers")
        self.first, self.second = QComboBox(), QComboBox()
        form.addRow("Result", self.first)
        form.addRow("Against", self.second)
        for combo in (self.first, self.second):
            combo.currentIndexChanged.connect(self._chosen)
        layout.addWidget(box)
        self.run = button("Compare", self._run, "Add a layer that shows where the two differ")
        layout.addWidget(self.run)
        self.bar = QProgressBar()
        self.bar.setRange(0, 100)
        layout.addWidget(self.bar)
        self.error = note("error")
        layout.addWidget(self.error)
        self.table = table(("Class", "IoU"), 0)
        layout.addWidget(self.table, 1)

        self._seen: object = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.tick)
        self._timer.start(TICK_MS)
        self.tick()

    def tick(self) -> None:
        """Take news from the job and the viewer."""
        comparer = self.comparer
        comparer.follow_layers()
        comparer.poll()
        self.bar.setVisible(comparer.is_busy)
        self.bar.setValue(round(100 * comparer.progress))
        self.run.setEnabled(not comparer.is_busy)
        names = [(layer.name, layer.name) for layer in comparer.label_layers()]
        seen = (comparer.revision, names)
        if seen != self._seen:
            self._seen = seen
            for combo, layer in ((self.first, comparer.first), (self.second, comparer.second)):
                fill_combo(combo, names, None if layer is None else layer.name)
            self._fill()

    def _fill(self) -> None:
        set_note(self.error, self.comparer.problem)
        comparison = self.comparer.comparison
        rows = comparison_rows(comparison) if comparison else []
        self.table.setVisible(bool(rows))
        self.table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                self.table.setItem(number, column, QTableWidgetItem(text))

    def _chosen(self, _index: int) -> None:
        known = {layer.name: layer for layer in self.comparer.label_layers()}
        self.comparer.choose(known.get(self.first.currentData()), known.get(self.second.currentData()))

    def _run(self) -> None:
        self.comparer.run()
        self.tick()
