"""A tile as a picture in a dock: whose turn it is, what it holds, what a model says that it holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

__all__ = ["Thumbnail"]

FRAME = 3
TURN = QColor("#ffe600")


class Thumbnail(QWidget):
    """One tile: its picture, a frame when it is its turn, a dot for every class it holds, rings for what the head says.

    Parameters
    ----------
    index : int
    clicked : callable of index, doubly
    """

    def __init__(self, index: int, clicked: Callable[[int, bool], object]) -> None:
        super().__init__()
        self.index = index
        self._clicked = clicked
        self._image: QImage | None = None
        self._shown: object = None
        self._held: tuple[str, ...] = ()
        self._guess: tuple[str, ...] = ()
        self._turn = False
        self._empty = True
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setMinimumSize(QSize(56, 56))

    def hasHeightForWidth(self) -> bool:
        """Thumbnails are square."""
        return True

    def heightForWidth(self, width: int) -> int:
        """Thumbnails are square."""
        return width

    def sizeHint(self) -> QSize:
        """Four fit into a narrow panel."""
        return QSize(74, 74)

    def show_tile(
        self,
        pixels: NDArray[np.uint8] | None,
        held: tuple[str, ...],
        guess: tuple[str, ...],
        *,
        turn: bool,
        empty: bool,
        words: str,
    ) -> None:
        """Show a tile; colours are ``#rrggbb``."""
        state = (id(pixels), held, guess, turn, empty, words)
        if state == self._shown:
            return
        self._shown = state
        self._image = None
        if pixels is not None:
            height, width = pixels.shape[:2]
            data = np.ascontiguousarray(pixels)
            self._image = QImage(data.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
        self._held, self._guess, self._turn, self._empty = held, guess, turn, empty
        self.setToolTip(words)
        self.setAccessibleName(words or f"Tile {self.index + 1} of the strip, empty")
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw it."""
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        area = QRectF(self.rect()).adjusted(FRAME, FRAME, -FRAME, -FRAME)
        if self._image is not None:
            painter.drawImage(area, self._image)
        else:
            color = self.palette().color(self.foregroundRole())
            color.setAlphaF(0.06 if self._empty else 0.15)
            painter.fillRect(area, color)
        if self._turn:
            pen = QPen(TURN, FRAME)
            pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
            painter.setPen(pen)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(QRectF(self.rect()).adjusted(1.5, 1.5, -1.5, -1.5))
        self._dots(painter, area, self._held, filled=True)
        if not self._held:
            self._dots(painter, area, self._guess, filled=False)
        painter.end()

    def _dots(self, painter: QPainter, area: QRectF, colors: tuple[str, ...], *, filled: bool) -> None:
        radius = 6.0
        for number, color in enumerate(colors):
            middle = QPointF(area.left() + (2 * number + 1) * (radius + 2), area.bottom() - radius - 3)
            painter.setPen(QPen(QColor("white"), 1.5) if filled else QPen(QColor(color), 3))
            painter.setBrush(QColor(color) if filled else QColor(255, 255, 255, 200))
            painter.drawEllipse(middle, radius, radius)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Make it the turn of this tile."""
        self._clicked(self.index, False)

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """Go there on the slide."""
        self._clicked(self.index, True)
