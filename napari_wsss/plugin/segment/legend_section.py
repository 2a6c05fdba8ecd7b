"""The legend of the named result: colour, name, area and shares of each class; hiding, renaming, ratio, opacity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QCheckBox,
    QColorDialog,
    QGridLayout,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import (
    ElidedCombo,
    button,
    called,
    fill_combo,
    note,
    set_note,
    set_quietly,
    set_tip,
)
from napari_wsss.plugin.results import ratio_text, usual_ratio
from napari_wsss.plugin.segment.session import SegmentSession

if TYPE_CHECKING:
    from qtpy.QtCore import QPoint

    from napari_wsss.plugin.results import LegendRow

__all__ = ["ClassRow", "LegendSection"]

HEADS = (
    ("", ""),
    ("Class", ""),
    ("Area", "mm²"),
    ("tissue", "Share of all that has a class"),
    ("shown", "Share of the classes that are shown"),
)


class ClassName(QCheckBox):
    """A class that can be hidden, its name shortened in the middle when there is no room."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def set_whole(self, text: str) -> None:
        """Change the name."""
        self.whole = text
        set_tip(self, f"{text}\nClear the box to hide the class; right click to rename it")
        self.setAccessibleName(f"Show {text}")
        room = max(0, self.width() - 26)
        shown = self.fontMetrics().elidedText(text, Qt.TextElideMode.ElideMiddle, room)
        if self.text() != shown.replace("&", "&&"):
            self.setText(shown.replace("&", "&&"))

    def resizeEvent(self, event: object) -> None:
        """Shorten anew."""
        super().resizeEvent(event)  # type: ignore[arg-type]
        self.set_whole(self.whole)


class ClassRow:
    """The widgets of one class in the legend's grid."""

    def __init__(self, session: SegmentSession, label: int, grid: QGridLayout) -> None:
        self.session = session
        self.label = label
        self.color = ""
        self.swatch = QPushButton()
        self.swatch.setFixedSize(18, 18)
        self.swatch.clicked.connect(self.recolor)
        self.name = ClassName()
        self.area, self.share, self.shown = QLabel(), QLabel(), QLabel()
        for text in (self.area, self.share, self.shown):
            text.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        for column, widget in enumerate(self.widgets):
            grid.addWidget(widget, label, column)
        self.name.toggled.connect(self.toggled)
        self.name.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.name.customContextMenuRequested.connect(self.menu)

    @property
    def widgets(self) -> tuple[QWidget, ...]:
        """All widgets of the row, from left to right."""
        return (self.swatch, self.name, self.area, self.share, self.shown)

    def toggled(self, visible: bool) -> None:
        """Show or hide the class."""
        self.session.show_class(self.label, visible)

    def menu(self, place: QPoint) -> None:
        """Offer what can be done with a class."""
        menu = QMenu(self.name)
        menu.addAction("Rename…", self.rename)
        menu.addAction("Colour…", self.recolor)
        menu.exec(self.name.mapToGlobal(place))

    def rename(self) -> None:
        """Ask for another name."""
        name, given = QInputDialog.getText(self.name, "Rename the class", "Name", text=self.name.whole)
        if given:
            self.session.name_class(self.label, name=name)

    def recolor(self) -> None:
        """Ask for another colour."""
        color = QColorDialog.getColor(QColor(self.color), self.swatch, f"Colour of {self.name.whole}")
        if color.isValid():
            self.session.name_class(self.label, color=color.name())

    def show(self, row: LegendRow, visible: bool) -> None:
        """Show a class's values."""
        if self.color != row.color:
            self.color = row.color
            self.swatch.setStyleSheet(f"background: {row.color}; border: 1px solid #888;")
        called(self.swatch, f"Colour of {row.name}", "Click to choose another colour")
        if self.name.whole != row.name:
            self.name.set_whole(row.name)
        set_quietly(self.name, visible)
        self.area.setText(row.area_text)
        self.share.setText(row.percent_text)
        self.shown.setText(row.shown_text)

    def remove(self) -> None:
        """Take the widgets away."""
        for widget in self.widgets:
            widget.deleteLater()


