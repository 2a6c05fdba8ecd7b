"""Project and slides in the dock: making and opening, the list with cases, Prepare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QProgressBar,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import ElidedLabel, button, note, quiet, set_note, set_tip, table
from napari_wsss.plugin.teach.project_dialog import ProjectDialog
from napari_wsss.plugin.teach.words import clock_words, locked_words

if TYPE_CHECKING:
    from napari_wsss.plugin.teach.presenter import Teacher

__all__ = ["SlidesSection"]

SLIDE, CASE, LABELS, READY = range(4)
ROWS_SHOWN = 3


class SlidesSection(QWidget):
    """Which project, which slides, and whether they are prepared.

    Parameters
    ----------
    teacher : Teacher
    """

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        first = QHBoxLayout()
        self.name = ElidedLabel()
        first.addWidget(self.name, 1)
        self.new = button("&New project…", self._new, "Make a project: a folder with your classes and labels")
        self.open = button("&Open…", self._open, "Open a project (a folder that ends with .wsss)")
        first.addWidget(self.new)
        first.addWidget(self.open)
        column.addLayout(first)
        self.locked = note("warning")
        column.addWidget(self.locked)

        self.table = table(("Slide", "Case", "Labels", "Ready"), SLIDE)
        self.table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.table.setToolTip(
            "Click: show a slide. Double-click its case to say which patient or block it is of: slides of one case are "
            "never on both sides of a test."
        )
        self.table.setAccessibleName("Slides of the project")
        down, across = self.table.verticalHeader(), self.table.horizontalHeader()
        assert down is not None
        assert across is not None
        down.setDefaultSectionSize(22)
        for number, width in ((CASE, 64), (LABELS, 50), (READY, 50)):
            self.table.setColumnWidth(number, width)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.itemSelectionChanged.connect(self._chosen)
        self.table.itemChanged.connect(self._edited)
        column.addWidget(self.table)

        below = QHBoxLayout()
        self.add = button("&Add slide…", self._add, "Add a slide file to the project")
        self.prepare = button("&Prepare", self._prepare, "")
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress of Prepare")
        below.addWidget(self.add)
        below.addWidget(self.prepare)
        below.addWidget(self.bar, 1)
        column.addLayout(below)

    def sync(self) -> None:
        """Show what is new."""
        teacher, work = self.teacher, self.teacher.work
        project = work.project
        self.name.set_whole("No project yet" if project is None else project.name)
        set_tip(self.name, "" if project is None else str(project.folder))
        set_note(self.locked, "" if project is None else locked_words(project.notice))
        set_tip(self.locked, "" if project is None else project.notice)
        self.table.setVisible(project is not None)
        self.add.setVisible(project is not None)
        self.prepare.setVisible(project is not None)
        self.add.setEnabled(work.can_write)
        self._sync_prepare()
        lines = teacher.slides()
        self.table.setFixedHeight(26 + 22 * min(max(1, len(lines)), ROWS_SHOWN))
        with quiet(self.table):
            self.table.setRowCount(len(lines))
            for row, line in enumerate(lines):
                ready = "yes" if line.prepared == 1 else f"{100 * line.prepared:.0f} %"
                for number, text in enumerate((line.slide_id, line.case, str(line.labels), ready)):
                    self._cell(row, number, text)
                if line.slide_id == work.slide_id:
                    self.table.selectRow(row)
            if work.slide_id is None:
                self.table.clearSelection()

    def _sync_prepare(self) -> None:
        preparing, work = self.teacher.preparing, self.teacher.work
        self.prepare.setText("&Stop" if preparing.is_busy else "&Prepare")
        self.prepare.setToolTip(
            "What is done is kept."
            if preparing.is_busy
            else "Look once at all tissue of the slides; then every label draws the map of the whole slide. "
            "You can label meanwhile."
        )
        self.prepare.setEnabled(preparing.is_busy or (work.can_write and bool(work.slide_ids)))
        self.bar.setVisible(preparing.is_busy)
        self.bar.setMaximum(max(preparing.total, 0))
        self.bar.setValue(preparing.done)
        left = preparing.seconds_left
        self.bar.setFormat("%p %" if left is None else f"%p % · {clock_words(left)} left")

    def _cell(self, row: int, number: int, text: str) -> None:
        item = self.table.item(row, number)
        if item is None:
            item = QTableWidgetItem()
            if number != CASE or not self.teacher.work.can_write:
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
            self.table.setItem(row, number, item)
        if item.text() != text:
            item.setText(text)
            item.setToolTip(text)

    # --- what was pressed --------------------------------------------------------------------------------------

    def _new(self) -> None:
        dialog = ProjectDialog(self.teacher, self)
        dialog.show()

    def _open(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open a project (a folder that ends with .wsss)")
        if folder:
            self.teacher.open_project(folder)

    def _add(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self, "Add slides to the project")
        for file in files:
            self.teacher.add_slide(Path(file))

    def _prepare(self) -> None:
        if self.teacher.preparing.is_busy:
            self.teacher.preparing.cancel()
        else:
            self.teacher.preparing.begin()

    def _chosen(self) -> None:
        rows = {item.row() for item in self.table.selectedItems()}
        ids = self.teacher.work.slide_ids
        if rows and min(rows) < len(ids) and ids[min(rows)] != self.teacher.work.slide_id:
            self.teacher.choose_slide(ids[min(rows)])

    def _edited(self, item: QTableWidgetItem) -> None:
        if item.column() == CASE:
            self.teacher.set_case(self.teacher.work.slide_ids[item.row()], item.text().strip())
