"""Models in the dock: the quick one, the trained one with its progress, and whether more labels pay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QProgressBar, QSizePolicy, QVBoxLayout, QWidget

from napari_wsss.plugin.common import button

if TYPE_CHECKING:
    from napari_wsss.plugin.teach.presenter import Teacher

__all__ = ["Curve", "ModelSection"]


class Curve(QWidget):
    """A small line plot with an optional band around the line.

    Parameters
    ----------
    title : str
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self._points: tuple[tuple[float, float, float, float], ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(title)

    def sizeHint(self) -> QSize:
        """As low as it can be read."""
        return QSize(200, 44)

    def show_points(self, points: Sequence[tuple[float, float, float, float]]) -> None:
        """Show points (x, y, low, high), x growing."""
        if tuple(points) != self._points:
            self._points = tuple(points)
            self.update()
        self.setVisible(len(points) > 1)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw it."""
        if len(self._points) < 2:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(self.foregroundRole())
        area = QRectF(self.rect()).adjusted(34, 14, -6, -4)
        x0, x1 = self._points[0][0], self._points[-1][0]
        bottom = min(p[2] for p in self._points)
        top = max(max(p[3] for p in self._points), bottom + 1e-6)

        def place(x: float, y: float) -> QPointF:
            across = (x - x0) / (x1 - x0) if x1 > x0 else 0.0
            up = (y - bottom) / (top - bottom)
            return QPointF(area.left() + across * area.width(), area.bottom() - up * area.height())

        painter.setPen(Qt.PenStyle.NoPen)
        band = QColor("#4aa3df")
        band.setAlphaF(0.3)
        painter.setBrush(band)
        upper = [place(x, high) for x, _, _, high in self._points]
        lower = [place(x, low) for x, _, low, _ in reversed(self._points)]
        painter.drawPolygon(QPolygonF([*upper, *lower]))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor("#4aa3df"), 2))
        painter.drawPolyline(QPolygonF([place(x, y) for x, y, _, _ in self._points]))
        painter.setPen(text)
        font = painter.font()
        font.setPointSizeF(font.pointSizeF() * 0.85)
        painter.setFont(font)
        painter.drawText(QRectF(0, 0, self.width(), 14), Qt.AlignmentFlag.AlignLeft, self.title)
        left = QRectF(0, area.top(), 30, area.height())
        painter.drawText(left, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop, f"{top:.2f}")
        painter.drawText(left, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom, f"{bottom:.2f}")
        painter.end()


class ModelSection(QWidget):
    """What the labels are for.

    Parameters
    ----------
    teacher : Teacher
    """

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        row = QHBoxLayout()
        self.quick = button(
            "&Quick model",
            teacher.making.quick,
            "The map as a model, at once: to segment other slides with, or many",
        )
        self.train = button("&Train…", self._train, "")
        row.addWidget(self.quick)
        row.addWidget(self.train)
        column.addLayout(row)
        self.fresh = QCheckBox("Start anew")
        self.fresh.setToolTip("Train from the encoder, not from the last trained model")
        self.fresh.toggled.connect(self._choose_start)
        column.addWidget(self.fresh)
        self.bar = QProgressBar()
        self.bar.setMaximum(1000)
        self.bar.setAccessibleName("Progress of Train")
        column.addWidget(self.bar)
        self.state = QLabel()
        self.state.setWordWrap(True)
        column.addWidget(self.state)
        self.samples = QLabel()
        self.samples.setAccessibleName("Samples of what is drawn by now")
        self.samples.setToolTip(
            "Tiles; what the model is taught about them, or what is known in corrected regions; what it draws by now; "
            "and the same with only the classes seen in the neighbourhood"
        )
        self.samples.hide()
        self._shown: Path | None = None
        self.losses = Curve("loss")
        self.scores = Curve("score over labels")
        column.addWidget(self.samples)
        column.addWidget(self.losses)
        column.addWidget(self.scores)

    def sync(self) -> None:
        """Show what is new."""
        making, work = self.teacher.making, self.teacher.work
        labelled = bool(work.labels())
        self.quick.setEnabled(work.can_write and self.teacher.sketching.head is not None)
        self.train.setEnabled(making.is_training or (work.can_write and labelled))
        text, tip = (
            "&Train",
            "Train a model on the labels: minutes in the background; napari can be closed meanwhile",
        )
        if making.is_training:
            text, tip = "&Stop training", "What is done is kept, also when napari is closed"
        elif making.unfinished:
            text, tip = "&Go on training", f"{making.unfinished} was not finished: go on where it stopped"
        elif making.goes_on and not making.fresh:
            tip = f"Train “{making.goes_on}” further on all labels: minutes in the background"
        self.fresh.setVisible(bool(making.goes_on) and not making.is_training and not making.unfinished)
        self.train.setText(text)
        self.train.setToolTip(tip)
        training = making.training
        self.bar.setVisible(making.is_training)
        self.state.setVisible(training is not None)
        self.losses.setVisible(False)
        if training is not None:
            self.bar.setValue(round(1000 * training.share))
            self.state.setText(f"{training.name}: {training.words()}")
            self.losses.show_points([(i, v, v, v) for i, v in enumerate(training.losses)])
        self._show_samples(training.samples if training is not None and making.is_training else None)
        self.scores.show_points(self.teacher.sketching.history)

    def _show_samples(self, page: Path | None) -> None:
        if page == self._shown:
            return
        self._shown = page
        pixels = QPixmap() if page is None else QPixmap(str(page))
        if not pixels.isNull():
            smooth = Qt.TransformationMode.SmoothTransformation
            pixels = pixels.scaledToWidth(min(pixels.width(), self.width()), smooth)
        self.samples.setPixmap(pixels)
        self.samples.setVisible(not pixels.isNull())

    def _choose_start(self, fresh: bool) -> None:
        self.teacher.making.fresh = fresh
        self.sync()

    def _train(self) -> None:
        if self.teacher.making.is_training:
            self.teacher.making.cancel()
        else:
            self.teacher.making.train()
