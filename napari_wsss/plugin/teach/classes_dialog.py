"""The dialog "Edit classes": names and colours of a project that has labels, and classes that are added at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QVBoxLayout, QWidget

from napari_wsss.plugin.common import guard_wheel, note, set_note, wrapped_label
from napari_wsss.plugin.teach.class_table_widget import ClassTable
from napari_wsss.plugin.teach.draft import draft_of, edited
from tiling.errors import WsssError

if TYPE_CHECKING:
    from napari_wsss.plugin.teach.presenter import Teacher
    from tiling.classes import ClassSchema

__all__ = ["ClassesDialog"]


class ClassesDialog(QDialog):
    """Change the classes of the open project.

    Parameters
    ----------
    teacher : Teacher
    schema : ClassSchema
        Of the project.
    parent : QWidget
    """

    def __init__(self, teacher: Teacher, schema: ClassSchema, parent: QWidget) -> None:
        super().__init__(parent)
        self.teacher, self.schema = teacher, schema
        self.setWindowTitle("Edit classes")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(340)
        column = QVBoxLayout(self)
        column.addWidget(
            wrapped_label(
                "Labels stay with their class whatever it is called. Tiles that are labelled already are said not to "
                "hold a class that is added now."
            )
        )
        self.classes = ClassTable(only_last_goes=True)
        self.classes.fill(draft_of(schema))
        column.addWidget(self.classes)
        self.error = note("error")
        column.addWidget(self.error)
        kinds = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(kinds.Ok | kinds.Cancel)
        self.buttons.accepted.connect(self._change)
        self.buttons.rejected.connect(self.reject)
        column.addWidget(self.buttons)
        guard_wheel(self)

    def _change(self) -> None:
        try:
            schema = edited(self.schema, self.classes.classes())
        except WsssError as error:
            set_note(self.error, str(error))
            return
        if self.teacher.change_classes(schema):
            self.accept()
        else:
            set_note(self.error, self.teacher.work.problem)
