"""Fixtures of the plugin's tests, and the rule that GUI tests skip by name where no display can be had."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tiling.engine.predictor import Prediction

if TYPE_CHECKING:
    from napari_wsss.models.bundle import Bundle
    from napari_wsss.plugin.explain.presenter import Explainer
    from napari_wsss.plugin.segment.request import RunRequest
    from napari_wsss.plugin.segment.session import SegmentSession
    from tiling.engine.events import Event

# Before napari or numpy's BLAS is loaded: tests must not touch the user's settings, and threads of a linear algebra
# library starve the event loop of a small machine.
os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp(prefix="napari-wsss-")) / "settings.yaml"))
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

PACKAGES = Path(__file__).resolve().parents[2] / ".ci" / "gui-packages.txt"

PROBE = """
from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
from qtpy.QtWidgets import QApplication
app = QApplication([])
context = QOpenGLContext()
raise SystemExit(0 if context.create() else "no OpenGL")
"""


@pytest.fixture
def qtbot(qtbot: Any) -> Any:
    """Wait a minute instead of five seconds before giving up: a busy machine is late, not wrong."""
    for name in ("waitUntil", "waitSignal", "waitSignals"):
        setattr(qtbot, name, partial(getattr(qtbot, name), timeout=60_000))
    return qtbot


def gui_problem() -> str:
    """Return why GUI tests cannot run here, or nothing. Asked of another process: Qt aborts where it cannot start."""
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        return "QT_QPA_PLATFORM=offscreen draws nothing"
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        reason = "no display"
    else:
        try:
            done = subprocess.run(
                [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=300, check=False
            )
        except subprocess.TimeoutExpired:
            return "Qt did not start within five minutes"
        if done.returncode == 0:
            return ""
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = lines[-1] if lines else f"Qt ended with {done.returncode}"
    packages = [line for line in PACKAGES.read_text().split("\n") if line and not line.startswith("#")]
    return f"{reason}; on Debian or Ubuntu: apt-get install {' '.join(packages)}"


@pytest.hookimpl(trylast=True)  # after -m and -k, so that the probe runs only when a GUI test will
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    gui = [item for item in items if item.get_closest_marker("gui")]
    if gui and (problem := gui_problem()):
        for item in gui:
            item.add_marker(pytest.mark.skip(reason=f"GUI test: {problem}"))


@pytest.fixture
def store_of(tmp_path: Path) -> Callable[..., Path]:
    """Make a finished store out of labels, as the engine would."""
    from tiling.classes import ClassSchema
    from tiling.geometry import Box
    from tiling.grid import TileGrid
    from tiling.store.create import create_store
    from tiling.store.layout import StoreLayout
    from tiling.store.writer import StoreWriter
    from tiling.synthetic import SYNTHETIC_SCHEMA

    def make(
        labels: np.ndarray,
        *,
        name: str = "slide",
        slide_mpp: float = 0.5,
        step: float = 1.0,
        origin: tuple[int, int] = (0, 0),
        overview: np.ndarray | None = None,
        schema: ClassSchema = SYNTHETIC_SCHEMA,
    ) -> Path:
        height, width = labels.shape
        bounds = Box(*origin, round(width * step), round(height * step))
        grid = TileGrid.cover(bounds, slide_mpp, slide_mpp * step, tile=64, overlap=0.25)
        assert (grid.height, grid.width) == labels.shape
        run = {
            "name": name,
            "schema": schema.to_dict(),
            "grid": {**grid.__dict__, "origin": list(origin)},
            "mpp": slide_mpp * step,
            "resolution": {"mpp": slide_mpp, "source": "test"},
        }
        layout = StoreLayout(name, schema, grid, slide_mpp * step, slide_mpp)
        path = tmp_path / f"{name}.zarr"
        if overview is None:
            overview = np.full((max(1, height // 4), max(1, width // 4), 3), 230, np.uint8)
        tallies = create_store(path, layout, run, (overview.shape[0], overview.shape[1]))
        writer = StoreWriter(path, layout, tallies)
        writer.write_overview(overview)
        writer.images["labels"].append(labels)
        return path

    return make


class Pause:
    """Stops a toy run in the middle until the test lets it go on: no race, however slow the machine is.

    Parameters
    ----------
    after : int
        Tiles that are predicted before it stops.
    """

    def __init__(self, after: int) -> None:
        self.after = after
        self._reached = threading.Event()
        self._over = threading.Event()

    def here(self) -> None:
        """Wait, in the thread of the run."""
        self._reached.set()
        self._over.wait(300)

    def wait_for(self, session: SegmentSession) -> None:
        """Return when the run stands still and the session knows all that it has done."""
        assert self._reached.wait(300)
        session.poll()
        assert session.state.phase == "running"
        assert self.after - 4 < session.state.tiles_done <= self.after

    def end(self) -> None:
        """Let the run go on."""
        self._over.set()


class Turnstile:
    """Lets a run tell of one block of labels at a time, so that a test can look at each however slow looking is."""

    def __init__(self) -> None:
        self._passes = threading.Semaphore(0)
        self._open = threading.Event()
        self._passed = 0

    def events(self, source: Generator[Event], delay: float = 0.0) -> Generator[Event]:
        """Pass events on; ``delay`` seconds go by at each batch."""
        from tiling.engine.events import BlockWritten, TilesDone

        with closing(source):
            for event in source:
                counts = isinstance(event, BlockWritten) and event.labels.any()
                if counts:
                    while not self._open.is_set() and not self._passes.acquire(timeout=0.02):
                        pass
                elif isinstance(event, TilesDone):
                    time.sleep(delay)
                yield event
                self._passed += counts

    def show_next(self, session: SegmentSession, qtbot: Any) -> None:
        """Let blocks pass until the picture has grown: what is on disk already is seen before its block is told."""

        def labelled() -> int:
            layer = session.result_layer
            return 0 if layer is None else int((np.asarray(layer.data[0]) > 0).sum())

        def drawn() -> bool:
            active, live = session.active, session.live
            waiting = active is not None and bool(active.job._events or active.steps)
            return self._passed > passed and live is not None and not waiting and not live._dirty

        before = labelled()
        while labelled() == before:
            assert session.state.is_active
            passed = self._passed
            self._passes.release()
            qtbot.waitUntil(drawn, timeout=120_000)

    def open(self) -> None:
        """Let everything pass from now on."""
        self._open.set()


@pytest.fixture
def turnstile() -> Iterator[Turnstile]:
    made = Turnstile()
    yield made
    made.open()


class ToyPredictor:
    """Classes by brightness, without a network: bands of 64 grey values."""

    tile = 64
    mpp = 1.0

    def __init__(self, delay: float = 0.0, pause: Pause | None = None) -> None:
        from tiling.synthetic import SYNTHETIC_SCHEMA

        self.schema = SYNTHETIC_SCHEMA
        self.identity: dict[str, object] = {"bundle": "toy", "hashes": {"stage1": "0" * 64}}
        self.delay = delay
        self.pause = pause
        self.tiles = 0

    def __call__(self, pixels: np.ndarray, cam_side: int | None = None) -> Prediction:
        self.tiles += len(pixels)
        if self.pause is not None and self.tiles > self.pause.after:
            self.pause.here()
        time.sleep(self.delay)
        index = (pixels.mean(-1) // 64).astype(int)
        probabilities = np.eye(4, dtype=np.float32)[index].transpose(0, 3, 1, 2)
        presence = probabilities.mean((2, 3))
        cams = None
        if cam_side is not None:
            step = self.tile // cam_side
            cams = np.ascontiguousarray(probabilities[:, :, ::step, ::step])
        return Prediction(np.ascontiguousarray(probabilities), presence, cams, presence.max(1), presence)


@pytest.fixture
def toy_bundle(tmp_path: Path) -> Bundle:
    """A bundle's card; its networks are never built."""
    from napari_wsss.models.bundle import Bundle, NetworkSpec
    from tiling.synthetic import SYNTHETIC_SCHEMA

    network = NetworkSpec("efficientnet-lite0", {}, "stage1.safetensors", "0" * 64)
    return Bundle(
        path=tmp_path / "toy",
        name="toy",
        description="Brightness, for tests",
        licence="BSD-3-Clause",
        training_data="none",
        schema=SYNTHETIC_SCHEMA,
        mpp=1.0,
        tile=64,
        stage1=network,
        metrics={"mIoU": 0.5},
    )


