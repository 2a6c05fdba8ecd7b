"""The dock "Review tiles"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import button, fill_combo, note, quiet, set_note, table, title
from napari_wsss.plugin.review.presenter import Reviewer

if TYPE_CHECKING:
    import napari

__all__ = ["ReviewWidget"]

TICK_MS = 250
ORDERS = (("Stage 2 is unsure", "uncertain"), ("The stages disagree", "disagreement"))


class ReviewWidget(QWidget):
    """Tiles worth a look, most doubtful first; a click goes there.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.reviewer = Reviewer(napari_viewer)
        layout = QVBoxLayout(self)
        layout.addWidget(title())
        row = QHBoxLayout()
        self.results = QComboBox()
        self.results.setToolTip("Result to review")
        self.results.currentIndexChanged.connect(self._result_chosen)
        row.addWidget(self.results, 1)
        row.addWidget(button("Refresh", self._refresh, "Read the list again"))
        layout.addLayout(row)
        self.order = QComboBox()
        for text, value in ORDERS:
            self.order.addItem(text, value)
        self.order.currentIndexChanged.connect(self._order_chosen)
        layout.addWidget(self.order)
        self.error = note("error")
        layout.addWidget(self.error)
        self.table = table(("Doubt", "Why"), 1)
        self.table.itemSelectionChanged.connect(self._row_chosen)
        layout.addWidget(self.table, 1)

        self._seen = -1
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.tick)
        self._timer.start(TICK_MS)
        self.tick()

    def tick(self) -> None:
        """Look for results that came or went."""
        self.reviewer.follow_layers()
        layers = self.reviewer.result_layers()
        chosen = None if self.reviewer.layer is None else self.reviewer.layer.name
        fill_combo(self.results, [(layer.name, layer.name) for layer in layers], chosen)
        if self.reviewer.revision != self._seen:
            self._seen = self.reviewer.revision
            self._fill()

    def _fill(self) -> None:
        set_note(self.error, self.reviewer.problem)
        entries = self.reviewer.entries
        with quiet(self.table):
            self.table.clearSelection()
            self.table.setRowCount(len(entries))
            for number, entry in enumerate(entries):
                self.table.setItem(number, 0, QTableWidgetItem(f"{100 * entry.score:.0f} %"))
                self.table.setItem(number, 1, QTableWidgetItem(entry.reason))

    def _result_chosen(self, index: int) -> None:
        layers = self.reviewer.result_layers()
        self.reviewer.choose(layers[index] if 0 <= index < len(layers) else None)
        self.tick()

    def _order_chosen(self, index: int) -> None:
        self.reviewer.sort(self.order.itemData(index))
        self.tick()

    def _refresh(self) -> None:
        self.reviewer.list_tiles()
        self.tick()

    def _row_chosen(self) -> None:
        rows = {item.row() for item in self.table.selectedItems()}
        if rows:
            self.reviewer.go_to(min(rows))
