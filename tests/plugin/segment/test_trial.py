from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.segment.trial import Pace, busiest_place, try_out
from tiling.geometry import Box
from tiling.grid import TileGrid
from tiling.plan import make_plan
from tiling.plan.run_plan import RunPlan
from tiling.slides.open import open_slide


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.sampled_from([0.0, 0.25, 0.8]),
    st.floats(0.3, 3),
    st.data(),
)
def test_the_busiest_place_lies_on_the_slide(
    width: int, height: int, overlap: float, mpp: float, data: st.DataObject
) -> None:
    bounds = Box(7, 11, width, height)
    grid = TileGrid.cover(bounds, 0.5, mpp, 64, overlap)
    active = np.zeros((grid.rows, grid.columns), bool)
    row, column = data.draw(st.integers(0, grid.rows - 1)), data.draw(st.integers(0, grid.columns - 1))
    active[row, column] = True
    plan = RunPlan(grid, active, active, {}, bounds, None, np.zeros((1, 1, 3), np.uint8), 4, None)
    place = busiest_place(plan)
    assert not place.is_empty
    assert place.intersection(bounds).width > place.width - 2 * mpp / 0.5 - 1
    assert place.intersection(bounds).height > place.height - 2 * mpp / 0.5 - 1
    # The tile that has something to do is in it.
    x, y = 7 + column * grid.stride * grid.scale, 11 + row * grid.stride * grid.scale
    assert place.x <= x + 1
    assert x < place.right + 1
    assert place.y <= y + 1
    assert y < place.bottom + 1


def test_a_trial_is_a_run_that_leaves_nothing_behind(
    small_bundle: Bundle, banded_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "trials"))
    (tmp_path / "trials").mkdir()
    request = RunRequest(
        banded_slide,
        small_bundle,
        tmp_path / "a.zarr",
        None,
        Box(0, 0, 300, 300),
        None,
        Preferences(batch_size=4, skip_background=False),
    )
    options = request.settings().run_options(small_bundle.mpp)
    with open_slide(banded_slide) as slide:
        plan = make_plan(slide, small_bundle.tile, options)
        *between, pace = try_out(request, slide, plan, options)
    assert set(between) == {None}
    assert len(between) > 4, "it can be stopped between batches"
    assert isinstance(pace, Pace)
    assert 0 < pace.tile < 60
    assert pace.seconds(10) == pytest.approx(pace.start + 10 * pace.tile)
    assert not list((tmp_path / "trials").iterdir())
    assert not request.out.exists()


def test_a_stopped_trial_leaves_nothing_behind(
    small_bundle: Bundle, banded_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "trials"))
    (tmp_path / "trials").mkdir()
    preferences = Preferences(batch_size=4, skip_background=False)
    request = RunRequest(banded_slide, small_bundle, tmp_path / "a.zarr", None, None, None, preferences)
    options = request.settings().run_options(small_bundle.mpp)
    with open_slide(banded_slide) as slide:
        trial = try_out(request, slide, make_plan(slide, small_bundle.tile, options), options)
        next(trial), next(trial)
        assert list((tmp_path / "trials").iterdir())
        trial.close()
    assert not list((tmp_path / "trials").iterdir())
