"""The dock "Segment slide"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_wsss.plugin.common import start_heartbeat, start_in_thread, title
from napari_wsss.plugin.segment.estimate import Estimator, LiveEstimate
from napari_wsss.plugin.segment.input_section import InputSection
from napari_wsss.plugin.segment.legend_section import LegendSection
from napari_wsss.plugin.segment.result_section import ResultSection
from napari_wsss.plugin.segment.run_section import OptionsSection, RegionSection, RunSection
from napari_wsss.plugin.segment.session import SegmentSession, session_for

if TYPE_CHECKING:
    import napari

__all__ = ["SegmentWidget"]

TICK_MS = 100


class SegmentWidget(QWidget):
    """Choose a slide, a model and a region; run; watch the result grow.

    One timer asks the session what is new; nothing else reaches into the widgets, so nothing can reach into deleted
    ones.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    session : SegmentSession, optional
        Another presenter, for tests.
    measure : bool
        Whether a model's speed is measured when it is first chosen.
    """

    def __init__(
        self, napari_viewer: napari.Viewer, session: SegmentSession | None = None, *, measure: bool = True
    ) -> None:
        super().__init__()
        self.session = session or session_for(napari_viewer)
        self.estimate = LiveEstimate(Estimator(), start_in_thread, measure=measure)
        self.notice = title()
        self.input = InputSection(self.session)
        self.region = RegionSection(self.session)
        self.options = OptionsSection(self.session)
        self.run = RunSection(self.session, self.estimate)
        self.legend = LegendSection(self.session)
        self.results = ResultSection(self.session)

        inner = QWidget()
        column = QVBoxLayout(inner)
        for part in (self.notice, self.input, self.region, self.options, self.run, self.legend, self.results):
            column.addWidget(part)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)
        self.setMinimumWidth(390)

        self._seen: object = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.tick)
        self._timer.start(TICK_MS)
        self.tick()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Join the window's heartbeat: a run goes on when this panel is closed."""
        start_heartbeat(self, self.session)
        super().showEvent(event)

    def tick(self) -> None:
        """Take news from the viewer; redraw the panel when there are some."""
        session = self.session
        session.follow_layers()
        estimated = self.estimate.update(session.request_or_none())
        seen = (session.revision, session.layer_names())
        if estimated or seen != self._seen:
            self._seen = seen
            for part in (self.input, self.region, self.options, self.run, self.legend, self.results):
                part.sync()
