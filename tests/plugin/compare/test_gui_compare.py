"""Where two results differ, in pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.gui


def test_agreement_is_green_and_the_rest_magenta(
    make_napari_viewer: Callable[..., Any],
    toy: Any,
    toy_bundle: Any,
    banded_slide: Path,
    tmp_path: Path,
    qtbot: Any,
) -> None:
    """Fault 16: nothing shines through, the result stands first, and the two are called differently."""
    from napari_wsss.plugin.common.preferences import Preferences
    from napari_wsss.plugin.compare.presenter import AGREE, COLORS, DIFFER
    from napari_wsss.plugin.segment.request import RunRequest

    preferences = Preferences(skip_background=False)
    request = RunRequest(banded_slide, toy_bundle, tmp_path / "a.zarr", None, None, None, preferences)
    list(toy.events(request))
    viewer = make_napari_viewer(show=True)
    _, labels = viewer.open(str(request.out), plugin="napari-wsss")
    truth = np.asarray(labels.data[0]).copy()
    truth[:, :200] = 2  # the whole first band, a quarter of all
    placed = {"scale": labels.scale, "translate": labels.translate, "units": labels.units}
    known = {"wsss": {**labels.metadata["wsss"], "kind": "truth"}}
    viewer.add_labels(truth, name="banded truth", metadata=known, **placed)
    _, compare = viewer.window.add_plugin_dock_widget("napari-wsss", "Compare results")
    qtbot.waitUntil(lambda: compare.second.count() == 2)
    assert (compare.first.currentText(), compare.second.currentText()) == (labels.name, "banded truth")
    compare.run.click()
    qtbot.waitUntil(lambda: compare.table.rowCount() > 0)
    qtbot.waitUntil(lambda: "Agreement" in viewer.layers)
    seen = {layer.name for layer in viewer.layers if layer.visible}
    assert "Agreement" in seen
    assert not {labels.name, "banded truth"} & seen
    for layer in viewer.layers:
        layer.visible = layer.name == "Agreement"
    viewer.layers["Agreement"].opacity = 1.0
    viewer.reset_view()
    pixels = np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3].astype(int)
    equal, different = (
        (abs(pixels - np.array([int(COLORS[kind][i : i + 2], 16) for i in (1, 3, 5)])) < 10).all(-1)
        for kind in (AGREE, DIFFER)
    )
    assert equal.sum() / (equal.sum() + different.sum()) == pytest.approx(0.75, abs=0.02)
    ys, xs = np.nonzero(different)
    assert xs.max() < np.nonzero(equal)[1].min() + 3, "the first band differs"
    assert ys.size > 1000
