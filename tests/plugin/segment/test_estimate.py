from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.common.job import start_in_thread
from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.plugin.segment import estimate as module
from napari_wsss.plugin.segment.estimate import Estimate, Estimator, LiveEstimate, estimate_text
from napari_wsss.plugin.segment.request import RunRequest
from tiling.engine.events import Planned
from tiling.errors import ResolutionError
from tiling.geometry import Box


@pytest.fixture
def request_of(toy_bundle: Bundle, banded_slide: Path, tmp_path: Path) -> Any:
    def make(region: Box | None = None, slide: Path = banded_slide, **preferences: Any) -> RunRequest:
        options = {"skip_background": False, **preferences}
        return RunRequest(slide, toy_bundle, tmp_path / "a.zarr", None, region, None, Preferences(**options))

    return make


@pytest.mark.parametrize("region", [None, Box(100, 100, 300, 200)])
def test_it_is_what_the_run_says(request_of: Any, toy: Any, region: Box | None) -> None:
    request = request_of(region)
    (estimate,) = Estimator().estimate(request)
    planned = next(toy.events(request))
    assert isinstance(planned, Planned)
    assert estimate.tiles == planned.tiles > 0
    assert estimate.tiles_per_second is None


def test_the_time_is_measured_once(request_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def measure(request: RunRequest) -> float:
        measured.append(request)
        return 10.0

    monkeypatch.setattr(module, "measure_rate", measure)
    estimator = Estimator()
    first, second = estimator.estimate(request_of(), measure=True)
    assert (first.seconds, second.seconds) == (None, pytest.approx(first.tiles / 10))
    (again,) = estimator.estimate(request_of(Box(0, 0, 100, 100)), measure=True)
    assert again.seconds is not None
    assert len(measured) == 1


def test_no_mpp_is_a_problem(request_of: Any, toy: Any, tmp_path: Path) -> None:
    request = request_of(slide=toy.write_banded(tmp_path / "plain.tif", mpp=None))
    with pytest.raises(ResolutionError):
        list(Estimator().estimate(request))


def settle(live: LiveEstimate, request: RunRequest | None) -> None:
    deadline = time.monotonic() + 120
    live.update(request)
    while request and live.estimate is None and not live.problem and time.monotonic() < deadline:
        live.update(request)
        time.sleep(0.02)


def test_the_estimate_follows_the_choice(request_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0.05)
    live = LiveEstimate(Estimator(), start_in_thread, measure=False)
    settle(live, request_of())
    whole = live.estimate
    assert whole is not None
    settle(live, request_of(Box(0, 0, 200, 200)))
    assert live.estimate is not None
    assert 0 < live.estimate.tiles < whole.tiles
    assert live.update(None)
    assert live.estimate is None
    settle(live, request_of(Box(9000, 9000, 5, 5)))
    assert "outside the scanned area" in live.problem


def test_a_moving_choice_is_left_alone(request_of: Any) -> None:
    started = []
    live = LiveEstimate(Estimator(), started.append, measure=False)
    for x in range(10):
        live.update(request_of(Box(x, 0, 100, 100)))
        time.sleep(0.01)
    assert started == []


def test_texts() -> None:
    assert estimate_text(None) == ""
    assert estimate_text(Estimate(0, 0)) == "No tissue in this region."
    assert estimate_text(Estimate(1234, 50 * 2**20)) == "1,234 tiles · 50 MB"
    assert estimate_text(Estimate(1200, 50 * 2**20, 10.0)) == "1,200 tiles · 50 MB · about 2:00"
