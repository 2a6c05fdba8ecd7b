"""Small Qt helpers that all panels share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGroupBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QTableWidget,
)

__all__ = [
    "button",
    "fill_combo",
    "note",
    "section",
    "set_note",
    "set_quietly",
    "swatch",
    "table",
    "wrapped_label",
]


def button(text: str, action: Callable[[], object], tip: str = "") -> QPushButton:
    """Return a push button."""
    made = QPushButton(text)
    made.clicked.connect(action)
    made.setToolTip(tip)
    made.setAccessibleName(text.replace("&", "").rstrip("…"))
    made.setAccessibleDescription(tip)
    return made


def swatch(color: str) -> QIcon:
    """Return a square of a colour, for lists of classes."""
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(color))
    return QIcon(pixmap)


def wrapped_label(text: str = "") -> QLabel:
    """Return a label of plain text that breaks lines, needs no width of its own, and whose text can be copied."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


NOTE_COLORS = {"warning": ("#241c00", "#ffd75e"), "error": ("#ffffff", "#a1262b")}
"""Ink and paper of notes: their own paper makes them readable in napari's dark and light themes alike."""


def note(kind: str, text: str = "") -> QLabel:
    """Return a label on coloured paper for a ``"warning"`` or an ``"error"``; hidden while it has no text.

    Its text is plain: what comes from files is never taken for HTML.
    """
    label = wrapped_label(text)
    label.setAccessibleName({"warning": "Warning", "error": "Error"}[kind])
    ink, paper = NOTE_COLORS[kind]
    label.setStyleSheet(f"QLabel {{ color: {ink}; background: {paper}; border-radius: 3px; padding: 3px; }}")
    label.setVisible(bool(text))
    return label


_LONG_WORD = re.compile(r"\S{24,}")
_ZERO_WIDTH_SPACE = "\u200b"
_LONGEST_PIECE = 34


def _breakable(word: re.Match[str]) -> str:
    """Let a path break after its slashes, and a name that fills more than a line anywhere."""
    pieces = re.split(r"(?<=[/\\])", word.group())
    every = rf"(\S{{{_LONGEST_PIECE}}})(?=\S)"
    return _ZERO_WIDTH_SPACE.join(re.sub(every, rf"\1{_ZERO_WIDTH_SPACE}", piece) for piece in pieces)


def set_note(label: QLabel, text: str) -> None:
    """Change a note's text; it takes no room while it has none. Long words (paths) may break anywhere."""
    shown = _LONG_WORD.sub(_breakable, text)
    if label.text() != shown:
        label.setText(shown)
    label.setVisible(bool(text))


def section(title: str) -> tuple[QGroupBox, QFormLayout]:
    """Return a titled box and its form layout."""
    box = QGroupBox(title)
    form = QFormLayout(box)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    form.setContentsMargins(6, 6, 6, 6)
    return box, form


@contextmanager
def quiet(widget: QObject) -> Iterator[None]:
    """Change a widget without telling anybody."""
    before = widget.blockSignals(True)
    try:
        yield
    finally:
        widget.blockSignals(before)


def fill_combo(combo: QComboBox, items: Sequence[tuple[str, Any]], chosen: Any) -> None:
    """Show ``(text, value)`` pairs with one of them chosen, without telling anybody; nothing is redrawn needlessly."""
    known = [(combo.itemText(i), combo.itemData(i)) for i in range(combo.count())]
    with quiet(combo):
        if known != list(items):
            combo.clear()
            for text, value in items:
                combo.addItem(text, value)
        index = next((i for i, (_, value) in enumerate(items) if value == chosen), -1)
        if combo.currentIndex() != index:
            combo.setCurrentIndex(index)


def set_quietly(widget: QCheckBox | QSpinBox | QDoubleSpinBox | QSlider | QLineEdit, value: Any) -> None:
    """Set the value of an input without its signal, and not while somebody types into it."""
    if widget.hasFocus() and not isinstance(widget, QCheckBox):
        return
    with quiet(widget):
        if isinstance(widget, QCheckBox):
            widget.setChecked(value)
        elif isinstance(widget, QLineEdit):
            widget.setText(value)
        else:
            widget.setValue(value)


def scale_box() -> QDoubleSpinBox:
    """Return an input for µm per pixel; 0 says that it is unknown."""
    made = QDoubleSpinBox()
    made.setDecimals(4)
    made.setRange(0.0, 5.0)
    made.setSingleStep(0.01)
    made.setSpecialValueText("unknown")
    made.setSuffix(" µm/px")
    made.setKeyboardTracking(False)
    return made


def table(headers: Sequence[str], stretched: int) -> QTableWidget:
    """Return an empty table that cannot be edited; one column takes the room that is left."""
    made = QTableWidget(0, len(headers))
    made.setHorizontalHeaderLabels(list(headers))
    across, down = made.horizontalHeader(), made.verticalHeader()
    if across is not None and down is not None:
        across.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        across.setSectionResizeMode(stretched, QHeaderView.ResizeMode.Stretch)
        down.setVisible(False)
    made.setWordWrap(False)
    made.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    made.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    made.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    made.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    return made
