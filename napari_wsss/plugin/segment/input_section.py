"""Slide, µm per pixel, model and device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFileDialog, QHBoxLayout, QVBoxLayout, QWidget

from napari_wsss.plugin.common import button, fill_combo, note, section, set_note, set_quietly, wrapped_label
from napari_wsss.plugin.segment.card import bundle_card
from napari_wsss.plugin.segment.session import SegmentSession
from tiling.errors import WsssError

__all__ = ["InputSection"]

_PATTERNS = "*.svs *.ndpi *.mrxs *.scn *.bif *.svslide *.vms *.vmu *.tif *.tiff *.dcm *.png *.jpg *.jpeg"
SLIDE_FILTER = f"Slides ({_PATTERNS});;All files (*)"


class InputSection(QWidget):
    """Choices of what is segmented, and with what.

    Parameters
    ----------
    session : SegmentSession
    """

    def __init__(self, session: SegmentSession) -> None:
        super().__init__()
        self.session = session
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)

        box, form = section("Slide")
        self.slides = QComboBox()
        self.slides.currentIndexChanged.connect(self._slide_chosen)
        row = QHBoxLayout()
        row.addWidget(self.slides, 1)
        row.addWidget(button("Open slide…", self._open, "Open a whole-slide image of any format"))
        form.addRow(row)
        self.mpp = QDoubleSpinBox()
        self.mpp.setDecimals(4)
        self.mpp.setRange(0.0, 5.0)
        self.mpp.setSingleStep(0.01)
        self.mpp.setSpecialValueText("unknown")
        self.mpp.setKeyboardTracking(False)
        self.mpp.setToolTip("µm per pixel of the scan's finest level")
        self.mpp.valueChanged.connect(self._mpp_typed)
        form.addRow("µm/px", self.mpp)
        self.warning = note("warning")
        form.addRow(self.warning)
        layout.addWidget(box)

        box, form = section("Model")
        self.bundles = QComboBox()
        self.bundles.currentIndexChanged.connect(self._bundle_chosen)
        row = QHBoxLayout()
        row.addWidget(self.bundles, 1)
        row.addWidget(button("Folder…", self._choose_folder, "Use a model bundle from a folder"))
        form.addRow(row)
        self.card = wrapped_label()
        form.addRow(self.card)
        self.device = QComboBox()
        self.device.currentIndexChanged.connect(self._device_chosen)
        form.addRow("Device", self.device)
        layout.addWidget(box)

    def sync(self) -> None:
        """Show what the session says."""
        session = self.session
        fill_combo(
            self.slides, [(layer.name, layer.name) for layer in session.slide_layers()], _name(session.slide)
        )
        set_quietly(self.mpp, session.slide_mpp or 0.0)
        self.mpp.setEnabled(session.slide is not None)
        set_note(self.warning, "\n".join(session.warnings()))
        chosen = session.preferences.bundle or (session.bundle.name if session.bundle else "")
        fill_combo(self.bundles, [(Path(name).name, name) for name in session.bundles()], chosen)
        card = bundle_card(session.bundle, session.bundle_problem)
        if self.card.text() != card:
            self.card.setText(card)
        devices = dict.fromkeys(("auto", "cpu", "cuda", session.preferences.device))
        fill_combo(self.device, [(name, name) for name in devices], session.preferences.device)

    def _slide_chosen(self, index: int) -> None:
        layers = self.session.slide_layers()
        self.session.choose_slide(layers[index] if 0 <= index < len(layers) else None)

    def _mpp_typed(self, value: float) -> None:
        self.session.set_mpp(value or None)

    def _bundle_chosen(self, index: int) -> None:
        self.session.choose_bundle(self.bundles.itemData(index) or "")

    def _device_chosen(self, index: int) -> None:
        self.session.set_preferences(device=self.device.itemData(index))

    def _open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open slide", "", SLIDE_FILTER)
        if path:
            self.open_path(path)

    def open_path(self, path: str) -> None:
        """Open a slide; an error is shown in the panel."""
        try:
            self.session.open_slide(path)
        except WsssError as error:
            self.session.report(error)

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a model bundle")
        if folder:
            self.session.choose_bundle(folder)


def _name(layer: Any) -> str | None:
    return None if layer is None else str(layer.name)
