"""Inputs for a narrow panel: long names are shortened in the middle, and the wheel scrolls instead of changing."""

from __future__ import annotations

from html import escape
from typing import Any

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QWidget,
)

__all__ = ["ElidedCombo", "ElidedLabel", "FittingScroll", "called", "guard_wheel", "set_tip"]

_ARROW = 43  # pixels that the arrow of a combo box, its padding and its frame take in napari's themes


class ElidedCombo(QComboBox):
    """A combo box as wide as there is room, whose entry is shortened in the middle; the tooltip has it in full."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(3)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def shown_text(self) -> str:
        """Return the entry as it is drawn."""
        room = max(0, self.width() - _ARROW)
        return self.fontMetrics().elidedText(self.currentText(), Qt.TextElideMode.ElideMiddle, room)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the box with the shortened entry."""
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        option.currentText = self.shown_text()
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


class ElidedLabel(QLabel):
    """One line of plain text, shortened in the middle when there is no room; the tooltip has it in full."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._whole = ""
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.set_whole(text)

    def set_whole(self, text: str) -> None:
        """Change the text."""
        if text != self._whole:
            self._whole = text
            set_tip(self, text)
            self._fit()

    @property
    def whole(self) -> str:
        """The text in full."""
        return self._whole

    def resizeEvent(self, event: Any) -> None:
        """Shorten anew."""
        self._fit()
        super().resizeEvent(event)

    def minimumSizeHint(self) -> QSize:
        """Need no width."""
        return QSize(0, super().minimumSizeHint().height())

    def _fit(self) -> None:
        mode = Qt.TextElideMode.ElideMiddle
        self.setText(self.fontMetrics().elidedText(self._whole, mode, max(0, self.width() - 2)))


class FittingScroll(QScrollArea):
    """A scroll area as high as its content wants, which scrolls when there is less room and is never cut at the side.

    Parameters
    ----------
    inner : QWidget
    greedy : bool
        Whether it takes the height that is left.
    least : int
        Pixels of height below which it is not squeezed.
    """

    def __init__(self, inner: QWidget, *, greedy: bool, least: int = 90) -> None:
        super().__init__()
        self._least = least
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        vertical = QSizePolicy.Policy.Expanding if greedy else QSizePolicy.Policy.Maximum
        self.setSizePolicy(QSizePolicy.Policy.Preferred, vertical)
        self.setWidget(inner)
        inner.installEventFilter(self)
        # Asked once more when the content has been laid out: until then it answers with its old height.
        self._laid_out = QTimer(self)
        self._laid_out.setSingleShot(True)
        self._laid_out.timeout.connect(self.updateGeometry)

    def resizeEvent(self, event: Any) -> None:
        """Ask for the height that fits the new width."""
        super().resizeEvent(event)
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        """Ask for the height of the content at this width."""
        inner = self.widget()
        if inner is None:
            return super().sizeHint()
        height = inner.sizeHint().height()
        if inner.hasHeightForWidth():
            height = max(inner.heightForWidth(max(1, self.width())), inner.minimumSizeHint().height())
        return QSize(inner.minimumSizeHint().width(), height + 2)

    def minimumSizeHint(self) -> QSize:
        """Be content with a few lines."""
        return QSize(0, min(self.sizeHint().height(), self._least))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask for another height when the content has changed."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
            self._laid_out.start(0)
        return bool(super().eventFilter(watched, event))


class _WheelGuard(QObject):
    """Hands the wheel of an input without focus on to what scrolls."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if (
            event is not None
            and event.type() == QEvent.Type.Wheel
            and isinstance(watched, QWidget)
            and not watched.hasFocus()
        ):
            event.ignore()
            return True
        return False


def guard_wheel(panel: QWidget) -> None:
    """Let no input of a panel answer the wheel unless it has the focus, which the wheel does not give it."""
    guard = _WheelGuard(panel)
    for kind in (QComboBox, QAbstractSpinBox, QSlider):
        for each in panel.findChildren(kind):
            each.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            each.installEventFilter(guard)


def called(widget: QWidget, name: str, tip: str = "") -> Any:
    """Give an input a name for screen readers, and a tooltip; return the input."""
    widget.setAccessibleName(name)
    if tip:
        set_tip(widget, tip)
    return widget


def set_tip(widget: QWidget, text: str) -> None:
    """Set a tooltip that is never taken for HTML, whatever a file is called."""
    widget.setToolTip(f"<p>{escape(text)}</p>" if "<" in text else text)
