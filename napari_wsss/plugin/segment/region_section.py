"""What is segmented, and the options that are good as they are, folded away."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_wsss.plugin.common import ElidedCombo, button, called, fill_combo, set_quietly
from napari_wsss.plugin.segment.session import SegmentSession

__all__ = ["OptionsSection", "RegionSection"]

REGIONS = (("Whole slide", "whole"), ("Current view", "view"), ("Drawn shapes", "shapes"))
DEVICES = {"auto": "automatic", "cpu": "processor (cpu)", "cuda": "graphics card (cuda)"}


class RegionSection(QWidget):
    """Whole slide, current view, or what was drawn."""

    def __init__(self, session: SegmentSession) -> None:
        super().__init__()
        self.session = session
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        label = QLabel("Re&gion")
        self.choice: ElidedCombo = called(ElidedCombo(), "Region", "Which part of the slide is segmented")
        label.setBuddy(self.choice)
        for text, value in REGIONS:
            self.choice.addItem(text, value)
        self.shapes: ElidedCombo = called(ElidedCombo(), "Layer with the drawn region")
        self.new_shapes = button("&Draw…", self._draw, "Add a layer and draw a rectangle on the slide")
        for each, stretch in ((label, 0), (self.choice, 1), (self.shapes, 1), (self.new_shapes, 0)):
            row.addWidget(each, stretch)
        layout.addLayout(row)
        self.choice.currentIndexChanged.connect(self._chosen)
        self.shapes.currentIndexChanged.connect(self._shapes_chosen)

    def sync(self) -> None:
        """Show what the session says."""
        fill_combo(self.choice, REGIONS, self.session.region)
        drawn = self.session.region == "shapes"
        layers = self.session.shapes_layers()
        self.shapes.setVisible(drawn and len(layers) > 1)  # of one layer there is nothing to choose
        self.new_shapes.setVisible(drawn)
        current = None if self.session.shapes is None else self.session.shapes.name
        fill_combo(self.shapes, [(layer.name, layer.name) for layer in layers], current)

    def _chosen(self, index: int) -> None:
        self.session.choose_region(self.choice.itemData(index))
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
        box = QWidget()
        form = QFormLayout(box)
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self.gate: QCheckBox = called(
            QCheckBox("Only classes seen in the neighbourhood"),
            "Only classes seen in the neighbourhood",
            "The patch classifier (stage 1) switches off classes that it does not see there: the gate",
        )
        self.threshold: QDoubleSpinBox = called(
            QDoubleSpinBox(),
            "Least probability of a class",
            "Probability from which a class counts as seen (gate threshold); 0 takes the model's own",
        )
        self.threshold.setRange(0.0, 1.0)
        self.threshold.setSingleStep(0.05)
        self.threshold.setSpecialValueText("the model's own")
        self.overlap: QDoubleSpinBox = called(
            QDoubleSpinBox(), "Overlap", "Shared fraction of neighbouring tiles: more is smoother and slower"
        )
        self.overlap.setRange(0.0, 0.8)
        self.overlap.setSingleStep(0.05)
        self.background: QCheckBox = called(QCheckBox("Leave glass out"), "Leave glass out", "Faster")
        self.cams: QCheckBox = called(
            QCheckBox("Keep what the model looked at"),
            "Keep what the model looked at",
            "Stores the class activation maps (CAMs) of stage 1",
        )
        self.batch: QSpinBox = called(
            QSpinBox(), "Tiles at once", "Fewer tiles need less memory (batch size)"
        )
        self.batch.setRange(1, 512)
        self.device: ElidedCombo = called(ElidedCombo(), "Device", "What computes")
        self.folder: QLineEdit = called(QLineEdit(), "Folder for results")
        self.folder.setPlaceholderText("beside the slide")
        form.addRow(self.gate)
        form.addRow("S&een from", self.threshold)
        form.addRow("O&verlap", self.overlap)
        form.addRow(self.background)
        form.addRow(self.cams)
        form.addRow("&Tiles at once", self.batch)
        form.addRow("Dev&ice", self.device)
        place = QWidget()
        row = QHBoxLayout(place)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.folder, 1)
        row.addWidget(called(button("…", self._choose_folder), "Choose the folder for results"))
        label = QLabel("Resu&lts")
        label.setBuddy(self.folder)
        form.addRow(label, place)
        self.fold.addWidget(box)
        self.fold.toggleButton().setAccessibleName("Options")
        if (inside := self.fold.layout()) is not None:
            inside.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.fold)
        for box_ in (self.gate, self.background, self.cams):
            box_.toggled.connect(self._edited)
        for spin in (self.threshold, self.overlap, self.batch):
            spin.setKeyboardTracking(False)
            spin.valueChanged.connect(self._edited)
        self.folder.editingFinished.connect(self._edited)
        self.device.currentIndexChanged.connect(self._device_chosen)

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
        devices = dict.fromkeys((*DEVICES, values.device))
        fill_combo(self.device, [(DEVICES.get(name, name), name) for name in devices], values.device)

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

    def _device_chosen(self, index: int) -> None:
        self.session.set_preferences(device=self.device.itemData(index))

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for results")
        if folder:
            self.session.set_preferences(folder=folder)
