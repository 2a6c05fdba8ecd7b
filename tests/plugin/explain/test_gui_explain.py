from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napari_wsss.plugin.explain.presenter import Explainer

pytestmark = pytest.mark.gui


def test_the_dock_shows_a_tile(
    make_napari_viewer: Callable[..., Any], toy_explainer: Any, qtbot: Any
) -> None:
    from napari_wsss.plugin.explain.dock import ExplainWidget

    viewer = make_napari_viewer()
    explainer: Explainer = toy_explainer(viewer)
    widget = ExplainWidget(viewer, explainer)
    viewer.window.add_dock_widget(widget)
    assert "Pick a tile" in widget.hint.text()
    of_a_tile = [*widget.heads, widget.chosen]
    assert all(part.isHidden() for part in of_a_tile)  # heads of nothing, and nothing to choose from
    widget.pick.setChecked(True)
    assert explainer.is_picking
    explainer.pick((250, 350))
    qtbot.waitUntil(lambda: len(widget.rows) == 4, timeout=60_000)
    assert sum(row.presence.value() for row in widget.rows) > 0
    assert not any(part.isHidden() for part in of_a_tile)
    assert widget.tile.pixmap().width() > 50
    assert all(cam.pixmap().width() > 50 for cam in widget.cams)
    widget.chosen.setCurrentIndex(2)
    assert widget.captions[0].text() == "tile"
    # Under the mouse, stage 2's probabilities sum to one.
    viewer.cursor.position = (250, 350)
    widget.tick()
    assert "mouse" in widget.stage2_title.text()
    assert sum(row.cursor.value() for row in widget.rows) == pytest.approx(1000, abs=4)
    viewer.cursor.position = (0, 0)
    widget.tick()
    assert "whole tile" in widget.stage2_title.text()
    explainer.session.bundle, explainer.session.bundle_problem = None, "no such model"
    explainer.pick((250, 350))
    qtbot.waitUntil(lambda: "no such model" in widget.error.text(), timeout=120_000)


def test_it_opens_from_the_menu(make_napari_viewer: Callable[..., Any]) -> None:
    viewer = make_napari_viewer()
    _, segment = viewer.window.add_plugin_dock_widget("napari-wsss", "Segment slide")
    _, explain = viewer.window.add_plugin_dock_widget("napari-wsss", "Explain tile")
    assert explain.explainer.session is segment.session
