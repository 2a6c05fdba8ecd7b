"""Measuring on the slide: the ruler, the table of drawn shapes on the clipboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.gui

Opened = tuple[Any, Any]


def press(qtbot: Any, button: Any) -> None:
    from qtpy.QtCore import Qt

    qtbot.waitUntil(lambda: button.isVisible() and button.isEnabled(), timeout=120_000)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def drag(viewer: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw with the mouse from one world place (y, x) to another."""
    from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    canvas = viewer.__wrapped__.window._qt_viewer.canvas.native
    height, width = viewer.canvas.size
    places = []
    for world in (start, end):
        offset = (np.array(world) - viewer.scene.camera.center[-2:]) * viewer.scene.camera.zoom
        places.append(QPoint(round(width / 2 + offset[1]), round(height / 2 + offset[0])))

    def move(at: QPoint, pressed: Any) -> None:
        none, no_key = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
        place = QPointF(canvas.mapToGlobal(at))
        QApplication.sendEvent(
            canvas, QMouseEvent(QEvent.Type.MouseMove, QPointF(at), place, none, pressed, no_key)
        )
        QApplication.processEvents()

    move(places[0], Qt.MouseButton.NoButton)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=places[0])
    for share in (0.25, 0.5, 0.75, 1.0):
        move(places[0] + (places[1] - places[0]) * share, Qt.MouseButton.LeftButton)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=places[1])


def test_the_ruler_says_micrometres(open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any) -> None:
    viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    press(qtbot, widget.input.ruler)
    ruler = viewer.layers["Ruler"]
    assert viewer.layers.selection.active == ruler
    drag(viewer, (100.0, 100.0), (100.0, 500.0))
    qtbot.waitUntil(lambda: len(ruler.data) == 1 and len(ruler.features) == 1)
    pixel = 1 / viewer.scene.camera.zoom
    length = float(ruler.features["length"][0].removesuffix(" µm"))
    assert length == pytest.approx(400, abs=2 * pixel + 1)
    assert list(ruler.text.values) == list(ruler.features["length"]), "it stands beside the line"
    # Another scale: the line moves along with the slide, and says so.
    qtbot.waitUntil(widget.input.mpp.isEnabled)
    widget.input.mpp.setValue(1.5)
    qtbot.waitUntil(lambda: ruler.features["length"][0].endswith(" mm"))
    assert float(ruler.features["length"][0].removesuffix(" mm")) == pytest.approx(
        1.2, abs=0.02 + 0.006 * pixel
    )
    # It is no region, and there is one for each slide.
    assert widget.session.shapes_layers() == []
    press(qtbot, widget.input.ruler)
    assert [layer.name for layer in viewer.layers].count("Ruler") == 1


def test_the_table_of_drawn_shapes_is_copied(
    open_dock: Callable[..., Opened], banded_slide: Path, qtbot: Any
) -> None:
    from qtpy.QtWidgets import QApplication

    _viewer, widget = open_dock()
    widget.input.open_path(str(banded_slide))
    press(qtbot, widget.run.run)
    qtbot.waitUntil(lambda: widget.session.active is None, timeout=120_000)
    qtbot.waitUntil(widget.results.export.isVisible, timeout=120_000)
    widget.results.copy_shapes.trigger()
    qtbot.waitUntil(lambda: "Nothing is drawn yet" in widget.run.error.text())
    shapes = widget.session.add_shapes()
    # 200 × 100 µm in the first band and 200 × 100 µm over the second and third.
    shapes.add_rectangles(
        [[[0, 0], [0, 400], [200, 400], [200, 0]], [[0, 600], [0, 1000], [200, 1000], [200, 600]]]
    )
    widget.results.copy_shapes.trigger()
    qtbot.waitUntil(lambda: "on the clipboard" in widget.results.notice.whole, timeout=120_000)
    head, *lines = [line.split("\t") for line in QApplication.clipboard().text().splitlines()]
    areas = {
        (line[head.index("name")], line[head.index("class")]): float(line[head.index("area_mm2")])
        for line in lines
    }
    first, second = (f"{shapes.name} {number}" for number in (1, 2))
    assert areas[first, "Tumour"] == pytest.approx(0.02, rel=0.03)
    assert areas[second, "Stroma"] == pytest.approx(0.01, rel=0.05)
    assert widget.session.copied == ""
