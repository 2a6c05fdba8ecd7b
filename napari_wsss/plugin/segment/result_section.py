"""What can be taken away from the named result: exports, the legend as a table, its folder."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QApplication, QFileDialog, QHBoxLayout, QMenu, QPushButton, QVBoxLayout, QWidget

from napari_wsss.plugin.common import ElidedLabel, button, called, set_tip
from napari_wsss.plugin.files import FORMATS, ExportFormat, suggested_path
from napari_wsss.plugin.results import legend_table
from napari_wsss.plugin.segment.session import SegmentSession

__all__ = ["ResultSection"]

ANNOTATIONS = "Annotations (*.geojson *.json *.xml *.ndpa);;All files (*)"


class ResultSection(QWidget):
    """Export menu and what was exported; there once the result is complete."""

    def __init__(self, session: SegmentSession) -> None:
        super().__init__()
        self.session = session
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        self.export: QPushButton = called(QPushButton("E&xport"), "Export the result")
        menu = QMenu(self.export)
        menu.setToolTipsVisible(True)
        self.actions_by_ending = {}
        for kind in FORMATS:
            action = menu.addAction(kind.title, partial(self._export, kind))
            assert action is not None
            action.setToolTip(kind.tip)
            self.actions_by_ending[kind.ending] = action
        menu.addSeparator()
        self.shapes = menu.addAction("Table of drawn shapes…", self._measure_shapes)
        self.copy_shapes = menu.addAction("Copy the table of drawn shapes", self._copy_shapes)
        self.annotations = menu.addAction("Table of an annotation file…", self._measure_file)
        menu.addSeparator()
        self.folder = menu.addAction("Open the folder", self._open_folder)
        self.export.setMenu(menu)
        self.copy = button("Cop&y table", self._copy, "Put the legend on the clipboard, for a spreadsheet")
        for each in (self.export, self.copy):
            row.addWidget(each)
        layout.addLayout(row)
        self.notice = ElidedLabel()
        layout.addWidget(self.notice)

    def sync(self) -> None:
        """Show what the session says."""
        session = self.session
        self.setVisible(session.can_export)
        set_tip(self.export, f"Write “{session.result_name}” of {session.slide_name} to a file")
        self.notice.set_whole(session.exports.notice)
        self.notice.setVisible(bool(session.exports.notice))
        if session.copied:
            _to_clipboard(session.copied)
            session.copied = ""

    def _export(self, kind: ExportFormat, _checked: bool = False) -> None:
        result = self.session.result
        if result is None:
            return
        suggested = str(suggested_path(result.store, kind.ending))
        path, _ = QFileDialog.getSaveFileName(self, kind.tip, suggested, f"*{kind.ending}")
        if path:
            self.session.export(path)

    def _measure_shapes(self) -> None:
        drawn = self._drawn()
        if drawn is not None and (path := self._ask_for_table(".shapes.csv")):
            self.session.measure_drawn(drawn, path)

    def _copy_shapes(self) -> None:
        drawn = self._drawn()
        if drawn is not None:
            self.session.copy_drawn(drawn)

    def _drawn(self) -> Any | None:
        layers = self.session.shapes_layers()
        if not layers:
            self.session.say("Nothing is drawn yet: choose “Drawn shapes” as region and press “Draw…”.")
            return None
        return self.session.shapes if self.session.shapes in layers else layers[0]

    def _measure_file(self) -> None:
        annotations, _ = QFileDialog.getOpenFileName(self, "Annotation file", "", ANNOTATIONS)
        if annotations and (path := self._ask_for_table(".annotations.csv")):
            self.session.measure_annotations(annotations, path)

    def _ask_for_table(self, ending: str) -> str:
        result = self.session.result
        if result is None:
            return ""
        path, _ = QFileDialog.getSaveFileName(
            self, "Save the table", str(suggested_path(result.store, ending)), "*.csv"
        )
        return path

    def _copy(self) -> None:
        _to_clipboard("\n".join("\t".join(row) for row in legend_table(self.session.legend())))

    def _open_folder(self) -> None:
        result = self.session.result
        if result is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(result.store.parent)))


def _to_clipboard(text: str) -> None:
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)