def toy_events(request: RunRequest, predictor: ToyPredictor | None = None) -> Generator[Event]:
    """The real engine on a toy model."""
    from tiling.engine.drive import run
    from tiling.plan.run_plan import RunOptions
    from tiling.plan.tissue import TissueParameters
    from tiling.slides.open import open_slide

    options = RunOptions(
        mpp=1.0,
        overlap=request.preferences.overlap,
        tissue=TissueParameters() if request.preferences.skip_background else None,
        region=request.region,
        roi=request.roi,
        batch_size=4,
        cams=request.preferences.keep_cams,
    )
    with open_slide(request.slide, mpp=request.mpp) as slide:
        yield from run(slide, predictor or ToyPredictor(), request.out, options, resume=request.resume)


@pytest.fixture
def banded_slide(tmp_path: Path) -> Path:
    """A slide at 0.5 µm, 1600 × 1200 px, whose brightness grows in four bands from left to right."""
    return write_banded(tmp_path / "slides" / "banded.tif")


def write_banded(path: Path, mpp: float | None = 0.5) -> Path:
    import tifffile

    path.parent.mkdir(exist_ok=True)
    pixels = np.zeros((1200, 1600, 3), np.uint8)
    for band in range(4):
        pixels[:, band * 400 : (band + 1) * 400] = 32 + 64 * band
    options: dict[str, Any] = {}
    if mpp:
        options = {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", **options)
    return path


@pytest.fixture
def toy() -> SimpleNamespace:
    """The toy model's parts, for tests that need variations of them."""
    return SimpleNamespace(events=toy_events, Predictor=ToyPredictor, Pause=Pause, write_banded=write_banded)


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A real bundle with random weights, the smallest that there is."""
    import torch

    from napari_wsss.models.bundle_writer import save_bundle
    from napari_wsss.models.registry import build_stage1, build_stage2
    from tiling.synthetic import SYNTHETIC_SCHEMA

    torch.manual_seed(0)
    return save_bundle(
        tmp_path_factory.mktemp("bundles") / "small",
        name="small",
        schema=SYNTHETIC_SCHEMA,
        mpp=1.0,
        tile=64,
        stage1=build_stage1("efficientnet-lite0", 4, width=0.25),
        stage2=build_stage2("deeplabv3plus", 4, backbone="efficientnet-lite0", width=0.25),
    )


@pytest.fixture
def toy_explainer(
    small_bundle: Bundle, banded_slide: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Any], Explainer]:
    """Make the presenter of the Explain dock, with a slide and a real (random) model, for a viewer."""
    from napari_wsss.plugin.common.preferences import Preferences
    from napari_wsss.plugin.explain.presenter import Explainer
    from napari_wsss.plugin.segment.session import SegmentSession

    monkeypatch.setattr("napari_wsss.plugin.segment.choices.load_preferences", Preferences)
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.save_preferences", lambda preferences: None)

    def make(viewer: Any) -> Explainer:
        session = SegmentSession(viewer)
        session.bundle = small_bundle
        session.open_slide(banded_slide)
        return Explainer(session)

    return make


@pytest.fixture
def open_dock(
    make_napari_viewer_proxy: Callable[..., Any],
    toy_bundle: Bundle,
    toy: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[Any, Any]]:
    """Open the dock as napari does, on a toy model."""
    from napari_wsss.plugin.common import Preferences
    from napari_wsss.plugin.segment.dock import SegmentWidget
    from napari_wsss.plugin.segment.session import SegmentSession

    monkeypatch.setattr("napari_wsss.plugin.segment.choices.load_preferences", Preferences)
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.save_preferences", lambda preferences: None)

    def make(delay: float = 0.0, pause: Any = None) -> tuple[Any, Any]:
        viewer = make_napari_viewer_proxy(show=True)
        session = SegmentSession(viewer, events=partial(toy.events, predictor=toy.Predictor(delay, pause)))
        session.bundle, session.bundle_problem = toy_bundle, ""
        session.set_preferences(skip_background=False)
        widget = SegmentWidget(viewer, session, measure=False)
        viewer.window.add_dock_widget(widget, name="Segment slide")
        viewer.window.resize(1500, 900)
        return viewer, widget

    return make
