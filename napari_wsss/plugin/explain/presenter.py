"""The presenter of the Explain dock: a click on the slide becomes the numbers of both stages for one tile."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.models import Bundle
from napari_wsss.plugin.common import (
    Job,
    Preferences,
    Starter,
    explain,
    limit_compute_threads,
    start_in_thread,
)
from napari_wsss.plugin.explain.explanation import TileExplanation, TilePlace, tile_at
from napari_wsss.plugin.segment import SegmentSession
from napari_wsss.plugin.view import METADATA_KEY, mark_box, takes_clicks, world_to_data
from tiling.errors import BundleError, SlideError
from tiling.slides import open_slide

__all__ = ["Explainer", "Networks", "explain_tile"]


@dataclass(frozen=True)
class Networks:
    """The loaded networks of a bundle."""

    bundle: Bundle
    stage1: Any
    stage2: Any
    gatekeeper: Any

    @classmethod
    def load(cls, bundle: Bundle) -> Networks:
        """Build the networks: stage 1 for its class activations, stage 2, and stage 1 as it opens the gate.

        Raises
        ------
        BundleError
        """
        stage1 = bundle.build_stage1()
        gatekeeper = stage1 if bundle.presence_stride is None else bundle.build_gatekeeper()
        return cls(bundle, stage1, bundle.build_stage2(), gatekeeper)


def explain_tile(
    networks: Networks, pixels: NDArray[np.uint8], place: TilePlace, preferences: Preferences
) -> TileExplanation:
    """Run both stages on one tile and keep everything that is seen on the way.

    Parameters
    ----------
    networks : Networks
    pixels : (T, T, 3) uint8
    place : TilePlace
    preferences : Preferences
        Gate on or off, and its threshold.
    """
    import torch

    from napari_wsss.models import apply_gate, multilayer_gradcam, open_classes, resize_maps

    bundle, count = networks.bundle, len(networks.bundle.schema)
    limits = bundle.gate.thresholds if preferences.threshold is None else (preferences.threshold,)
    thresholds = torch.tensor(limits if len(limits) == count else limits * count)
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255
    cams = multilayer_gradcam(networks.stage1, x)
    with torch.inference_mode():
        # Whichever network opens the gate in a run.
        said = (
            networks.stage2.segment_and_see(x)[1] if bundle.presence == "stage2" else networks.gatekeeper(x)
        )
        presence = said.sigmoid()
        deepest = list(cams.values())[-1]
        scores = (
            networks.stage2(x)
            if networks.stage2 is not None
            else resize_maps(deepest, (x.shape[2], x.shape[3]))
        )
        mode: Any = bundle.gate.mode
        passed = open_classes(presence, thresholds, fallback=mode == "mask")
        if preferences.gate:
            scores = apply_gate(scores, presence, thresholds, mode)
        else:
            passed = torch.ones_like(passed)
    return TileExplanation(
        place=place,
        schema=bundle.schema,
        pixels=pixels,
        presence=presence[0].numpy(),
        thresholds=thresholds.numpy(),
        passed=passed[0].numpy(),
        cams={name: maps[0].detach().numpy() for name, maps in cams.items()},
        probabilities=scores.softmax(1)[0].numpy(),
    )


class Explainer:
    """Explains one tile at a time, in another thread.

    Parameters
    ----------
    session : SegmentSession
        Whose slide, model and gate are explained.
    start : callable, optional
        Starts a job in another thread.

    Attributes
    ----------
    explanation : TileExplanation or None
    problem : str
        Why there is none, in full.
    revision : int
        Grows with every change.
    """

    def __init__(self, session: SegmentSession, start: Starter = start_in_thread) -> None:
        self.session = session
        self.explanation: TileExplanation | None = None
        self.problem = ""
        self.revision = 0
        self._start = start
        self._job: Job[TileExplanation] | None = None
        self._networks: Networks | None = None
        self._picking = False

    @property
    def is_busy(self) -> bool:
        """Whether a tile is being explained."""
        return self._job is not None

    # --- picking ---------------------------------------------------------------------------------------------

    @property
    def is_picking(self) -> bool:
        """Whether clicks on the canvas pick tiles."""
        return self._picking

    def pick_by_mouse(self, wanted: bool) -> None:
        """Let clicks on the canvas pick tiles, or stop it."""
        callbacks = self.session.viewer.mouse_drag_callbacks
        if wanted and not self._picking:
            callbacks.append(self._on_mouse)
        elif not wanted and self._on_mouse in callbacks:
            callbacks.remove(self._on_mouse)
        self._picking = wanted
        self.revision += 1

    @takes_clicks
    def _on_mouse(self, viewer: Any, event: Any) -> Generator[None]:
        """Tell a click from the drag that moves the view (napari's protocol for mouse callbacks)."""
        pressed = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            if np.abs(np.array(event.pos) - pressed).max() > 4:
                return
            yield
        self.pick(event.position)

    def close(self, _sender: object = None) -> None:
        """Take the mouse callback away (also a slot for Qt's ``destroyed``)."""
        self.pick_by_mouse(False)

    def pick(self, position: Any) -> None:
        """Explain the tile at a world position."""
        slide = self.session.slide
        if slide is None:
            self._fail(SlideError("No slide is chosen; open one in the Segment dock."))
            return
        y, x = world_to_data(self.session.viewer, slide)(tuple(position)[-2:])
        self.explain_at(float(x) + 0.5, float(y) + 0.5)

    # --- explaining ------------------------------------------------------------------------------------------

    def explain_at(self, x: float, y: float) -> bool:
        """Explain the tile at a level-0 position; tell whether that was started."""
        session = self.session
        if self._job is not None:
            return False
        if session.slide is None:
            self._fail(SlideError("No slide is chosen; open one in the Segment dock."))
            return False
        if session.bundle is None:
            self._fail(BundleError(session.bundle_problem or "No model is chosen."))
            return False
        path = Path(session.slide.metadata[METADATA_KEY]["path"])
        grid = session.live.store.grid if session.live is not None and session.is_result_of(path) else None
        self.problem = ""
        self._job = Job(
            partial(self._work, path, session.bundle, session.mpp, session.preferences, x, y, grid)
        )
        self._start(self._job)
        self.revision += 1
        return True

    def _work(
        self,
        path: Path,
        bundle: Bundle,
        mpp: float | None,
        preferences: Preferences,
        x: float,
        y: float,
        grid: Any,
    ) -> Generator[TileExplanation]:
        limit_compute_threads()
        networks = self._networks
        if networks is None or networks.bundle != bundle:
            networks = self._networks = Networks.load(bundle)
        with open_slide(path, mpp=mpp) as slide:
            scale = bundle.mpp / slide.require_mpp()
            fits = grid is not None and grid.tile == bundle.tile and abs(grid.scale / scale - 1) < 1e-6
            place = tile_at(x, y, bundle.tile, scale, grid if fits else None)
            pixels = slide.read(place.x, place.y, bundle.tile, bundle.tile, mpp=bundle.mpp)
        yield explain_tile(networks, pixels, place, preferences)

    def poll(self) -> bool:
        """Take the explanation when it has come; tell whether something is new."""
        job = self._job
        if job is None or not job.has_ended:
            return False
        self._job = None
        found = job.poll()
        if job.error is not None:
            self._fail(job.error)
        elif found:
            self.explanation = found[0]
            self._mark()
        self.revision += 1
        return True

    def wait(self, timeout: float = 60.0) -> TileExplanation | None:
        """Wait for the explanation (for scripts)."""
        if self._job is not None:
            self._job.wait(timeout)
            self.poll()
        return self.explanation

    def place_text(self, place: TilePlace) -> str:
        """Return where a tile is, in mm, and how wide, in µm."""
        mpp = self.session.slide_mpp or 0.0
        x, y = place.x * mpp / 1000, place.y * mpp / 1000
        return f"Tile at {x:.2f}, {y:.2f} mm, {place.side * mpp:.0f} µm wide."

    def _fail(self, error: BaseException) -> None:
        self.explanation, self.problem = None, explain(error)
        self.revision += 1

    def _mark(self) -> None:
        slide, explanation = self.session.slide, self.explanation
        if slide is not None and explanation is not None:
            place = explanation.place
            mark_box(self.session.viewer, slide, place.y, place.x, place.side)

    def probabilities_under_cursor(self) -> NDArray[np.float32] | None:
        """Return stage 2's class probabilities (C,) where the mouse is; None outside the tile."""
        slide, explanation = self.session.slide, self.explanation
        if slide is None or explanation is None:
            return None
        y, x = world_to_data(self.session.viewer, slide)(self.session.viewer.cursor.position[-2:])
        return explanation.probabilities_at(float(x) + 0.5, float(y) + 0.5)
