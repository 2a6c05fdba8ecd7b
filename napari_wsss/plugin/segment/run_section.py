"""Region, options, the commands, and how the run goes."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QMessageBox,
    QProgressBar,
    QRadioButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_wsss.plugin.common import button, fill_combo, note, section, set_note, set_quietly, wrapped_label
from napari_wsss.plugin.results import buttons, progress_text
from napari_wsss.plugin.segment.estimate import LiveEstimate, estimate_text
from napari_wsss.plugin.segment.session import SegmentSession

__all__ = ["OptionsSection", "RegionSection", "RunSection"]


class RegionSection(QWidget):
    """Whole slide, current view, or what was drawn."""

    def __init__(self, session: SegmentSession) -> None:
        super().__init__()
        self.session = session
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        box, form = section("Region")
        self.whole = QRadioButton("Whole slide")
        self.view = QRadioButton("Current view")
        self.drawn = QRadioButton("Drawn shapes")
        self.choices = QButtonGroup(self)
        row = QHBoxLayout()
        for choice in (self.whole, self.view, self.drawn):
            self.choices.addButton(choice)
            row.addWidget(choice)
        form.addRow(row)
        self.shapes = QComboBox()
        self.shapes.setToolTip("Layer in which the region is drawn")
        self.new_shapes = button("Draw…", self._draw, "Add a layer and draw a rectangle on the slide")
        self.shapes_row = QWidget()
        row = QHBoxLayout(self.shapes_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.shapes, 1)
        row.addWidget(self.new_shapes)
        form.addRow(self.shapes_row)
        layout.addWidget(box)
        self.choices.buttonClicked.connect(self._chosen)
        self.shapes.currentIndexChanged.connect(self._shapes_chosen)

    def sync(self) -> None:
        """Show what the session says."""
        chosen = {"whole": self.whole, "view": self.view, "shapes": self.drawn}[self.session.region]
        chosen.setChecked(True)
        self.shapes_row.setVisible(self.session.region == "shapes")
        layers = self.session.shapes_layers()
        current = None if self.session.shapes is None else self.session.shapes.name
        fill_combo(self.shapes, [(layer.name, layer.name) for layer in layers], current)

    def _chosen(self) -> None:
        if self.drawn.isChecked():
            self.session.choose_region("shapes")
        else:
            self.session.choose_region("view" if self.view.isChecked() else "whole")
        self.sync()

    def _shapes_chosen(self, index: int) -> None:
        layers = self.session.shapes_layers()
        self.session.choose_shapes(layers[index] if 0 <= index < len(layers) else None)

    def _draw(self) -> None:
        self.session.add_shapes()


class OptionsSection(QWidget):
    """How the run is done; folded away, because the defaults are good."""

    def __init__(self, session: SegmentSession) -> None:
        super().__init__()
        self.session = session
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.fold = QCollapsible("Options", expandedIcon="▾", collapsedIcon="▸")
        self.fold.setDuration(0)
        box, form = section("")
        self.gate = QCheckBox("Gate: stage 1 switches classes off")
        self.threshold = QDoubleSpinBox()
        self.threshold.setRange(0.0, 1.0)
        self.threshold.setSingleStep(0.05)
        self.threshold.setSpecialValueText("the model's own")
        self.overlap = QDoubleSpinBox()
        self.overlap.setRange(0.0, 0.8)
        self.overlap.setSingleStep(0.05)
        self.overlap.setToolTip("Shared fraction of neighbouring tiles: more is smoother and slower")
        self.background = QCheckBox("Skip background (glass)")
        self.cams = QCheckBox("Keep CAMs (what stage 1 looked at)")
        self.batch = QSpinBox()
        self.batch.setRange(1, 512)
        self.batch.setToolTip("Tiles per prediction: less needs less memory")
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("beside the slide")
        form.addRow(self.gate)
        form.addRow("Gate threshold", self.threshold)
        form.addRow("Overlap", self.overlap)
        form.addRow(self.background)
        form.addRow(self.cams)
        form.addRow("Batch size", self.batch)
        row = QHBoxLayout()
        row.addWidget(self.folder, 1)
        row.addWidget(button("…", self._choose_folder, "Choose the folder for results"))
        form.addRow("Results", row)
        self.fold.addWidget(box)
        layout.addWidget(self.fold)
        for box_ in (self.gate, self.background, self.cams):
            box_.toggled.connect(self._edited)
        for spin in (self.threshold, self.overlap, self.batch):
            spin.setKeyboardTracking(False)
            spin.valueChanged.connect(self._edited)
        self.folder.editingFinished.connect(self._edited)

    def sync(self) -> None:
        """Show what the session says."""
        values = self.session.preferences
        set_quietly(self.gate, values.gate)
        set_quietly(self.threshold, values.gate_threshold)
        self.threshold.setEnabled(values.gate)
        set_quietly(self.overlap, values.overlap)
        set_quietly(self.background, values.skip_background)
        set_quietly(self.cams, values.keep_cams)
        set_quietly(self.batch, values.batch_size)
        set_quietly(self.folder, values.folder)

    def _edited(self) -> None:
        self.session.set_preferences(
            gate=self.gate.isChecked(),
            gate_threshold=round(self.threshold.value(), 4),
            overlap=round(self.overlap.value(), 4),
            skip_background=self.background.isChecked(),
            keep_cams=self.cams.isChecked(),
            batch_size=self.batch.value(),
            folder=self.folder.text(),
        )

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for results")
        if folder:
            self.session.set_preferences(folder=folder)


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
        self.run = button("Run", self._run, "Segment the region with the model")
        self.resume = button("Resume", self._resume, "Go on where the last run stopped")
        self.cancel = button("Cancel", self._cancel, "Stop; what is done is kept")
        for each in (self.run, self.resume, self.cancel):
            row.addWidget(each)
        layout.addLayout(row)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        layout.addWidget(self.bar)
        self.progress = wrapped_label()
        layout.addWidget(self.progress)
        self.question = QuestionBox(session)
        layout.addWidget(self.question)
        self.error = note("error")
        layout.addWidget(self.error)

    def sync(self) -> None:
        """Show what the session says."""
        session, state = self.session, self.session.state
        active = session.active
        shown = buttons(state)
        why_not = session.why_not()
        self.cost.setText(why_not or estimate_text(self.estimate.estimate) or self.estimate.problem)
        self.cost.setVisible(bool(self.cost.text()) and not state.is_active)
        self.run.setVisible(shown.run)
        self.run.setEnabled(not why_not)
        self.run.setToolTip(why_not or "Segment the region with the model")
        self.resume.setVisible(shown.resume)
        self.resume.setEnabled(active is None)
        self.cancel.setVisible(active is not None)
        cancelling = active is not None and active.state.phase == "cancelling"
        self.cancel.setEnabled(not cancelling)
        self.cancel.setText("Cancelling…" if cancelling else "Cancel")
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

    def _run(self) -> None:
        self.session.run()

    def _resume(self) -> None:
        self.session.resume()

    def _cancel(self) -> None:
        self.session.cancel()


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
        self.keep = button("&Keep both", self._keep, "The new result is made beside the one that is there")
        self.replace = button("Re&place…", self._replace, "The result that is there is deleted")
        self.leave = button("Do &nothing", self._leave, "No run is started")
        for each in (self.keep, self.replace, self.leave):
            row.addWidget(each)
        layout.addLayout(row)
        self.setVisible(False)

    def sync(self) -> None:
        """Show the question that the session has, if any."""
        question = self.session.question
        set_note(self.text, "" if question is None else question.text)
        self.setVisible(question is not None)

    def _keep(self) -> None:
        self.session.keep_both()

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

    def _leave(self) -> None:
        self.session.leave_it()
