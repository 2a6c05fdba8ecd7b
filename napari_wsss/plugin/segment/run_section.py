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
    QProgressBar,
    QRadioButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_wsss.plugin.common import button, fill_combo, note, section, set_note, set_quietly, wrapped_label
from napari_wsss.plugin.segment.estimate import LiveEstimate, estimate_text
from napari_wsss.plugin.segment.run_state import buttons, progress_text
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
        self.replace = button("Replace", self._replace, "Delete the result there is, and run again")
        self.cancel = button("Cancel", self._cancel, "Stop; what is done is kept")
        for each in (self.run, self.resume, self.replace, self.cancel):
            row.addWidget(each)
        layout.addLayout(row)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        layout.addWidget(self.bar)
        self.progress = wrapped_label()
        layout.addWidget(self.progress)
        self.error = note("error")
        layout.addWidget(self.error)

    def sync(self) -> None:
        """Show what the session says."""
        session, state = self.session, self.session.state
        self.cost.setText(estimate_text(self.estimate.estimate) or self.estimate.problem)
        self.cost.setVisible(bool(self.cost.text()) and not state.is_active)
        shown = buttons(state, session.can_replace)
        self.run.setVisible(shown.run)
        self.run.setEnabled(session.slide is not None and session.bundle is not None)
        self.resume.setVisible(shown.resume)
        self.replace.setVisible(shown.replace)
        self.cancel.setVisible(shown.cancel)
        self.cancel.setEnabled(not shown.cancelling)
        self.cancel.setText("Cancelling…" if shown.cancelling else "Cancel")
        self.bar.setVisible(state.phase != "idle")
        # A maximum of 0 is Qt's "busy" bar.
        self.bar.setMaximum(0 if state.phase == "starting" else max(1, state.tiles))
        self.bar.setValue(
            max(1, state.tiles) if state.phase in ("done", "cached", "empty") else state.tiles_done
        )
        self.progress.setText(progress_text(state))
        self.progress.setVisible(bool(self.progress.text()))
        set_note(self.error, "\n".join(text for text in (session.problem, state.message) if text))

    def _run(self) -> None:
        self.session.run()

    def _resume(self) -> None:
        self.session.resume()

    def _replace(self) -> None:
        self.session.run(restart=True)

    def _cancel(self) -> None:
        self.session.cancel()
