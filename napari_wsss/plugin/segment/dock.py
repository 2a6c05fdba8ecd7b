"""The dock "Segment slide"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_wsss.plugin.common import (
    ElidedLabel,
    FittingScroll,
    WindowKeys,
    called,
    guard_wheel,
    start_heartbeat,
    start_in_thread,
    title,
)
from napari_wsss.plugin.segment.estimate import Estimator, LiveEstimate
from napari_wsss.plugin.segment.legend_section import LegendSection
from napari_wsss.plugin.segment.model_section import ModelSection
from napari_wsss.plugin.segment.region_section import OptionsSection, RegionSection
from napari_wsss.plugin.segment.result_section import ResultSection
from napari_wsss.plugin.segment.run_section import RunSection
from napari_wsss.plugin.segment.session import SegmentSession, session_for
from napari_wsss.plugin.segment.slide_section import SlideSection
from napari_wsss.plugin.segment.tissue_section import TissueSection

if TYPE_CHECKING:
    import napari

__all__ = ["SegmentWidget"]

TICK_MS = 100

KEYS = (
    ("Ctrl+Return", "run"),
    ("Alt+Down", "next class of the legend"),
    ("Alt+Up", "previous class of the legend"),
    ("Alt+Return", "hide or show that class"),
)
"""All keys of this dock; underlined letters with Alt go to what they are part of."""


class SegmentWidget(QWidget):
    """Choose a slide, a model and a region; run; watch the result grow.

    Three parts from top to bottom: what is chosen (scrolls when there is no room), the commands with progress and
    messages (always in sight), and the result (takes the room that is left). One timer asks the session what is new;
    nothing else reaches into the widgets, so nothing can reach into deleted ones.

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
        self.input = SlideSection(self.session)
        self.model = ModelSection(self.session)
        self.region = RegionSection(self.session)
        self.tissue = TissueSection(self.session)
        self.options = OptionsSection(self.session)
        self.run = RunSection(self.session, self.estimate)
        self.legend = LegendSection(self.session)
        self.results = ResultSection(self.session)
        self._parts = (
            self.input,
            self.model,
            self.region,
            self.tissue,
            self.options,
            self.run,
            self.legend,
            self.results,
        )

        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.notice)
        layout.addWidget(
            FittingScroll(
                _column(self.input, self.model, self.region, self.tissue, self.options), greedy=False
            )
        )
        layout.addWidget(self.run)
        layout.addWidget(FittingScroll(_column(self.legend, self.results), greedy=True), 1)
        self.mouse: ElidedLabel = called(ElidedLabel(), "Under the mouse")
        layout.addWidget(self.mouse)
        self.setMinimumWidth(352)
        guard_wheel(self)
        actions = (
            self.run.run.click,
            self.legend.next_class,
            self.legend.previous_class,
            self.legend.toggle_class,
        )
        self.keys = WindowKeys(self, dict(zip((key for key, _ in KEYS), actions, strict=True)))
        self.notice.setToolTip("\n".join(f"{key}: {what}" for key, what in KEYS))

        self._seen: object = None
        self._cursor: object = None
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
        if session.active is not None:
            self.estimate.learn(session.active.request, session.active.state)
        if session.viewer.cursor.position != self._cursor:
            self._cursor = session.viewer.cursor.position
            self.mouse.set_whole(session.under_cursor())
        seen = (
            session.revision,
            session.layer_names(),
            session.why_not(),
            session.tissue.text(session.slide_key),
        )
        if estimated or seen != self._seen:
            self._seen = seen
            for part in self._parts:
                part.sync()


def _column(*parts: QWidget) -> QWidget:
    inner = QWidget()
    column = QVBoxLayout(inner)
    column.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        column.addWidget(part)
    column.addStretch(1)
    return inner
