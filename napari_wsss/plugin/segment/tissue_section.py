"""Look before you run: the tissue's outline and share, its threshold, and corrections by drawing."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QSlider, QVBoxLayout, QWidget

from napari_wsss.plugin.common import ElidedLabel, button, called, set_quietly
from napari_wsss.plugin.segment.session import SegmentSession

__all__ = ["TissueSection"]

STEPS = 1000  # per unit of density
LARGEST = 150


class TissueSection(QWidget):
    """What a run takes as tissue.

    Parameters
    ----------
    session : SegmentSession
    """

    def __init__(self, session: SegmentSession) -> None:
        super().__init__()
        self.session = session
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        self.show_tissue = button(
            "Show &tissue", self.session.show_tissue, "Outline what counts as tissue, before a run"
        )
        self.text = ElidedLabel()
        row.addWidget(self.show_tissue)
        row.addWidget(self.text, 1)
        layout.addLayout(row)
        self.adjust = QWidget()
        row = QHBoxLayout(self.adjust)
        row.setContentsMargins(0, 0, 0, 0)
        self.threshold: QSlider = called(
            QSlider(Qt.Orientation.Horizontal),
            "Tissue threshold",
            "To the left paler tissue counts as well, to the right only dark tissue",
        )
        self.threshold.setRange(1, LARGEST)
        self.threshold.valueChanged.connect(self._threshold_set)
        self.include = button("I&nclude", self._include, "Draw around what is tissue as well")
        self.exclude = button("Exclu&de", self._exclude, "Draw around what is none: pen, dirt, folds")
        for each, stretch in ((self.threshold, 1), (self.include, 0), (self.exclude, 0)):
            row.addWidget(each, stretch)
        layout.addWidget(self.adjust)

    def sync(self) -> None:
        """Show what the session says."""
        session = self.session
        key, tissue = session.slide_key, session.tissue
        threshold = tissue.threshold(key)
        self.show_tissue.setEnabled(session.slide is not None and not tissue.is_busy)
        self.text.set_whole(tissue.text(key))
        self.adjust.setVisible(threshold is not None)
        if threshold is not None:
            set_quietly(self.threshold, round(STEPS * threshold))

    def _threshold_set(self, value: int) -> None:
        self.session.tissue.set_threshold(self.session.slide_key, value / STEPS)
        self.text.set_whole(self.session.tissue.text(self.session.slide_key))

    def _include(self) -> None:
        self.session.tissue.draw(self.session.slide_key, include=True)

    def _exclude(self) -> None:
        self.session.tissue.draw(self.session.slide_key, include=False)
