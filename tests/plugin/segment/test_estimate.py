from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.common.job import start_in_thread
from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.plugin.results.state import RunState
from napari_wsss.plugin.segment import estimate as module
from napari_wsss.plugin.segment.estimate import Estimate, Estimator, LiveEstimate, estimate_text
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.segment.trial import Pace
from tiling.engine.events import Planned
from tiling.errors import ResolutionError
from tiling.geometry import Box
from tiling.plan import Polygon, Roi, make_plan
from tiling.slides.open import open_slide


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
    assert estimate.seconds is None


def test_the_time_is_measured_once(request_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def try_out(request: RunRequest, *_: Any) -> Generator[Pace | None]:
        measured.append(request)
        yield None
        yield Pace(2.0, 0.1)

    monkeypatch.setattr(module, "try_out", try_out)
    estimator = Estimator()
    first, between, last = estimator.estimate(request_of(), measure=True)
    assert first == between
    assert first.seconds is None
    assert last.seconds == pytest.approx(2 + first.tiles / 10)
    (again,) = estimator.estimate(request_of(Box(0, 0, 100, 100)), measure=True)
    assert again.seconds is not None
    assert len(measured) == 1


def test_a_run_teaches_its_pace(request_of: Any) -> None:
    estimator = Estimator()
    early = RunState("running", seconds=2.0, tiles_per_second=10.0, tiles_done=1000)
    for state in (early, replace(early, phase="cancelling", seconds=50.0)):
        estimator.learn(request_of(), state)
        (estimate,) = estimator.estimate(request_of())
        assert estimate.seconds is None, "20 fresh tiles, and a run that is being stopped, say little"
    estimator.learn(request_of(), replace(early, seconds=10.0))
    (estimate,) = estimator.estimate(request_of(Box(0, 0, 100, 100)))
    assert estimate.seconds == pytest.approx(estimate.tiles / 10)
    (other,) = estimator.estimate(request_of(device="cuda"))
    assert other.seconds is None


def test_the_start_of_a_run_is_no_part_of_what_a_tile_takes(request_of: Any) -> None:
    estimator, key = Estimator(), module.pace_key(request_of())
    estimator.paces[key] = Pace(start=2.0, tile=9.0)
    estimator.learn(request_of(), RunState("running", seconds=12.0, tiles_per_second=10.0))
    assert estimator.paces[key].seconds(120) == pytest.approx(12.0), "120 tiles took 12 s, start and all"
    assert estimator.paces[key].seconds(1200) == pytest.approx(2.0 + 100.0)
    estimator.learn(request_of(), RunState("running", seconds=1.0, tiles_per_second=100.0))
    assert estimator.paces[key].tile > 0, "a start of old that was longer than the run so far"


def test_it_counts_the_tissue_that_the_run_will_take(request_of: Any) -> None:
    corner = Roi((Polygon(((0.0, 0.0), (200.0, 0.0), (200.0, 200.0), (0.0, 200.0))),))
    request = replace(request_of(skip_background=True), tissue_areas=corner)
    (whole,) = Estimator().estimate(request_of(skip_background=True))
    (estimate,) = Estimator().estimate(request)
    assert estimate.tiles > whole.tiles == 0, "nothing here looks like tissue"
    run_options = request.settings().run_options(1.0)
    with open_slide(request.slide) as slide:
        assert estimate.tiles == make_plan(slide, 64, run_options).tiles


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


def test_it_comes_back_after_a_run(request_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a run goes on there is no choice to estimate; its end is no change of the choice."""
    monkeypatch.setattr(module, "REST_SECONDS", 0.05)
    live = LiveEstimate(Estimator(), start_in_thread, measure=False)
    settle(live, request_of())
    assert live.update(None)
    settle(live, request_of())
    assert live.estimate is not None


def test_a_run_that_begins_stops_the_trial(request_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0.0)
    stopped, go_on = threading.Event(), threading.Event()

    def try_out(*_: Any) -> Generator[Pace | None]:
        try:
            yield None
            go_on.wait(60)
            yield None
            yield Pace(1.0, 1.0)
        finally:
            stopped.set()

    monkeypatch.setattr(module, "try_out", try_out)
    live = LiveEstimate(Estimator(), start_in_thread, measure=True)
    settle(live, request_of())
    live.update(None)
    go_on.set()
    assert stopped.wait(60)
    settle(live, request_of())
    deadline = time.monotonic() + 60
    while (live.estimate is None or live.estimate.seconds is None) and time.monotonic() < deadline:
        live.update(request_of())
        time.sleep(0.01)
    assert live.estimate is not None
    assert live.estimate.seconds is not None, "it is tried out afterwards"


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
    assert estimate_text(Estimate(1200, 50 * 2**20, 120.0)) == "1,200 tiles · 50 MB · about 2:00"
