"""Published checkpoints become a model of the panel."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import button, called, explain, guard_wheel, note, set_note
from napari_wsss.plugin.segment.importing import SCHEMA_TITLES, import_model
from tiling.errors import WsssError

__all__ = ["ImportDialog"]


class FileRow(QWidget):
    """A path that is typed or chosen."""

    def __init__(self, name: str, *, folder: bool = False) -> None:
        super().__init__()
        self._name, self._folder = name, folder
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.path: QLineEdit = called(QLineEdit(), name)
        row.addWidget(self.path, 1)
        row.addWidget(button("Choose…", self._choose, name))

    def _choose(self) -> None:
        if self._folder:
            path = QFileDialog.getExistingDirectory(self, self._name)
        else:
            path, _ = QFileDialog.getOpenFileName(
                self, self._name, "", "Checkpoints (*.pth *.tar *.pt);;All files (*)"
            )
        if path:
            self.path.setText(path)


class ImportDialog(QDialog):
    """Asks for the two files of a published model; ``folder`` is the model that was made of them.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Import published checkpoints")
        self.folder: Path | None = None
        layout = QVBoxLayout(self)
        form = QFormLayout()
        self.stage1 = FileRow("Patch classifier (stage 1)")
        self.stage2 = FileRow("Segmentation network (stage 2), if there is one")
        self.classes: QComboBox = called(QComboBox(), "Classes")
        for title, name in SCHEMA_TITLES:
            self.classes.addItem(title, name)
        self.mpp: QDoubleSpinBox = called(QDoubleSpinBox(), "µm per pixel of the training images")
        self.mpp.setRange(0.05, 5.0)
        self.mpp.setValue(1.0)
        self.out = FileRow("Folder in which the model is made", folder=True)
        form.addRow("&Classifier", self.stage1)
        form.addRow("Se&gmentation", self.stage2)
        form.addRow("C&lasses", self.classes)
        form.addRow("Trained at &µm/px", self.mpp)
        form.addRow("Into &folder", self.out)
        layout.addLayout(form)
        self.error = note("error")
        layout.addWidget(self.error)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self._import)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)
        self.setMinimumWidth(420)
        guard_wheel(self)

    def _import(self) -> None:
        try:
            self.folder = import_model(
                self.stage1.path.text(),
                self.stage2.path.text(),
                self.classes.currentData(),
                self.out.path.text(),
                self.mpp.value(),
            )
        except WsssError as error:
            set_note(self.error, explain(error))
        else:
            self.accept()