class LegendSection(QWidget):
    """Classes of the result whose name stands above; the areas grow with the run and end as the receipt has them."""

    def __init__(self, session: SegmentSession) -> None:
        super().__init__()
        self.session = session
        self.rows: list[ClassRow] = []
        self._at = -1  # the class that keys speak of
        self._ratio_of: object = (
            None  # the classes, as their model calls them, that the ratio was chosen among
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        label = QLabel("Resu&lt")
        self.results: ElidedCombo = called(ElidedCombo(), "Result", "Result of this slide that is shown")
        label.setBuddy(self.results)
        self.results.currentIndexChanged.connect(self._result_chosen)
        row.addWidget(label)
        row.addWidget(self.results, 1)
        layout.addLayout(row)
        self.scale = note("warning")
        layout.addWidget(self.scale)
        self.heads: list[QLabel] = []
        self.grid = QGridLayout()
        self.grid.setColumnStretch(1, 1)
        self.grid.setVerticalSpacing(2)
        self.grid.setHorizontalSpacing(5)
        for column, (text, tip) in enumerate(HEADS):
            head = QLabel(text)
            self.heads.append(head)
            head.setToolTip(tip)
            if column > 1:
                head.setAlignment(Qt.AlignmentFlag.AlignRight)
            self.grid.addWidget(head, 0, column)
        layout.addLayout(self.grid)
        layout.addLayout(self._ratio_row())
        layout.addLayout(self._look_row())
        row = QHBoxLayout()
        self.show_again = button(
            "S&how result", self._show_result, "The layer was removed; the result is kept"
        )
        self.show_cams = button(
            "&What it looked at", self._show_cams, "One hidden layer per class (CAMs of stage 1)"
        )
        self.show_doubt = button(
            "&Uncertainty", self._show_doubt, "A layer that shows where the model is unsure, tile by tile"
        )
        row.addWidget(self.show_again)
        row.addWidget(self.show_doubt)
        row.addWidget(self.show_cams)
        layout.addLayout(row)

    def _ratio_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.addWidget(QLabel("Ratio"))
        self.one: ElidedCombo = called(ElidedCombo(), "Ratio of this class")
        self.other: ElidedCombo = called(ElidedCombo(), "to this class")
        self.ratio = QLabel()
        for combo in (self.one, self.other):
            combo.currentIndexChanged.connect(self._ratio_chosen)
        row.addWidget(self.one, 1)
        row.addWidget(QLabel(":"))
        row.addWidget(self.other, 1)
        row.addWidget(self.ratio)
        return row

    def _look_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        label = QLabel("Opacit&y")
        self.opacity: QSlider = called(QSlider(Qt.Orientation.Horizontal), "Opacity of the classes")
        self.opacity.setRange(0, 100)
        self.opacity.valueChanged.connect(self._opacity_set)
        label.setBuddy(self.opacity)
        self.contour: QSpinBox = called(
            QSpinBox(), "Outline", "Width of outlines in pixels; 0 fills the areas"
        )
        self.contour.setRange(0, 10)
        self.contour.setSpecialValueText("filled")
        self.contour.setMaximumWidth(96)
        self.contour.valueChanged.connect(self._contour_set)
        outline = QLabel("Outl&ine")
        outline.setBuddy(self.contour)
        for each, stretch in ((label, 0), (self.opacity, 1), (outline, 0), (self.contour, 0)):
            row.addWidget(each, stretch)
        return row

    def sync(self) -> None:
        """Show what the session says."""
        session = self.session
        legend, live, result = session.legend(), session.live, session.result
        self.setVisible(result is not None)
        entries = [(session.book.name(known), str(known.store)) for known in session.results()]
        fill_combo(self.results, entries, None if result is None else str(result.store))
        set_tip(self.results, f"{session.slide_name}: {session.result_name}")
        set_note(self.scale, "" if result is None else result.scale_note(session.slide_mpp))
        hidden = live.hidden_labels if live else set()
        if len(legend) != len(self.rows):
            for row in self.rows:
                row.remove()
            self.rows = [ClassRow(session, entry.label, self.grid) for entry in legend]
        # While every class is shown the last column says the same as the one before: names have its room.
        self.heads[-1].setVisible(bool(hidden))
        for row, entry in zip(self.rows, legend, strict=True):
            row.show(entry, entry.label not in hidden)
            row.shown.setVisible(bool(hidden))
        self._fill_ratio(legend)
        layer = session.result_layer
        self.opacity.setEnabled(layer is not None)
        self.contour.setEnabled(layer is not None)
        if layer is not None:
            set_quietly(self.opacity, round(100 * layer.opacity))
            set_quietly(self.contour, layer.contour)
        self.show_again.setVisible(result is not None and layer is None)
        self.show_doubt.setVisible(result is not None and result.is_finished and live is not None)
        self.show_cams.setVisible(live is not None and live.has_cams and not session.state.is_active)

    def _fill_ratio(self, legend: Sequence[LegendRow]) -> None:
        """Offer the classes; what was chosen stays while they are the same ones, whatever they are renamed to."""
        classes = [(entry.name, entry.label) for entry in legend]
        result = self.session.result
        same = None if result is None else result.run["schema"]
        usual = usual_ratio([name for name, _ in classes])
        for combo, label in zip((self.one, self.other), usual, strict=True):
            fill_combo(combo, classes, combo.currentData() if same == self._ratio_of else label)
        self._ratio_of = same
        self._ratio_chosen()

    def step(self, by: int) -> None:
        """Go to the next (1) or the previous (-1) class: its box takes the focus."""
        if self.rows:
            self._at = (self._at + by) % len(self.rows) if self._at >= 0 or by > 0 else len(self.rows) - 1
            self.rows[self._at].name.setFocus()

    def next_class(self) -> None:
        """Go to the next class."""
        self.step(1)

    def previous_class(self) -> None:
        """Go to the previous class."""
        self.step(-1)

    def toggle_class(self) -> None:
        """Hide or show the class that was gone to."""
        if 0 <= self._at < len(self.rows):
            self.rows[self._at].name.click()

    def _ratio_chosen(self, _index: int = 0) -> None:
        one, other = self.one.currentData(), self.other.currentData()
        self.ratio.setText(ratio_text(self.session.legend(), one or 0, other or 0))

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

    def _show_doubt(self) -> None:
        if self.session.live is not None:
            self.session.live.show_doubt()

    def _show_cams(self) -> None:
        if self.session.live is not None:
            self.session.live.show_cams()
