"""A store must also open in the general OME-Zarr reader, coloured and in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_wsss.plugin.view.layers import store_layers
from tiling.store.reader import open_store
from tiling.synthetic import SYNTHETIC_SCHEMA

pytestmark = pytest.mark.gui


def test_napari_ome_zarr_shows_the_classes_in_their_colours(
    make_napari_viewer: Callable[..., Any], store_of: Callable[..., Path], qtbot: Any
) -> None:
    pytest.importorskip("napari_ome_zarr")
    labels = np.repeat(np.repeat(np.arange(5, dtype=np.uint8)[None], 900, 0), 180, 1)
    path = store_of(labels, slide_mpp=0.25, step=2.0, origin=(400, 200))
    viewer = make_napari_viewer(show=True)
    layers = viewer.open(str(path), plugin="napari-ome-zarr")
    shown = next(layer for layer in layers if type(layer).__name__ == "Labels")
    # The size is the one that our own reader gives; that reader takes no notice of translations.
    _, (_, ours, _) = store_layers(open_store(path))
    np.testing.assert_allclose(np.asarray(shown.scale)[-2:], ours["scale"])
    for layer in layers:
        layer.visible = layer == shown
    shown.opacity = 1.0
    viewer.reset_view()
    qtbot.wait(200)
    picture = np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3].astype(int)
    for tissue in SYNTHETIC_SCHEMA.classes:
        share = (abs(picture - np.array(tissue.rgb)) < 8).all(-1).mean()
        assert share > 0.03, tissue.name
