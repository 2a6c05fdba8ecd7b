"""The chosen slide: which it is, its scale, and what is odd about it."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QDoubleSpinBox, QFileDialog, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_wsss.plugin.common import (
    ElidedCombo,
    button,
    called,
    fill_combo,
    note,
    scale_box,
    set_note,
    set_quietly,
    set_tip,
)
from napari_wsss.plugin.segment.session import SegmentSession
from napari_wsss.plugin.view import draw_ruler
from tiling.errors import WsssError

__all__ = ["SlideSection"]

_PATTERNS = "*.svs *.ndpi *.mrxs *.scn *.bif *.svslide *.vms *.vmu *.tif *.tiff *.dcm *.png *.jpg *.jpeg"
SLIDE_FILTER = f"Slides ({_PATTERNS});;All files (*)"


class SlideSection(QWidget):
    """Choice of the slide and its µm per pixel.

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
        label = QLabel("&Slide")
        self.slides: ElidedCombo = called(ElidedCombo(), "Slide")
        label.setBuddy(self.slides)
        self.slides.currentIndexChanged.connect(self._slide_chosen)
        self.open = button("&Open…", self._open, "Open a whole-slide image of any format")
        for each, stretch in ((label, 0), (self.slides, 1), (self.open, 0)):
            row.addWidget(each, stretch)
        layout.addLayout(row)

        row = QHBoxLayout()
        label = QLabel("Sc&ale")
        self.mpp: QDoubleSpinBox = called(
            scale_box(), "µm per pixel", "µm per pixel of the scan; areas and distances depend on it"
        )
        label.setBuddy(self.mpp)
        self.mpp.valueChanged.connect(self._mpp_typed)
        self.reset = button("Reset", self._reset, "Take the scale that the file says")
        row.addWidget(label)
        row.addWidget(self.mpp)
        row.addWidget(self.reset)
        row.addStretch(1)
        self.ruler = button("R&uler", self._measure, "Draw lines; their lengths stand beside them")
        row.addWidget(self.ruler)
        layout.addLayout(row)

        self.warning = note("warning")
        layout.addWidget(self.warning)
        self.adopt = button(
            "&Use this picture as slide", self._adopt, "Open it as a slide, so that it can be segmented"
        )
        layout.addWidget(self.adopt)

    def sync(self) -> None:
        """Show what the session says."""
        session = self.session
        layers = session.slide_layers()
        fill_combo(self.slides, [(layer.name, layer.name) for layer in layers], _name(session.slide))
        set_tip(self.slides, self.slides.currentText())
        set_quietly(self.mpp, session.slide_mpp or 0.0)
        self.mpp.setEnabled(session.slide is not None)
        self.ruler.setEnabled(session.slide_mpp is not None)
        self.reset.setVisible(session.mpp is not None and session.file_mpp is not None)
        set_note(self.warning, "\n".join(session.slide_warnings()))
        self.adopt.setVisible(session.foreign_picture() is not None)

    def _slide_chosen(self, index: int) -> None:
        layers = self.session.slide_layers()
        if 0 <= index < len(layers):
            self.session.choose_slide(layers[index])

    def _mpp_typed(self, value: float) -> None:
        self.session.set_mpp(value or None)

    def _reset(self) -> None:
        self.session.set_mpp(None)

    def _measure(self) -> None:
        if self.session.slide is not None:
            draw_ruler(self.session.viewer, self.session.slide)

    def _adopt(self) -> None:
        try:
            self.session.use_picture()
        except WsssError as error:
            self.session.report(error)

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


def _name(layer: Any) -> str | None:
    return None if layer is None else str(layer.name)
