"""The dock "Teach": from an unknown slide to a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_wsss.plugin.common import WindowKeys, guard_wheel, note, set_note, title, wrapped_label
from napari_wsss.plugin.teach.classes_section import ClassesSection
from napari_wsss.plugin.teach.model_section import ModelSection
from napari_wsss.plugin.teach.presenter import Teacher, teacher_for
from napari_wsss.plugin.teach.slides_section import SlidesSection
from napari_wsss.plugin.teach.strip_section import StripSection
from napari_wsss.plugin.teach.words import next_words

if TYPE_CHECKING:
    import napari

__all__ = ["TeachWidget"]

TICK_MS = 50
START = (
    "Open a slide and make a project: name your classes, press Prepare, then say of a few tiles what they hold. "
    "The map of the whole slide follows."
)


class TeachWidget(QWidget):
    """Label tiles, watch the map of the whole slide follow, make a model.

    Its keys work wherever the mouse is, while the dock is seen.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    teacher : Teacher, optional
        Another presenter, for tests.
    """

    def __init__(self, napari_viewer: napari.Viewer, teacher: Teacher | None = None) -> None:
        super().__init__()
        self.teacher = teacher or teacher_for(napari_viewer)
        self.slides = SlidesSection(self.teacher)
        self.classes = ClassesSection(self.teacher)
        self.strip = StripSection(self.teacher)
        self.models = ModelSection(self.teacher)
        self.start = wrapped_label(START)
        self.error = note("error")
        self.notice = wrapped_label()
        # Its place is always there: pictures must not move under the mouse when something is said.
        self.notice.setAlignment(Qt.AlignmentFlag.AlignTop)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(6, 2, 6, 2)
        column.setSpacing(2)
        column.addWidget(title())
        for part in (self.slides, self.start, self.classes, self.error, self.notice, self.strip, self.models):
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
        self.setMinimumWidth(350)
        guard_wheel(self)

        self.keys = WindowKeys(self, self._keys(), self.teacher.listen)
        self._seen: object = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.tick)
        self._timer.start(TICK_MS)
        self.destroyed.connect(self.teacher.close)
        self.tick()

    def tick(self) -> None:
        """Take news from the jobs; redraw the panel when there are some."""
        self.teacher.poll()
        work = self.teacher.work
        seen = (work.revision, self.teacher.mouse.tool)
        if seen == self._seen:
            return
        self._seen = seen
        opened = work.project is not None
        for part in (self.classes, self.strip, self.models):
            part.setVisible(opened)
        self.start.setVisible(not opened)
        self.slides.sync()
        if opened:
            for part in (self.classes, self.strip, self.models):
                part.sync()
        set_note(self.error, work.problem)
        self.notice.setText(work.notice or self.teacher.sketching.note or self._next())
        lines = 2 * self.notice.fontMetrics().lineSpacing()
        self.notice.setMinimumHeight(max(lines, self.notice.heightForWidth(self.notice.width())))
        self.notice.setVisible(opened and not work.problem)

    def _next(self) -> str:
        work = self.teacher.work
        return next_words(
            writable=work.can_write,
            slides=len(work.slide_ids),
            prepared=any(work.prepared_share(slide_id) for slide_id in work.slide_ids),
            preparing=self.teacher.preparing.is_busy,
            labels=len(work.labels()),
        )

    def _keys(self) -> dict[str, Callable[[], object]]:
        """Return what the keys do."""
        teacher = self.teacher
        keys: dict[str, Callable[[], object]] = {
            "N": teacher.next,
            "G": teacher.asking.agree,
            "O": teacher.asking.refill,
            "M": teacher.canvas.toggle_map,
            "Ctrl+Z": teacher.undo,
            "Escape": teacher.escape,
            "C": partial(self.classes.choose, "click"),
            "R": partial(self.classes.choose, "rectangle"),
            "L": partial(self.classes.choose, "lasso"),
            ",": partial(teacher.asking.step, -1),
            ".": partial(teacher.asking.step, 1),
        }
        for index in range(9):
            digit = str(index + 1)
            keys[digit] = partial(teacher.key, index)
            keys[f"Shift+{digit}"] = partial(teacher.key, index, shift=True)
            keys[f"Ctrl+{digit}"] = partial(teacher.key, index, control=True)
        return keys
