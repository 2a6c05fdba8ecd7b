"""The dock "Correct a region"."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import (
    ElidedCombo,
    WindowKeys,
    button,
    fill_combo,
    guard_wheel,
    note,
    set_note,
    set_quietly,
    swatch,
    title,
    wrapped_label,
)
from napari_wsss.plugin.correct.presenter import Corrector
from napari_wsss.plugin.teach import open_project_of

if TYPE_CHECKING:
    import napari

__all__ = ["CorrectWidget"]

TICK_MS = 100
BRUSH_UM = (2, 400)
NOTHING = "nothing here (wipe out)"


class CorrectWidget(QWidget):
    """Paint over a region of a result; the original stays, and a corrected result appears beside it.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    corrector : Corrector, optional
        Another presenter, for tests.
    """

    def __init__(self, napari_viewer: napari.Viewer, corrector: Corrector | None = None) -> None:
        super().__init__()
        self.corrector = corrector or Corrector(
            napari_viewer, project=partial(open_project_of, napari_viewer)
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 4)
        column.addWidget(title())
        self.results = ElidedCombo()
        self.results.setAccessibleName("Result to correct")
        self.results.setToolTip("Result to correct")
        self.results.currentIndexChanged.connect(self._chosen)
        column.addWidget(self.results)
        self.begin = button("&Correct what I see", self.corrector.begin, "Make what the view shows paintable")
        column.addWidget(self.begin)
        self.bring_in = button(
            "Bring in &earlier corrections",
            self.corrector.bring_in,
            "Put the regions that the project keeps of this slide onto this result of a newer model",
        )
        column.addWidget(self.bring_in)

        self.tools = QWidget()
        tools = QVBoxLayout(self.tools)
        tools.setContentsMargins(0, 0, 0, 0)
        self.classes = QListWidget()
        self.classes.setAccessibleName("Class to paint with")
        self.classes.setToolTip("Class to paint with; its key chooses it too")
        self.classes.currentRowChanged.connect(self._class_chosen)
        tools.addWidget(self.classes)
        row = QHBoxLayout()
        self.brush_text = QLabel()
        self.brush = QSlider(Qt.Orientation.Horizontal)
        self.brush.setRange(*BRUSH_UM)
        self.brush.setAccessibleName("Diameter of the brush in µm")
        self.brush.valueChanged.connect(self.corrector.set_brush)
        row.addWidget(self.brush_text)
        row.addWidget(self.brush, 1)
        tools.addLayout(row)
        self.tissue = QCheckBox("Only over &tissue")
        self.tissue.setToolTip("What the result calls no tissue stays so")
        self.tissue.toggled.connect(self.corrector.keep_to_tissue)
        tools.addWidget(self.tissue)
        row = QHBoxLayout()
        self.save = button(
            "&Save", self.corrector.save, "Write the region and count anew; the original result stays"
        )
        self.undo = button("&Undo", self.corrector.undo_stroke, "Ctrl+Z: take the last stroke back")
        self.discard = button("&Discard", self.corrector.discard, "Leave without saving")
        for made in (self.save, self.undo, self.discard):
            row.addWidget(made)
        tools.addLayout(row)
        column.addWidget(self.tools)

        self.saved = wrapped_label()
        self.undo_all = button(
            "Take &all corrections back", self.corrector.undo_all, "Remove the corrected result"
        )
        column.addWidget(self.saved)
        column.addWidget(self.undo_all)
        self.error = note("error")
        self.notice = wrapped_label()
        column.addWidget(self.error)
        column.addWidget(self.notice)
        column.addStretch(1)
        self.setMinimumWidth(300)
        guard_wheel(self)

        digits = {str(number): partial(self.corrector.take_class, number) for number in range(10)}
        self.keys = WindowKeys(self, {**digits, "Ctrl+S": self.corrector.save})
        self._seen: object = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.tick)
        self._timer.start(TICK_MS)
        self.tick()

    def tick(self) -> None:
        """Take news from the job and the viewer; redraw the panel when there are some."""
        corrector = self.corrector
        corrector.follow_layers()
        corrector.poll()
        names = tuple(layer.name for layer in corrector.results())
        seen = (corrector.revision, names, corrector.label, corrector.has_project)
        if seen == self._seen:
            return
        self._seen = seen
        chosen = None if corrector.result is None else corrector.result.name
        fill_combo(self.results, [(name, name) for name in names], chosen)
        painting = corrector.painting
        self.results.setEnabled(painting is None)
        self.begin.setVisible(painting is None)
        self.begin.setEnabled(corrector.result is not None and not corrector.is_busy)
        self.bring_in.setVisible(painting is None and corrector.has_project)
        self.bring_in.setEnabled(self.begin.isEnabled())
        self.tools.setVisible(painting is not None)
        self.save.setEnabled(not corrector.is_busy)
        if painting is not None:
            self._fill_classes()
        set_quietly(self.tissue, corrector.only_tissue)
        set_quietly(self.brush, round(corrector.brush_um))
        self.brush_text.setText(f"Brush {corrector.brush_um:.0f} µm")
        regions = corrector.saved_regions()
        self.saved.setText(f"Regions of this result that are corrected: {regions}.")
        self.saved.setVisible(bool(regions))
        self.undo_all.setVisible(bool(regions) and painting is None)
        if corrector.result is None:
            corrector.notice = corrector.notice or "Open a result, then zoom to what is wrong."
        set_note(self.error, corrector.problem)
        self.notice.setText(corrector.notice)

    def _fill_classes(self) -> None:
        painting = self.corrector.painting
        assert painting is not None
        schema = painting.store.schema
        with QSignalBlocker(self.classes):
            if self.classes.count() != len(schema) + 1:
                self.classes.clear()
                self.classes.addItem(QListWidgetItem(f"0  {NOTHING}"))
                for number, tissue in enumerate(schema.classes, start=1):
                    self.classes.addItem(QListWidgetItem(swatch(tissue.color), f"{number}  {tissue.name}"))
                self.classes.setFixedHeight(min(200, 24 * self.classes.count() + 6))
            self.classes.setCurrentRow(self.corrector.label)

    def _chosen(self, index: int) -> None:
        results = self.corrector.results()
        self.corrector.choose(results[index] if 0 <= index < len(results) else None)

    def _class_chosen(self, row: int) -> None:
        self.corrector.take_class(row)
