"""A table in which classes are named and coloured, added and removed: of a new project, or of one that has labels."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import button, table
from napari_wsss.plugin.teach.draft import PALETTE, DraftClass

__all__ = ["ClassTable"]

KEY, NAME, COLOR = range(3)


class ClassTable(QWidget):
    """Classes as they stand while they are thought up.

    Parameters
    ----------
    only_last_goes : bool, optional
        Whether only the class at the end can be removed: labels go by the place of a class.
    """

    def __init__(self, *, only_last_goes: bool = False) -> None:
        super().__init__()
        self._only_last_goes = only_last_goes
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.table = table(("Key", "Class", "Colour"), NAME)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.AllEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectItems)
        self.table.setColumnWidth(KEY, 36)
        self.table.setColumnWidth(COLOR, 70)
        self.table.setMinimumHeight(180)
        self.table.setAccessibleName("Classes, their keys and colours")
        self.table.setToolTip("Click a name to change it, a colour to choose another")
        self.table.cellClicked.connect(self._cell_clicked)
        column.addWidget(self.table)
        row = QHBoxLayout()
        self.more = button("&Add class", self._more, "One class more, up to nine: one per key")
        self.less = button(
            "&Remove last class" if only_last_goes else "&Remove class",
            self._less,
            "Remove the class at the end, when no label names it"
            if only_last_goes
            else "Remove the chosen class",
        )
        row.addWidget(self.more)
        row.addWidget(self.less)
        column.addLayout(row)

    def classes(self) -> list[DraftClass]:
        """Return the classes as they stand."""
        found = []
        for row in range(self.table.rowCount()):
            name, color = self.table.item(row, NAME), self.table.item(row, COLOR)
            assert name is not None
            assert color is not None
            found.append(DraftClass(name.text(), color.background().color().name()))
        return found

    def fill(self, classes: Sequence[DraftClass]) -> None:
        """Show classes."""
        self.table.setRowCount(len(classes))
        for row, tissue in enumerate(classes):
            key, name, color = (
                QTableWidgetItem(str(row + 1)),
                QTableWidgetItem(tissue.name),
                QTableWidgetItem(),
            )
            fixed = Qt.ItemFlag.ItemIsEnabled  # a selected colour would not be seen
            key.setFlags(fixed)
            key.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            color.setFlags(fixed)
            color.setBackground(QColor(tissue.color))
            color.setToolTip("Click to choose another colour")
            for number, item in ((KEY, key), (NAME, name), (COLOR, color)):
                self.table.setItem(row, number, item)
        self.more.setEnabled(len(classes) < len(PALETTE))
        self.less.setEnabled(len(classes) > 1)

    def _more(self) -> None:
        classes = self.classes()
        free = [color for color in PALETTE if color not in {c.color for c in classes}]
        self.fill([*classes, DraftClass("", (free or list(PALETTE))[0])])
        self.table.setCurrentCell(len(classes), NAME)

    def _less(self) -> None:
        last = self.table.rowCount() - 1
        chosen = self.table.currentRow()
        row = last if self._only_last_goes or chosen < 0 else chosen
        self.fill([c for i, c in enumerate(self.classes()) if i != row])

    def _cell_clicked(self, row: int, column: int) -> None:
        item = self.table.item(row, COLOR)
        if column == COLOR and item is not None:
            chosen = QColorDialog.getColor(item.background().color(), self, "Colour of the class")
            if chosen.isValid():
                item.setBackground(chosen)
