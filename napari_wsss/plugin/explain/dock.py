"""The dock "Explain tile"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QImage, QPixmap, QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import (
    ElidedLabel,
    fill_combo,
    guard_wheel,
    note,
    set_note,
    start_heartbeat,
    title,
    wrapped_label,
)
from napari_wsss.plugin.explain.explanation import ClassEvidence, TileExplanation
from napari_wsss.plugin.explain.presenter import Explainer
from napari_wsss.plugin.segment import session_for

if TYPE_CHECKING:
    import napari

__all__ = ["ExplainWidget", "PictureLabel"]

TICK_MS = 100
THUMBNAIL = 80
BAR_WIDTH = 64


DEPTHS = ("fine", "middle", "deep")

HEADS = (
    (1, "Class", ""),
    (2, "In the tile?", "How probable it is that the class is somewhere in the tile (stage 1)"),
    (3, "Allowed", "Whether the class may appear here (the gate)"),
)


class PictureLabel(QLabel):
    """Shows an RGB array."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.setFixedSize(side, side)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)

    def show_picture(self, pixels: NDArray[np.uint8] | None) -> None:
        """Show (h, w, 3) uint8, fitted into the label; None clears it."""
        if pixels is None:
            self.clear()
            return
        height, width = pixels.shape[:2]
        image = QImage(
            np.ascontiguousarray(pixels).tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888
        ).copy()
        fitted = QPixmap.fromImage(image).scaled(
            self.size(), Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
        self.setPixmap(fitted)


class EvidenceRow:
    """The bars of one class."""

    def __init__(self, row: int, grid: QGridLayout) -> None:
        self.swatch = QLabel()
        self.swatch.setFixedSize(12, 12)
        self.name = ElidedLabel()
        self.presence = QProgressBar()
        self.gate = QLabel()
        self.cursor = QProgressBar()
        for bar in (self.presence, self.cursor):
            bar.setRange(0, 1000)
            bar.setFixedHeight(16)
            bar.setFixedWidth(BAR_WIDTH)
        for column, widget in enumerate(self.widgets):
            grid.addWidget(widget, row, column)

    @property
    def widgets(self) -> tuple[QWidget, ...]:
        """All widgets of the row, from left to right."""
        return (self.swatch, self.name, self.presence, self.gate, self.cursor)

    def show(self, evidence: ClassEvidence, cursor: float | None) -> None:
        """Show a class's numbers; ``cursor`` is stage 2 under the mouse, else its mean over the tile is shown."""
        self.swatch.setStyleSheet(f"background: {evidence.color}; border: 1px solid #888;")
        self.name.set_whole(evidence.name)  # plain text: a class may be called anything
        for bar, value in (
            (self.presence, evidence.presence),
            (self.cursor, evidence.share if cursor is None else cursor),
        ):
            bar.setValue(round(1000 * value))
            bar.setFormat(f"{100 * value:.1f} %")
            bar.setStyleSheet(f"QProgressBar::chunk {{ background: {evidence.color}; }}")
        self.presence.setToolTip(f"Counts as seen above {100 * evidence.threshold:.0f} % (gate threshold)")
        self.gate.setText(evidence.gate_text)

    def remove(self) -> None:
        """Take the widgets away."""
        for widget in self.widgets:
            widget.deleteLater()


class ExplainWidget(QWidget):
    """Click a tile: what stage 1 saw, what the gate let through, what stage 2 says under the mouse.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    explainer : Explainer, optional
        Another presenter, for tests.
    """

    def __init__(self, napari_viewer: napari.Viewer, explainer: Explainer | None = None) -> None:
        super().__init__()
        self.explainer = explainer or Explainer(session_for(napari_viewer))
        self.rows: list[EvidenceRow] = []
        layout = QVBoxLayout(self)
        layout.addWidget(title())
        self.pick = QPushButton("Pick a tile")
        self.pick.setCheckable(True)
        self.pick.setToolTip("Then click on the slide")
        self.pick.toggled.connect(self._pick_toggled)
        layout.addWidget(self.pick)
        self.hint = wrapped_label()
        layout.addWidget(self.hint)
        self.error = note("error")
        layout.addWidget(self.error)

        self.grid = QGridLayout()
        self.grid.setColumnStretch(1, 1)  # names need all the room that bars leave
        self.grid.setHorizontalSpacing(4)
        self.stage2_title = QLabel()
        self.stage2_title.setToolTip(
            "What the segmentation says there: probabilities of its network (stage 2)"
        )
        self.heads: list[QWidget] = [self.stage2_title]
        for column, text, tip in HEADS:
            head = QLabel(text)
            head.setToolTip(tip)
            self.heads.append(head)
            self.grid.addWidget(head, 0, column)
        self.grid.addWidget(self.stage2_title, 0, 4)
        self.stage2_title.setWordWrap(True)
        self.stage2_title.setFixedWidth(BAR_WIDTH)
        layout.addLayout(self.grid)

        self.chosen = QComboBox()
        self.chosen.setToolTip("Class for which is shown what the model looked at (CAMs)")
        self.chosen.currentIndexChanged.connect(self._class_chosen)
        layout.addWidget(self.chosen)
        row = QHBoxLayout()
        self.tile = PictureLabel(THUMBNAIL)
        self.cams = [PictureLabel(THUMBNAIL) for _ in range(3)]
        self.captions = [QLabel() for _ in range(4)]
        for picture, caption in zip((self.tile, *self.cams), self.captions, strict=True):
            stack = QVBoxLayout()
            stack.addWidget(picture)
            stack.addWidget(caption)
            row.addLayout(stack)
        row.addStretch(1)
        layout.addLayout(row)
        layout.addStretch(1)

        self._seen = -1
        self._explained: TileExplanation | None = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.tick)
        self._timer.start(TICK_MS)
        self._show_tile()
        self.destroyed.connect(self.explainer.close)
        guard_wheel(self)
        self.tick()

    def tick(self) -> None:
        """Take news; show what is under the mouse."""
        explainer = self.explainer
        explainer.session.follow_layers()
        explainer.poll()
        if explainer.revision != self._seen:
            self._seen = explainer.revision
            self._sync()
        self._sync_bars()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Join the window's heartbeat: a run goes on whichever panels are open."""
        start_heartbeat(self, self.explainer.session)
        super().showEvent(event)

    def _sync(self) -> None:
        explainer = self.explainer
        if self.pick.isChecked() != explainer.is_picking:
            self.pick.setChecked(explainer.is_picking)
        set_note(self.error, explainer.problem)
        if explainer.is_busy:
            self.hint.setText("Looking at the tile…")
        elif explainer.explanation is None:
            self.hint.setText("Press “Pick a tile”, then click on the slide.")
        else:
            place = explainer.explanation.place
            self.hint.setText(explainer.place_text(place))
        explanation = explainer.explanation
        if explanation is not self._explained:
            self._explained = explanation
            self._show_tile()

    def _show_tile(self) -> None:
        explanation = self._explained
        evidence = explanation.evidence if explanation else []
        for part in (*self.heads, self.chosen):  # what says something of a tile, once there is one
            part.setVisible(explanation is not None)
        if len(evidence) != len(self.rows):
            for row in self.rows:
                row.remove()
            self.rows = [EvidenceRow(i, self.grid) for i in range(1, len(evidence) + 1)]
        names = [(f"What it looked at for {entry.name}", i) for i, entry in enumerate(evidence)]
        fill_combo(self.chosen, names, explanation.top_class if explanation else None)
        self.tile.show_picture(explanation.pixels if explanation else None)
        self.captions[0].setText("tile" if explanation else "")
        self._show_cams()

    def _show_cams(self) -> None:
        explanation, index = self._explained, self.chosen.currentData()
        layers = list(explanation.cams) if explanation and index is not None else []
        for number, picture in enumerate(self.cams):
            if explanation is None or number >= len(layers):
                picture.show_picture(None)
                self.captions[number + 1].setText("")
            else:
                picture.show_picture(explanation.picture(layers[number], index))
                self.captions[number + 1].setText(DEPTHS[number])
                self.captions[number + 1].setToolTip(f"Layer {layers[number]} of the patch classifier")

    def _sync_bars(self) -> None:
        if self._explained is None:
            return
        under = self.explainer.probabilities_under_cursor()
        self.stage2_title.setText("In the whole tile" if under is None else "At the mouse")
        for i, (row, evidence) in enumerate(zip(self.rows, self._explained.evidence, strict=True)):
            row.show(evidence, None if under is None else float(under[i]))

    def _pick_toggled(self, wanted: bool) -> None:
        self.explainer.pick_by_mouse(wanted)

    def _class_chosen(self, _index: int) -> None:
        self._show_cams()
