"""Whatever is done in whatever order: the legend has the numbers of the named store, and nothing is left running."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from napari_wsss.models import Bundle, NetworkSpec
from napari_wsss.plugin.common import Preferences
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.segment.session import SegmentSession
from tiling.engine import Event, Prediction, run
from tiling.folders import is_store
from tiling.slides import open_slide
from tiling.store import Journal, open_store
from tiling.synthetic import SYNTHETIC_SCHEMA

TILE = 32
slides = st.integers(0, 1)


class Bands:
    """Classes by brightness; waits at every batch until it may go on."""

    tile, mpp, schema = TILE, 1.0, SYNTHETIC_SCHEMA

    def __init__(self, bundle: Bundle, gate: threading.Semaphore, stop: threading.Event) -> None:
        self.identity = {"bundle": bundle.name, "hashes": dict(bundle.hashes)}
        self._gate, self._stop = gate, stop

    def __call__(self, pixels: np.ndarray, cam_side: int | None = None) -> Prediction:
        while not self._stop.is_set() and not self._gate.acquire(timeout=0.01):
            pass
        index = (pixels.mean(-1) // 64).astype(int)
        chances = np.ascontiguousarray(np.eye(4, dtype=np.float32)[index].transpose(0, 3, 1, 2))
        presence = chances.mean((2, 3))
        return Prediction(chances, presence, None, presence.max(1), presence)


def toy_bundle(name: str, digit: str) -> Bundle:
    network = NetworkSpec("efficientnet-lite0", {}, "stage1.safetensors", digit * 64)
    return Bundle(Path(name), name, "", "", "", SYNTHETIC_SCHEMA, 1.0, TILE, network)


def write_slide(path: Path, first: int) -> None:
    import tifffile

    pixels = np.zeros((96, 160, 3), np.uint8)
    for band in range(4):
        pixels[:, band * 40 : (band + 1) * 40] = (first + 64 * band) % 256
    tifffile.imwrite(
        path, pixels, tile=(64, 64), photometric="rgb", resolution=(1e4, 1e4), resolutionunit="CENTIMETER"
    )


class PanelMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        from napari.components import ViewerModel

        self.folder = Path(tempfile.mkdtemp(prefix="napari-wsss-machine-"))
        self.paths = [self.folder / "one.tif", self.folder / "two.tif"]
        for number, path in enumerate(self.paths):
            write_slide(path, 32 + 24 * number)
        self.bundles = [toy_bundle("first", "1"), toy_bundle("second", "2")]
        self.gate, self.stop = threading.Semaphore(0), threading.Event()
        self.viewer = ViewerModel()
        self.session = self.new_session()

    def new_session(self) -> SegmentSession:
        session = SegmentSession(self.viewer, events=self.events)
        session.bundle = self.bundles[0]
        session.preferences = Preferences(skip_background=False)
        session.follow_layers()
        return session

    def events(self, request: RunRequest) -> Generator[Event]:
        options = request.settings().run_options(1.0)
        with open_slide(request.slide, mpp=request.mpp) as slide:
            predictor = Bands(request.bundle, self.gate, self.stop)
            yield from run(slide, predictor, request.out, options, resume=request.resume)

    @rule(slide=slides)
    def open(self, slide: int) -> None:
        self.session.open_slide(self.paths[slide])

    @rule(slide=slides)
    def switch(self, slide: int) -> None:
        layers = self.session.slide_layers()
        if layers:
            self.session.choose_slide(layers[slide % len(layers)])

    @rule(model=slides)
    def choose_model(self, model: int) -> None:
        self.session.bundle = self.bundles[model]

    @rule(answer=st.sampled_from(["keep", "replace", "leave"]))
    def run(self, answer: str) -> None:
        self.session.run()
        if self.session.question is not None:
            {
                "keep": self.session.keep_both,
                "replace": self.session.replace_result,
                "leave": self.session.leave_it,
            }[answer]()

    @precondition(lambda self: self.session.active is not None)
    @rule(batches=st.integers(1, 6))
    def go_on(self, batches: int) -> None:
        for _ in range(batches):
            self.gate.release()
        time.sleep(0.02)
        self.session.poll()

    @precondition(lambda self: self.session.active is not None)
    @rule()
    def finish(self) -> None:
        self.to_the_end()

    @precondition(lambda self: self.session.active is not None)
    @rule()
    def cancel(self) -> None:
        self.session.cancel()
        self.to_the_end()

    def to_the_end(self) -> None:
        self.stop.set()
        self.session.wait(60)
        assert self.session.active is None, "it hangs"
        self.stop.clear()

    @precondition(lambda self: self.session.state.can_resume)
    @rule()
    def resume(self) -> None:
        self.session.resume()

    @rule(number=st.integers(0, 3))
    def choose_result(self, number: int) -> None:
        results = self.session.results()
        if results:
            self.session.choose_result(results[number % len(results)].store)

    @rule(number=st.integers(0, 5))
    def remove_a_layer(self, number: int) -> None:
        if len(self.viewer.layers):
            del self.viewer.layers[number % len(self.viewer.layers)]

    @precondition(lambda self: self.session.result is not None and self.session.active is None)
    @rule()
    def delete_the_store(self) -> None:
        shutil.rmtree(self.session.result.store)
        self.session._looked = 0.0
        self.session.poll()

    @rule()
    def reopen(self) -> None:
        self.stop.set()
        self.session.close()
        self.stop.clear()
        self.session = self.new_session()

    @invariant()
    def the_numbers_are_those_of_the_named_store(self) -> None:
        session = self.session
        session.poll()
        session.follow_layers()
        result = session.result
        if result is None:
            assert session.legend() == []
            assert not session.can_export
            return
        assert result.slide == session.slide_key
        assert session.result_name
        names = [session.book.name(known) for known in session.results()]
        assert len(set(names)) == len(names), "every result has a name of its own"
        if result.store == session.writing or not is_store(result.store):
            return
        store = open_store(result.store)
        areas = store.areas
        if not areas:
            counts = Journal(store.path / "journal").committed().counts[1:] or (0,) * 4
            areas = {name: n * 1e-6 for name, n in zip(store.schema.names, counts, strict=True)}
        assert {row.name: row.mm2 for row in session.legend()} == pytest.approx(areas)
        assert session.can_export == store.is_complete

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        self.stop.set()
        self.session.close()
        deadline = time.monotonic() + 20
        while any(t.name == "napari-wsss" for t in threading.enumerate()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not [t for t in threading.enumerate() if t.name == "napari-wsss"]
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_remembered_preferences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.load_preferences", Preferences)
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.save_preferences", lambda preferences: None)


class TestPanel(PanelMachine.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(
        max_examples=10,
        stateful_step_count=14,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
