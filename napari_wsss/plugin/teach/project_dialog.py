"""The dialog "New project": where it lies, which classes it has, and the slide that is open goes in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import button, guard_wheel, note, set_note
from napari_wsss.plugin.teach.class_table_widget import ClassTable
from napari_wsss.plugin.teach.draft import PALETTE, draft_of, first_draft, schema_of
from tiling.errors import WsssError

if TYPE_CHECKING:
    from napari_wsss.plugin.teach.presenter import Teacher

__all__ = ["ProjectDialog"]

OWN = "my own classes"


class ProjectDialog(QDialog):
    """Make a project.

    Parameters
    ----------
    teacher : Teacher
    parent : QWidget
    """

    def __init__(self, teacher: Teacher, parent: QWidget) -> None:
        super().__init__(parent)
        self.teacher = teacher
        self.setWindowTitle("New project")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(340)
        column = QVBoxLayout(self)
        form = QFormLayout()
        self.folder = QLineEdit(str(teacher.suggested_folder()))
        self.folder.setToolTip(
            "A folder that ends with .wsss; it is made. Everything that you teach is kept in it."
        )
        place = QHBoxLayout()
        place.addWidget(self.folder, 1)
        place.addWidget(button("&Browse…", self._browse, "Choose where the folder is made"))
        label = QLabel("&Folder")
        label.setBuddy(self.folder)
        form.addRow(label, place)
        self.source = QComboBox()
        self.source.addItem(OWN, None)
        for name, schema in teacher.known_schemas():
            self.source.addItem(name, schema)
        self.source.setToolTip("Begin with your own classes, or with those of a schema or a model")
        self.source.currentIndexChanged.connect(self._source_chosen)
        form.addRow("&Classes", self.source)
        self.encoder = QComboBox()
        for name, value in teacher.known_encoders():
            self.encoder.addItem(name, value)
        self.encoder.setToolTip(
            "The network through whose eyes the tissue is seen; it is not changed. One that knows your kind of tissue "
            "needs fewer labels."
        )
        form.addRow("&Seen by", self.encoder)
        self.tile = QSpinBox()
        self.tile.setRange(20, 500)
        self.tile.setValue(112)
        self.tile.setSuffix(" µm")
        self.tile.setToolTip(
            "Side of a tile: large enough to know a tissue by, small enough to hold one kind of it"
        )
        form.addRow("&Tile", self.tile)
        column.addLayout(form)
        self.classes = ClassTable()
        column.addWidget(self.classes)
        self.slides = QCheckBox("Add the slides that are open")
        self.slides.setChecked(True)
        self.slides.setVisible(bool(teacher.open_slides()))
        column.addWidget(self.slides)
        self.error = note("error")
        column.addWidget(self.error)
        kinds = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(kinds.Ok | kinds.Cancel)
        self.buttons.accepted.connect(self._make)
        self.buttons.rejected.connect(self.reject)
        column.addWidget(self.buttons)
        guard_wheel(self)
        self.classes.fill(first_draft())

    def _source_chosen(self, index: int) -> None:
        schema = self.source.itemData(index)
        self.classes.fill(first_draft() if schema is None else draft_of(schema)[: len(PALETTE)])

    def _browse(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Name of the project's folder", self.folder.text())
        if name:
            self.folder.setText(name)

    def _make(self) -> None:
        folder = Path(self.folder.text().strip())
        try:
            schema = schema_of(folder.stem, self.classes.classes(), self.source.currentData())
        except WsssError as error:
            set_note(self.error, str(error))
            return
        slides = self.teacher.open_slides() if self.slides.isChecked() else []
        encoder = self.encoder.currentData()
        if not self.teacher.new_project(folder, schema, tile_um=self.tile.value(), encoder=encoder):
            set_note(self.error, self.teacher.work.problem)
            return
        for path in slides:
            self.teacher.add_slide(path)
        self.accept()
