"""The dock "Review tiles"."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_wsss.plugin.common import (
    STRIP_LENGTH,
    ElidedCombo,
    Thumbnail,
    WindowKeys,
    button,
    fill_combo,
    guard_wheel,
    note,
    quiet,
    set_note,
    table,
    title,
    wrapped_label,
)
from napari_wsss.plugin.review.presenter import Reviewer
from napari_wsss.plugin.teach import labels_changed_in, open_project_of

if TYPE_CHECKING:
    import napari

__all__ = ["ReviewWidget"]

TICK_MS = 150
COLUMNS = 4
ORDERS = (
    ("Where the model is unsure", "uncertain"),
    ("Where its two steps disagree", "disagreement"),
    ("Where the picture is blurred, folded or inked", "artefacts"),
)


class ReviewWidget(QWidget):
    """Tiles worth a look, most doubtful first: right, wrong, or of which class; one key each.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    reviewer : Reviewer, optional
        Another presenter, for tests.
    """

    def __init__(self, napari_viewer: napari.Viewer, reviewer: Reviewer | None = None) -> None:
        super().__init__()
        self.reviewer = reviewer or Reviewer(
            napari_viewer,
            project=partial(open_project_of, napari_viewer),
            on_labels=partial(labels_changed_in, napari_viewer),
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addWidget(title())
        row = QHBoxLayout()
        self.results = _combo("Result to review")
        self.results.currentIndexChanged.connect(self._result_chosen)
        row.addWidget(self.results, 1)
        row.addWidget(button("Re&fresh", self._refresh, "Read the list again"))
        layout.addLayout(row)
        self.order = _combo("Which tiles come first")
        for text, value in ORDERS:
            self.order.addItem(text, value)
        self.order.currentIndexChanged.connect(self._order_chosen)
        layout.addWidget(self.order)
        grid = QGridLayout()
        grid.setSpacing(1)
        self.thumbnails = [Thumbnail(i, self._thumbnail_clicked) for i in range(STRIP_LENGTH)]
        for i, thumbnail in enumerate(self.thumbnails):
            grid.addWidget(thumbnail, i // COLUMNS, i % COLUMNS)
        layout.addLayout(grid)
        row = QHBoxLayout()
        self.right = button("&Right", self.reviewer.right, "Y: it holds what the result shows (rings)")
        self.wrong = button("&Wrong", self.reviewer.wrong, "X: it does not hold what the result shows")
        self.undo = button("&Undo", self.reviewer.undo, "Ctrl+Z: take the last decision back")
        self.more = button("&More", self.reviewer.more, "M: the twelve that come next")
        for made in (self.right, self.wrong, self.undo, self.more):
            row.addWidget(made)
        layout.addLayout(row)
        self.hint = wrapped_label()
        self.error = note("error")
        self.notice = wrapped_label()
        for label in (self.hint, self.error, self.notice):
            layout.addWidget(label)
        self.table = table(("Doubt", "Why"), 1)
        self.table.setAccessibleName("Doubtful tiles; a click goes there")
        self.table.itemSelectionChanged.connect(self._row_chosen)
        layout.addWidget(self.table, 1)
        self.setMinimumWidth(340)
        guard_wheel(self)

        self.keys = WindowKeys(self, self._keys())
        self._seen = -1
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.tick)
        self._timer.start(TICK_MS)
        self.tick()

    def tick(self) -> None:
        """Look for results that came or went, and for pictures that came."""
        reviewer = self.reviewer
        reviewer.follow_layers()
        reviewer.poll()
        layers = reviewer.result_layers()
        chosen = None if reviewer.layer is None else reviewer.layer.name
        fill_combo(self.results, [(layer.name, layer.name) for layer in layers], chosen)
        if reviewer.revision != self._seen:
            self._seen = reviewer.revision
            self._fill()

    def _fill(self) -> None:
        reviewer = self.reviewer
        set_note(self.error, reviewer.problem)
        self.notice.setText(reviewer.notice)
        self.notice.setVisible(bool(reviewer.notice))
        names = reviewer.class_names
        keys = ", ".join(f"{i + 1} {name}" for i, name in enumerate(names[:9]))
        self.hint.setText(
            f"Keys: Y right, X wrong, or what it is: {keys}" if names else "Open a result to review it."
        )
        for made in (self.right, self.wrong):
            made.setEnabled(reviewer.strip.current is not None)
        self._fill_strip()
        entries = reviewer.entries
        with quiet(self.table):
            self.table.clearSelection()
            self.table.setRowCount(len(entries))
            for number, entry in enumerate(entries):
                self.table.setItem(number, 0, QTableWidgetItem(f"{100 * entry.score:.0f} %"))
                self.table.setItem(number, 1, QTableWidgetItem(entry.reason))

    def _fill_strip(self) -> None:
        reviewer = self.reviewer
        colors = reviewer.class_colors
        for i, thumbnail in enumerate(self.thumbnails):
            if i >= len(reviewer.strip.tiles):
                thumbnail.show_tile(None, (), (), turn=False, empty=True, words="")
                continue
            entry = reviewer.strip.tiles[i]
            said = reviewer.said.get(entry)
            words = f"The result shows {', '.join(entry.classes) or 'nothing'}. {entry.reason}"
            if said is not None:
                words = f"You say {', '.join(said) or 'that is wrong'}. {words}"
            thumbnail.show_tile(
                reviewer.pictures.get(entry),
                tuple(colors[name] for name in said or ()),
                tuple(colors[name] for name in entry.classes) if said is None else (),
                turn=i == reviewer.strip.turn,
                empty=False,
                words=words,
            )

    def _keys(self) -> dict[str, Callable[[], object]]:
        reviewer = self.reviewer
        keys: dict[str, Callable[[], object]] = {
            "Y": reviewer.right,
            "X": reviewer.wrong,
            "M": reviewer.more,
            "N": reviewer.show_turn,
            "Ctrl+Z": reviewer.undo,
        }
        for index in range(9):
            keys[str(index + 1)] = partial(reviewer.is_class, index)
        return keys

    def _result_chosen(self, index: int) -> None:
        layers = self.reviewer.result_layers()
        self.reviewer.choose(layers[index] if 0 <= index < len(layers) else None)
        self.tick()

    def _order_chosen(self, index: int) -> None:
        self.reviewer.sort(self.order.itemData(index))
        self.tick()

    def _refresh(self) -> None:
        self.reviewer.list_tiles()
        self.tick()

    def _thumbnail_clicked(self, index: int, doubly: bool) -> None:
        self.reviewer.go(index)
        if doubly:
            self.reviewer.show_turn()

    def _row_chosen(self) -> None:
        rows = {item.row() for item in self.table.selectedItems()}
        if rows:
            self.reviewer.go_to(min(rows))


def _combo(name: str) -> QComboBox:
    """Return a list that the wheel does not change and that does not widen the panel."""
    made = ElidedCombo()
    made.setToolTip(name)
    made.setAccessibleName(name)
    return made
