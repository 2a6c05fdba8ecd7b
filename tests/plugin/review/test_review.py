from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.plugin.review.doubt import disagreement, review_entries
from napari_wsss.plugin.review.presenter import Reviewer
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.view.layers import store_layers
from napari_wsss.plugin.view.marker import MARKER
from tiling.store.layout import FLAG_PREDICTED
from tiling.store.reader import Store, open_store


@pytest.fixture
def store(toy: Any, toy_bundle: Bundle, banded_slide: Path, tmp_path: Path) -> Store:
    request = RunRequest(
        banded_slide, toy_bundle, tmp_path / "a.zarr", None, None, None, Preferences(skip_background=False)
    )
    list(toy.events(request))
    return open_store(request.out)


def with_tiles(store: Store, **columns: np.ndarray) -> Store:
    """Pretend another tile table."""
    table = {**store.tiles(), **columns}
    store.tiles = lambda: table  # type: ignore[method-assign]
    return store


def test_disagreement_compares_presence_with_area() -> None:
    presence = np.array([[0.9, 0.9, 0.1, 0.1]], np.float32)
    shares = np.array([[0.5, 0.0, 0.0, 0.05]], np.float32)
    np.testing.assert_allclose(disagreement(presence, shares), [[0.1, 0.9, 0.1, 0.4]], atol=1e-6)


def test_the_most_doubtful_come_first(store: Store) -> None:
    count = store.grid.rows * store.grid.columns
    confidence = np.ones(count, np.float32)
    confidence[[5, 20]] = 0.4, 0.6
    entries = review_entries(with_tiles(store, confidence=confidence), "uncertain", limit=3)
    assert [(e.row, e.column) for e in entries[:2]] == [
        divmod(5, store.grid.columns),
        divmod(20, store.grid.columns),
    ]
    assert entries[0].score == pytest.approx(0.6)
    assert len(entries) == 3


def test_the_reason_names_the_class(store: Store) -> None:
    table = store.tiles()
    presence = np.clip(table["shares"] / 0.1, 0, 1)
    presence[7] = table["shares"][7] * 0
    presence[7, 3] = 0.97
    entries = review_entries(with_tiles(store, presence=presence), "disagreement", limit=1)
    assert (entries[0].row, entries[0].column) == divmod(7, store.grid.columns)
    assert "%" in entries[0].reason


def test_tiles_that_were_not_run_are_left_out(store: Store) -> None:
    flags = np.zeros(store.grid.rows * store.grid.columns, np.uint8)
    assert review_entries(with_tiles(store, flags=flags), "uncertain") == []
    assert review_entries(with_tiles(store, flags=flags), "disagreement") == []
    flags[3] = FLAG_PREDICTED
    assert len(review_entries(with_tiles(store, flags=flags), "disagreement")) == 1


def test_going_to_a_tile(store: Store) -> None:
    from napari.components import ViewerModel

    viewer = ViewerModel()
    for data, arguments, kind in store_layers(store):
        (viewer.add_image if kind == "image" else viewer.add_labels)(data, **arguments)
    reviewer = Reviewer(viewer)
    reviewer.follow_layers()
    assert reviewer.entries
    assert reviewer.go_to(len(reviewer.entries)) is None
    entry = reviewer.go_to(2)
    assert entry is not None
    box = store.grid.tile_box(entry.row, entry.column)
    middle = viewer.layers[1].data_to_world((box.y + 31.5, box.x + 31.5))
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], middle)
    np.testing.assert_allclose(viewer.layers[MARKER].data[0].mean(0), (box.y + 31.5, box.x + 31.5))
    reviewer.go_to(0)
    assert [layer.name for layer in viewer.layers].count(MARKER) == 1
    del viewer.layers[1]
    reviewer.follow_layers()
    assert reviewer.entries == []
    assert reviewer.go_to(0) is None
