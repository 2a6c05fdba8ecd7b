"""The chosen model: one line, and its card on demand."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QMenu, QPushButton, QVBoxLayout, QWidget

from napari_wsss.plugin.common import ElidedCombo, called, fill_combo, note, set_note, set_tip, wrapped_label
from napari_wsss.plugin.segment.card import bundle_card
from napari_wsss.plugin.segment.import_dialog import ImportDialog
from napari_wsss.plugin.segment.session import SegmentSession

__all__ = ["ModelSection"]


class ModelSection(QWidget):
    """Choice of the model.

    Parameters
    ----------
    session : SegmentSession
    """

    def __init__(self, session: SegmentSession) -> None:
        super().__init__()
        self.session = session
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        label = QLabel("&Model")
        self.bundles: ElidedCombo = called(ElidedCombo(), "Model")
        label.setBuddy(self.bundles)
        self.bundles.currentIndexChanged.connect(self._bundle_chosen)
        self.about: QPushButton = called(QPushButton("A&bout"), "About the model", "What the model knows")
        self.about.setCheckable(True)
        self.about.toggled.connect(self._about_toggled)
        self.add: QPushButton = called(
            QPushButton("Add"), "Add a model", "A model folder, or published files"
        )
        menu = QMenu(self.add)
        menu.addAction("Model folder…", self._choose_folder)
        menu.addAction("Published checkpoints…", self._import)
        self.add.setMenu(menu)
        for each, stretch in ((label, 0), (self.bundles, 1), (self.about, 0), (self.add, 0)):
            row.addWidget(each, stretch)
        layout.addLayout(row)
        self.warning = note("warning")
        layout.addWidget(self.warning)
        self.card = wrapped_label()
        self.card.setTextFormat(Qt.TextFormat.RichText)  # what comes from files in it is escaped
        self.card.setVisible(False)
        layout.addWidget(self.card)

    def sync(self) -> None:
        """Show what the session says."""
        session = self.session
        chosen = session.preferences.bundle or (session.bundle.name if session.bundle else "")
        fill_combo(self.bundles, [(Path(name).name, name) for name in session.bundles()], chosen)
        set_tip(self.bundles, chosen)
        set_note(self.warning, "\n".join(session.model_warnings()))
        card = bundle_card(session.bundle, session.bundle_problem)
        if self.card.text() != card:
            self.card.setText(card)
        self.about.setEnabled(session.bundle is not None)

    def _bundle_chosen(self, index: int) -> None:
        self.session.choose_bundle(self.bundles.itemData(index) or "")

    def _about_toggled(self, shown: bool) -> None:
        self.card.setVisible(shown)

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a model")
        if folder:
            self.session.choose_bundle(folder)

    def _import(self) -> None:
        dialog = ImportDialog(self)
        if dialog.exec() and dialog.folder is not None:
            self.session.choose_bundle(str(dialog.folder))
