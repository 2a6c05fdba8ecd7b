"""The legend: colour, name, share and area of each class; hiding, opacity, contours."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import button, fill_combo, note, section, set_note, set_quietly
from napari_wsss.plugin.results import LegendRow
from napari_wsss.plugin.segment.session import SegmentSession

__all__ = ["ClassRow", "LegendSection"]


class ClassRow:
    """The widgets of one class in the legend's grid."""

    def __init__(self, session: SegmentSession, label: int, grid: QGridLayout) -> None:
        self.session = session
        self.label = label
        self.swatch = QLabel()
        self.swatch.setFixedSize(16, 16)
        self.name = QCheckBox()
        self.share = QLabel()
        self.area = QLabel()
        self.share.setToolTip("Share of the area that has a class")
        for text in (self.share, self.area):
            text.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        for column, widget in enumerate((self.swatch, self.name, self.share, self.area)):
            grid.addWidget(widget, label, column)
        self.name.toggled.connect(self.toggled)

    def toggled(self, visible: bool) -> None:
        """Show or hide the class."""
        self.session.show_class(self.label, visible)

    def show(self, row: LegendRow, visible: bool) -> None:
        """Show a class's values."""
        self.swatch.setStyleSheet(f"background: {row.color}; border: 1px solid #888;")
        if self.name.text() != row.name:
            self.name.setText(row.name)
        set_quietly(self.name, visible)
        self.share.setText(row.percent_text)
        self.area.setText(row.area_text)

    def remove(self) -> None:
        """Take the widgets away."""
        for widget in (self.swatch, self.name, self.share, self.area):
            widget.deleteLater()


class LegendSection(QWidget):
    """Classes of the result; the areas grow with the run and end as the receipt has them."""

    def __init__(self, session: SegmentSession) -> None:
        super().__init__()
        self.session = session
        self.rows: list[ClassRow] = []
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        box, form = section("Result")
        self.results = QComboBox()
        self.results.setToolTip("Result of this slide that the numbers are of")
        self.results.currentIndexChanged.connect(self._result_chosen)
        form.addRow(self.results)
        self.scale = note("warning")
        form.addRow(self.scale)
        self.grid = QGridLayout()
        self.grid.setColumnStretch(1, 1)
        form.addRow(self.grid)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.valueChanged.connect(self._opacity_set)
        form.addRow("Opacity", self.opacity)
        self.contour = QSpinBox()
        self.contour.setRange(0, 10)
        self.contour.setSpecialValueText("filled")
        self.contour.setToolTip("Width of the outline in pixels; 0 fills the areas")
        self.contour.valueChanged.connect(self._contour_set)
        form.addRow("Contour", self.contour)
        row = QHBoxLayout()
        self.show_again = button(
            "Show result", self._show_result, "The layer was removed; the result is kept"
        )
        self.show_cams = button(
            "Show CAMs", self._show_cams, "What stage 1 looked at, one hidden layer per class"
        )
        row.addWidget(self.show_again)
        row.addWidget(self.show_cams)
        form.addRow(row)
        layout.addWidget(box)

    def sync(self) -> None:
        """Show what the session says."""
        session = self.session
        legend, live = session.legend(), session.live
        result = session.result
        self.setVisible(result is not None)
        entries = [(session.book.name(known), str(known.store)) for known in session.results()]
        fill_combo(self.results, entries, None if result is None else str(result.store))
        set_note(self.scale, "" if result is None else result.scale_note(session.slide_mpp))
        hidden = live.hidden_labels if live else set()
        if len(legend) != len(self.rows):
            for row in self.rows:
                row.remove()
            self.rows = [ClassRow(session, entry.label, self.grid) for entry in legend]
        for row, entry in zip(self.rows, legend, strict=True):
            row.show(entry, entry.label not in hidden)
        layer = session.result_layer
        self.opacity.setEnabled(layer is not None)
        self.contour.setEnabled(layer is not None)
        if layer is not None:
            set_quietly(self.opacity, round(100 * layer.opacity))
            set_quietly(self.contour, layer.contour)
        self.show_again.setVisible(session.live is not None and layer is None)
        self.show_cams.setVisible(live is not None and live.has_cams and not session.state.is_active)

    def _result_chosen(self, index: int) -> None:
        store = self.results.itemData(index)
        if store:
            self.session.choose_result(Path(store))

    def _opacity_set(self, percent: int) -> None:
        if self.session.live is not None:
            self.session.live.set_opacity(percent / 100)

    def _contour_set(self, width: int) -> None:
        if self.session.live is not None:
            self.session.live.set_contour(width)

    def _show_result(self) -> None:
        self.session.show_result()

    def _show_cams(self) -> None:
        if self.session.live is not None:
            self.session.live.show_cams()
