from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.explain.explanation import TileExplanation, TilePlace, cam_picture, tile_at
from napari_wsss.plugin.explain.presenter import Explainer
from napari_wsss.plugin.view.marker import MARKER
from tiling.grid import TileGrid
from tiling.synthetic import SYNTHETIC_SCHEMA

GRID = TileGrid(width=1000, height=700, tile=64, stride=48, scale=2.0, origin=(100, 50))


def test_without_a_grid_the_tile_is_centred_on_the_click() -> None:
    assert tile_at(500, 300, 64, 2.0) == TilePlace(436, 236, 2.0, 64)


@given(st.floats(-100, 2500), st.floats(-100, 1800))
def test_with_a_grid_it_is_the_nearest_tile_of_the_run(x: float, y: float) -> None:
    place = tile_at(x, y, 64, 2.0, GRID)
    centre = place.x + 64, place.y + 64
    for row in range(GRID.rows):
        for column in range(GRID.columns):
            left, top = GRID.level0(column * 48, row * 48)
            assert (centre[0] - x) ** 2 + (centre[1] - y) ** 2 <= (left + 64 - x) ** 2 + (
                top + 64 - y
            ) ** 2 + 1e-6


def explanation() -> TileExplanation:
    probabilities = np.zeros((4, 8, 8), np.float32)
    probabilities[0, :, :4] = 1
    probabilities[2, :, 4:] = 1
    cam = np.zeros((4, 2, 2), np.float32)
    cam[0, 0, 0] = 4
    cam[1] = -3
    cam[2, 1, 1] = 2
    return TileExplanation(
        place=TilePlace(100, 200, 2.0, 8),
        schema=SYNTHETIC_SCHEMA,
        pixels=np.full((8, 8, 3), 100, np.uint8),
        presence=np.array([0.9, 0.05, 0.6, 0.2], np.float32),
        thresholds=np.full(4, 0.1, np.float32),
        passed=np.array([True, False, True, True]),
        cams={"shallow": cam},
        probabilities=probabilities,
    )


def test_evidence_of_each_class() -> None:
    found = explanation().evidence
    assert [round(e.share, 3) for e in found] == [0.5, 0, 0.5, 0]
    assert [e.gate_text for e in found] == ["yes", "no", "yes", "yes"]
    assert explanation().top_class == 0


def test_probabilities_at_a_place() -> None:
    made = explanation()
    assert made.probabilities_at(100, 200).tolist() == [1, 0, 0, 0]
    assert made.probabilities_at(108.5, 215.9).tolist() == [0, 0, 1, 0]
    assert made.probabilities_at(99.9, 200) is None
    assert made.probabilities_at(116, 200) is None


def test_cams_can_be_compared_between_classes() -> None:
    made = explanation()
    assert made.cam("shallow", 0).max() == 1
    assert made.cam("shallow", 2).max() == 0.5
    assert made.cam("shallow", 1).max() == 0


def test_the_picture_has_the_class_colour_where_the_cam_is_strong() -> None:
    cam = np.zeros((4, 4), np.float32)
    cam[:, 2:] = 1
    picture = cam_picture(np.full((40, 40, 3), (200, 100, 0), np.uint8), cam, (255, 0, 0))
    assert picture[20, 2].tolist() == [100, 100, 100]
    assert picture[20, 38].tolist() == [224, 20, 20]


@pytest.fixture
def explainer(toy_explainer: Callable[[Any], Explainer]) -> Explainer:
    from napari.components import ViewerModel

    return toy_explainer(ViewerModel())


def test_the_numbers_are_those_of_the_run(explainer: Explainer, small_bundle: Bundle, tmp_path: Path) -> None:
    from napari_wsss.pipeline import Settings, make_predictor
    from tiling.slides.open import open_slide

    explainer.explain_at(700, 500)
    made = explainer.wait()
    assert made is not None
    with open_slide(explainer.session.slide.metadata["wsss"]["path"]) as slide:
        pixels = slide.read(made.place.x, made.place.y, 64, 64, mpp=1.0)
    np.testing.assert_array_equal(made.pixels, pixels)
    exact = Settings(backend="torch", precision="fp32")
    predicted = make_predictor(small_bundle, exact)(pixels[None])
    np.testing.assert_allclose(made.presence, predicted.presence[0], atol=1e-4)
    np.testing.assert_allclose(made.probabilities, predicted.probabilities[0], atol=1e-3)
    assert len(made.cams) == 3
    marker = explainer.session.viewer.layers[MARKER]
    np.testing.assert_allclose(marker.data[0].mean(0), (499.5, 699.5))
    explainer.explain_at(100, 100)
    explainer.wait()
    assert [layer.name for layer in explainer.session.viewer.layers].count(MARKER) == 1


def test_without_a_slide_or_a_bundle(explainer: Explainer) -> None:
    explainer.session.bundle, explainer.session.bundle_problem = None, "There is no model."
    assert not explainer.explain_at(10, 10)
    assert "There is no model" in explainer.problem
    explainer.session.choose_slide(None)
    explainer.pick((5, 5))
    assert "No slide" in explainer.problem


def event(kind: str, pos: tuple[int, int], position: tuple[float, float] = (250.0, 350.0)) -> Any:
    return SimpleNamespace(type=kind, pos=pos, position=position)


def play(callback: Callable[..., Any], viewer: Any, moves: list[tuple[int, int]]) -> None:
    """Send a press, moves and a release, as napari does: one event object that changes."""
    current = event("mouse_press", (10, 10))
    running = callback(viewer, current)
    next(running)
    for pos in moves:
        current.type, current.pos = "mouse_move", pos
        next(running, None)
    current.type = "mouse_release"
    next(running, None)


def test_a_click_picks_and_a_drag_does_not(explainer: Explainer) -> None:
    viewer = explainer.session.viewer
    explainer.pick_by_mouse(True)
    (callback,) = [c for c in viewer.mouse_drag_callbacks if c == explainer._on_mouse]
    play(callback, viewer, [(40, 40), (80, 80)])
    assert not explainer.is_busy
    play(callback, viewer, [(11, 10)])
    assert explainer.is_busy
    made = explainer.wait()
    assert made is not None
    # (250, 350) µm is level-0 (500, 700): the tile is centred there, half a pixel for centre to corner.
    assert (made.place.x + 64, made.place.y + 64) == (700.5, 500.5)
    explainer.close()
    assert explainer._on_mouse not in viewer.mouse_drag_callbacks
