"""Classes in the dock: key, colour, labels here and in all, what the head is worth on each; and the tools to label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import button, quiet, swatch, table
from napari_wsss.plugin.teach.classes_dialog import ClassesDialog
from napari_wsss.plugin.teach.words import score_words, summary_words

if TYPE_CHECKING:
    from napari_wsss.plugin.teach.mouse import Tool
    from napari_wsss.plugin.teach.presenter import Teacher

__all__ = ["ClassesSection"]

KEY, NAME, HERE, ALL, SCORE = range(5)
ROW = 22
ROWS_SHOWN = 6
TOOLS: tuple[tuple[Tool, str, str], ...] = (
    (
        "click",
        "&Click",
        "C: a key or click labels the tile under the mouse; Ctrl and drag selects a rectangle",
    ),
    ("rectangle", "Recta&ngle", "R: drag over tiles, then press the key of a class: “all only this”"),
    ("lasso", "&Lasso", "L: draw around tiles, then press the key of a class: “all only this”"),
)


class ClassesSection(QWidget):
    """What can be said about tiles, and how much was said.

    Parameters
    ----------
    teacher : Teacher
    """

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        row = QHBoxLayout()
        row.setSpacing(2)
        self.tools: dict[str, QPushButton] = {}
        group = QButtonGroup(self)
        for tool, text, tip in TOOLS:
            made = QPushButton(text)
            made.setToolTip(tip)
            made.setCheckable(True)
            made.setChecked(tool == "click")
            group.addButton(made)
            row.addWidget(made)
            self.tools[tool] = made
        group.buttonClicked.connect(self._tool_chosen)
        self.hint = QLabel("Shift: not this")
        self.hint.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.hint.setToolTip(
            "Shift and a key or click takes a class away; Ctrl and a key adds one to a selection."
        )
        self.hint.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self.hint, 1)
        column.addLayout(row)
        self.table = table(("Key", "Class", "Here", "All", "Score"), NAME)
        self.table.setToolTip(
            "Press a key over a tile. A click on a line chooses what a click on a tile says."
        )
        self.table.setAccessibleName("Classes, their keys and labels")
        down = self.table.verticalHeader()
        assert down is not None
        down.setDefaultSectionSize(ROW)
        for number, width in ((KEY, 30), (HERE, 36), (ALL, 36), (SCORE, 108)):
            self.table.setColumnWidth(number, width)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.itemSelectionChanged.connect(self._row_chosen)
        column.addWidget(self.table)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.edit = button("&Edit…", self._edit, "Rename or recolour classes, add one, remove the last")
        below = QHBoxLayout()
        below.addWidget(self.summary, 1)
        below.addWidget(self.edit)
        column.addLayout(below)

    def sync(self) -> None:
        """Show what is new."""
        teacher = self.teacher
        project, work = teacher.work.project, teacher.work
        classes = () if project is None else project.schema.classes
        here = teacher.counts(work.slide_id) if work.slide_id else [0] * len(classes)
        score = teacher.sketching.score
        with quiet(self.table):
            self.table.setRowCount(len(classes))
            for row, (tissue, of_slide, of_all) in enumerate(
                zip(classes, here, teacher.counts(), strict=True)
            ):
                short, long = score_words(score, tissue.name)
                texts = (str(row + 1) if row < 9 else "", tissue.name, str(of_slide), str(of_all), short)
                for number, text in enumerate(texts):
                    self._cell(row, number, text, long if number == SCORE else text)
                name = self.table.item(row, NAME)
                assert name is not None
                if name.data(Qt.ItemDataRole.UserRole) != tissue.color:
                    name.setData(Qt.ItemDataRole.UserRole, tissue.color)
                    name.setIcon(swatch(tissue.color))
            if classes:
                self.table.selectRow(teacher.labelling.active)
        self.table.setFixedHeight(26 + ROW * max(2, min(len(classes), ROWS_SHOWN)))
        self.summary.setText(summary_words(score, len(work.labels()), teacher.minutes()))
        self.summary.setToolTip(self._details())
        self.edit.setEnabled(work.can_write and not teacher.making.is_busy)
        for tool, made in self.tools.items():
            made.setEnabled(work.can_write and work.slide_id is not None)
            made.setChecked(tool == teacher.mouse.tool)

    def _details(self) -> str:
        """Return what is known beyond the summary: test tiles, how quick the map is, what a person should know."""
        sketching = self.teacher.sketching
        if sketching.head is None:
            return ""
        lines = [f"Map {sketching.seconds:.1f} s after the last label.", *sketching.head.notes]
        if sketching.test_score is not None:
            lines.insert(0, f"On test tiles, which never train: {sketching.test_score}.")
        if sketching.score is not None:
            lines.insert(0, f"{sketching.score}.")
        return "\n".join(lines)

    def choose(self, tool: Tool) -> None:
        """Choose a tool, as its key does."""
        self.teacher.mouse.choose(tool)
        self.tools[tool].setChecked(True)

    def _edit(self) -> None:
        project = self.teacher.work.project
        if project is not None:
            ClassesDialog(self.teacher, project.schema, self).show()

    def _cell(self, row: int, number: int, text: str, tip: str) -> None:
        item = self.table.item(row, number)
        if item is None:
            item = QTableWidgetItem()
            if number != NAME:
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            self.table.setItem(row, number, item)
        if item.text() != text:
            item.setText(text)
        item.setToolTip(tip)

    def _tool_chosen(self, chosen: QPushButton) -> None:
        for tool, made in self.tools.items():
            if made is chosen:
                self.teacher.mouse.choose(tool)  # type: ignore[arg-type]

    def _row_chosen(self) -> None:
        rows = {item.row() for item in self.table.selectedItems()}
        if rows:
            self.teacher.labelling.active = min(rows)
