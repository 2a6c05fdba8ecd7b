from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiling.plan import RunOptions, make_plan
from tiling.slides import open_slide


@pytest.fixture
def tinted_slide(tmp_path: Path) -> Path:
    """A pale pink island (the tissue) on yellowish glass, with a green pen mark."""
    import tifffile

    rng = np.random.default_rng(0)
    pixels = np.full((1200, 1600, 3), (236, 232, 216), np.uint8)
    pixels[300:900, 400:1000] = (200, 140, 180)
    pixels[100:200, 1200:1500] = (160, 110, 170)
    noise = rng.integers(-12, 12, pixels.shape[:2])[..., None]
    pixels = np.clip(pixels.astype(int) + noise, 0, 255).astype(np.uint8)
    path = tmp_path / "slides" / "tinted.tif"
    path.parent.mkdir(exist_ok=True)
    resolution = {"resolution": (1e4, 1e4), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", **resolution)
    return path


def planned(path: Path, request: Any) -> np.ndarray:
    """Return the tissue mask with which the engine would run."""
    options: RunOptions = request.settings().run_options(1.0)
    with open_slide(path) as slide:
        return np.asarray(make_plan(slide, 64, options).mask)


def test_a_run_uses_exactly_what_is_shown(
    make_session: Callable[..., Any], viewer: Any, tinted_slide: Path
) -> None:
    """Fault 5: look before you run; threshold and drawing count."""
    session = make_session()
    session.set_preferences(skip_background=True)
    session.open_slide(tinted_slide)
    assert session.chosen_tissue() == (None, None)
    session.show_tissue()
    session.wait_for_tissue(60)
    session.poll()  # what looks after outlines leaves this layer alone
    layer = viewer.layers["Tissue"]
    shown = np.asarray(layer.data) > 0
    assert 0.1 < shown.mean() < 0.35
    assert f"{100 * shown.mean():.1f} % tissue" in session.tissue.text(session.slide_key)
    np.testing.assert_array_equal(planned(tinted_slide, session.request()), shown)
    # It lies on the slide: the island is where the slide has it.
    y, x = layer.world_to_data(session.slide.data_to_world((600, 700)))
    assert shown[round(y), round(x)]
    # Nothing is tissue at a high threshold.
    session.tissue.set_threshold(session.slide_key, 0.3)
    higher = np.asarray(layer.data) > 0
    assert higher.sum() < shown.sum()
    np.testing.assert_array_equal(planned(tinted_slide, session.request()), higher)
    session.tissue.set_threshold(session.slide_key, None)
    # The second piece is taken away by drawing.
    top = layer.data.shape[0] // 4
    layer.data_setitem(np.nonzero(np.asarray(layer.data)[:top] > 0), 0)
    assert "corrected by hand" in session.tissue.text(session.slide_key)
    threshold, areas = session.chosen_tissue()
    assert threshold is None
    assert areas is not None
    mask = planned(tinted_slide, session.request())
    assert not mask[: top - 4].any()
    drawn = np.asarray(layer.data) > 0
    assert (mask != drawn).sum() < 0.02 * drawn.sum()
    # A removed layer means: find it as usual.
    viewer.layers.remove(layer)
    assert session.chosen_tissue() == (None, None)
