"""Exports of a finished result."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QGridLayout, QVBoxLayout, QWidget

from napari_wsss.plugin.common import button, section, wrapped_label
from napari_wsss.plugin.files import FORMATS, ExportFormat, suggested_path
from napari_wsss.plugin.segment.session import SegmentSession

__all__ = ["ResultSection"]


class ResultSection(QWidget):
    """Export buttons; there once a result is complete."""

    def __init__(self, session: SegmentSession) -> None:
        super().__init__()
        self.session = session
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        box, form = section("Export")
        grid = QGridLayout()
        self.buttons = {}
        for place, kind in enumerate(FORMATS):
            made = button(kind.title, partial(self._export, kind), kind.tip)
            self.buttons[kind.ending] = made
            grid.addWidget(made, place // 3, place % 3)
        form.addRow(grid)
        self.folder = button("Open folder", self._open_folder, "Show the result in the file manager")
        form.addRow(self.folder)
        self.notice = wrapped_label()
        form.addRow(self.notice)
        layout.addWidget(box)

    def sync(self) -> None:
        """Show what the session says."""
        self.setVisible(self.session.can_export)
        self.notice.setText(self.session.exports.notice)

    def _export(self, kind: ExportFormat, _checked: bool = False) -> None:
        result = self.session.result
        if result is None:
            return
        suggested = str(suggested_path(result.store, kind.ending))
        path, _ = QFileDialog.getSaveFileName(self, kind.tip, suggested, f"*{kind.ending}")
        if path:
            self.session.export(path)

    def _open_folder(self) -> None:
        result = self.session.result
        if result is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(result.store.parent)))
