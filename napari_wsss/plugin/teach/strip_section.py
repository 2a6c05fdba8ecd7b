"""The film strip in the dock: twelve pictures of tiles, whose turn it is, what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_wsss.plugin.common import STRIP_LENGTH, Thumbnail, button, fill_combo

if TYPE_CHECKING:
    from napari_wsss.plugin.teach.presenter import Teacher

__all__ = ["StripSection"]

ORDERS = (
    (
        "What teaches most",
        "telling",
        "Tiles of which the map is unsure and that look unlike those you have labelled",
    ),
    ("At random", "random", "Without any preference"),
    (
        "Test tiles",
        "test",
        "Drawn at random and set aside: they never train, and tell how good a model really is",
    ),
)
COLUMNS = 4


class StripSection(QWidget):
    """Ask me: the strip, and what can be done with it.

    Parameters
    ----------
    teacher : Teacher
    """

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        row = QHBoxLayout()
        row.setSpacing(4)
        self.next = button("&Next", teacher.next, "N: go to the tile whose label teaches most")
        self.agree = button(
            "A&gree",
            self.teacher.asking.agree,
            "G: take the map's answer (rings) for all shown without a label",
        )
        self.undo = button("&Undo", teacher.undo, "Ctrl+Z: take the last decision back, and the one before …")
        self.others = button("&Others", teacher.asking.refill, "O: ask about twelve other tiles")
        for made in (self.next, self.agree, self.undo, self.others):
            row.addWidget(made)
        column.addLayout(row)
        grid = QGridLayout()
        grid.setSpacing(1)
        self.thumbnails = [Thumbnail(i, self._clicked) for i in range(STRIP_LENGTH)]
        for i, thumbnail in enumerate(self.thumbnails):
            grid.addWidget(thumbnail, i // COLUMNS, i % COLUMNS)
        column.addLayout(grid)
        below = QHBoxLayout()
        self.order = QComboBox()
        for text, value, tip in ORDERS:
            self.order.addItem(text, value)
            self.order.setItemData(self.order.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.order.setToolTip("Which tiles to ask about")
        self.order.setAccessibleName("Which tiles to ask about")
        self.order.currentIndexChanged.connect(self._order)
        self.words = QLabel()
        self.words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        below.addWidget(self.order)
        below.addWidget(self.words, 1)
        column.addLayout(below)

    def sync(self) -> None:
        """Show what is new."""
        teacher, asking = self.teacher, self.teacher.asking
        project = teacher.work.project
        writes = teacher.work.can_write
        for made in (self.next, self.agree, self.undo, self.others, self.order):
            made.setEnabled(writes)
        self.agree.setEnabled(writes and bool(asking.suggested) and bool(asking.strip.open_tiles))
        self.others.setEnabled(writes and not asking.is_busy)
        fill_combo(self.order, [(text, value) for text, value, _ in ORDERS], asking.order)
        self.words.setText(self._turn_words())
        colors = {} if project is None else {c.name: c.color for c in project.schema.classes}
        for i, thumbnail in enumerate(self.thumbnails):
            if i >= len(asking.strip.tiles):
                thumbnail.show_tile(None, (), (), turn=False, empty=True, words="")
                continue
            tile = asking.strip.tiles[i]
            held, guess = teacher.work.held(tile), asking.suggested.get(tile, ())
            words = f"{tile.slide_id}: {', '.join(held) or 'no label yet'}"
            if guess:
                words += f" (the map says {', '.join(guess)})"
            thumbnail.show_tile(
                asking.pictures.get(tile),
                tuple(colors[name] for name in held),
                tuple(colors[name] for name in guess),
                turn=asking.is_asking and i == asking.strip.turn,
                empty=False,
                words=words,
            )

    def _clicked(self, index: int, doubly: bool) -> None:
        self.teacher.asking.go(index)
        if doubly:
            self.teacher.show_turn()

    def _turn_words(self) -> str:
        """Return what a key would label now."""
        teacher, asking = self.teacher, self.teacher.asking
        if asking.is_busy and not asking.strip.tiles:
            return "Looking for tiles …"
        if teacher.labelling.selection:
            return f"Keys: {len(teacher.labelling.selection)} tiles"
        if asking.is_asking:
            return f"Keys: picture {asking.strip.turn + 1} of {len(asking.strip.tiles)}"
        return "Keys: tile under mouse" if teacher.labelling.tile is not None else ""

    def _order(self, index: int) -> None:
        self.teacher.asking.sort(self.order.itemData(index))
