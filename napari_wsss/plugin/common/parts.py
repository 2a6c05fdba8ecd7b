"""Small Qt helpers that all panels share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from qtpy.QtCore import QObject, Qt
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
    QSlider,
    QSpinBox,
    QTableWidget,
)

__all__ = [
    "NOTICE",
    "button",
    "fill_combo",
    "note",
    "section",
    "set_note",
    "set_quietly",
    "table",
    "title",
    "wrapped_label",
]

NOTICE = "Research use only, not for diagnosis."


def button(text: str, action: Callable[[], object], tip: str = "") -> QPushButton:
    """Return a push button."""
    made = QPushButton(text)
    made.clicked.connect(action)
    made.setToolTip(tip)
    return made


def wrapped_label(text: str = "") -> QLabel:
    """Return a label that breaks lines and whose text can be copied."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
    return label


def note(kind: str, text: str = "") -> QLabel:
    """Return a coloured label for a ``"warning"`` or an ``"error"``; hidden while it has no text."""
    label = wrapped_label(text)
    color = {"warning": "#d9a400", "error": "#ff6b5e"}[kind]
    label.setStyleSheet(f"QLabel {{ color: {color}; }}")
    label.setVisible(bool(text))
    return label


def set_note(label: QLabel, text: str) -> None:
    """Change a note's text; it takes no room while it has none."""
    if label.text() != text:
        label.setText(text)
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


def table(headers: Sequence[str], stretched: int) -> QTableWidget:
    """Return an empty table that cannot be edited; one column takes the room that is left."""
    made = QTableWidget(0, len(headers))
    made.setHorizontalHeaderLabels(list(headers))
    across, down = made.horizontalHeader(), made.verticalHeader()
    if across is not None and down is not None:
        across.setSectionResizeMode(stretched, QHeaderView.ResizeMode.Stretch)
        down.setVisible(False)
    made.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    made.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    made.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    return made


def title() -> QLabel:
    """Return the line that stands on top of every panel."""
    label = QLabel(NOTICE)
    label.setStyleSheet("font-weight: bold;")
    return label
