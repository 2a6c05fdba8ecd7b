"""The commands, how the run goes, and what must be decided or went wrong: always in sight."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QMessageBox, QProgressBar, QVBoxLayout, QWidget

from napari_wsss.plugin.common import FittingScroll, button, note, set_note, wrapped_label
from napari_wsss.plugin.results import progress_text
from napari_wsss.plugin.segment.estimate import LiveEstimate, estimate_text
from napari_wsss.plugin.segment.session import SegmentSession

__all__ = ["QuestionBox", "RunSection"]

BAR_HEIGHT = 12
ERROR_HEIGHT = 120


class RunSection(QWidget):
    """Run, Cancel, Resume, Replace; the bar; what went wrong, in full."""

    def __init__(self, session: SegmentSession, estimate: LiveEstimate) -> None:
        super().__init__()
        self.session = session
        self.estimate = estimate
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.cost = wrapped_label()
        layout.addWidget(self.cost)
        row = QHBoxLayout()
        self.run = button("&Run", self._run, "Segment the region with the model")
        self.resume = button("Resu&me", self.session.resume, "Go on where the last run stopped")
        self.cancel = button("&Cancel", self.session.cancel, "Stop; what is done is kept")
        for each in (self.run, self.resume, self.cancel):
            row.addWidget(each)
        layout.addLayout(row)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(BAR_HEIGHT)
        self.bar.setAccessibleName("Progress of the run")
        layout.addWidget(self.bar)
        self.progress = wrapped_label()
        layout.addWidget(self.progress)
        self.question = QuestionBox(session)
        layout.addWidget(self.question)
        self.error = note("error")
        # Long messages scroll in their own few lines and never push the commands away.
        self.errors = FittingScroll(self.error, greedy=False, least=ERROR_HEIGHT)
        self.errors.setMaximumHeight(ERROR_HEIGHT)
        layout.addWidget(self.errors)

    def sync(self) -> None:
        """Show what the session says."""
        session, state = self.session, self.session.state
        active = session.active
        why_not = session.why_not()
        # Something always stands here, lest Run moves under the mouse when the estimate comes.
        cost = estimate_text(self.estimate.estimate) or self.estimate.problem or "Estimating…"
        self.cost.setText(why_not or cost)
        self.cost.setVisible(not state.is_active)
        self.run.setVisible(not state.is_active)
        self.run.setEnabled(not why_not)
        self.run.setToolTip(why_not or "Segment the region with the model")
        self.resume.setVisible(state.can_resume)
        self.resume.setEnabled(active is None)
        self.cancel.setVisible(active is not None)
        cancelling = active is not None and active.state.phase == "cancelling"
        self.cancel.setEnabled(not cancelling)
        self.cancel.setText("Cancelling…" if cancelling else "&Cancel")
        # The run that goes on is always in sight, whatever slide it is about.
        going = state if active is None else active.state
        self.bar.setVisible(going.phase != "idle")
        # A maximum of 0 is Qt's "busy" bar.
        self.bar.setMaximum(0 if going.phase == "starting" else max(1, going.tiles))
        finished = going.phase in ("done", "cached", "empty")
        self.bar.setValue(max(1, going.tiles) if finished else going.tiles_done)
        elsewhere = active is not None and active.slide != session.slide_key
        text = progress_text(going)
        self.progress.setText(f"{active.slide_name}: {text}" if active is not None and elsewhere else text)
        self.progress.setVisible(bool(self.progress.text()))
        self.question.sync()
        problems = (session.problem, session.exports.problem, state.message)
        set_note(self.error, "\n".join(text for text in problems if text))
        self.errors.setVisible(bool(self.error.text()))

    def _run(self) -> None:
        self.session.run()


class QuestionBox(QWidget):
    """Keep both, replace, or leave it: asked before a run would take the place of another result."""

    def __init__(self, session: SegmentSession) -> None:
        super().__init__()
        self.session = session
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.text = note("warning")
        layout.addWidget(self.text)
        row = QHBoxLayout()
        self.keep = button(
            "&Keep both", self.session.keep_both, "The new result is made beside the one that is there"
        )
        self.replace = button("Re&place…", self._replace, "The result that is there is deleted")
        self.leave = button("Do &nothing", self.session.leave_it, "No run is started")
        for each in (self.keep, self.replace, self.leave):
            row.addWidget(each)
        layout.addLayout(row)
        self.setVisible(False)

    def sync(self) -> None:
        """Show the question that the session has, if any."""
        question = self.session.question
        set_note(self.text, "" if question is None else question.text)
        self.setVisible(question is not None)

    def _replace(self) -> None:
        question = self.session.question
        if question is None:
            return
        sure = QMessageBox.question(
            self,
            "Replace the result",
            f"Delete “{question.existing}” and make it anew? It cannot be brought back.",
        )
        if sure == QMessageBox.StandardButton.Yes:
            self.session.replace_result()
