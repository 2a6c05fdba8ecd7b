"""What counts as tissue, looked at before a run: its outline and share, a threshold, and corrections by drawing.

The run uses exactly what is shown: the threshold while nothing was drawn, the outlines of the shown area afterwards.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.common import Job, Starter, explain, with_known_thumbnails
from napari_wsss.plugin.view import METADATA_KEY, SlideKey, follow_steps, slide_of
from tiling.plan import Polygon, Roi, TissuePreview, look_at_slide
from tiling.slides import open_slide

__all__ = ["TissueView"]

NAME = "Tissue"
COLORS = {None: "transparent", 0: "transparent", 1: "#00c8ff"}
OUTLINE = 2


class _Seen:
    """One slide's preview and what the user made of it; numbers are worked out anew only after a change."""

    def __init__(self, preview: TissuePreview) -> None:
        self.preview = preview
        self.threshold: float | None = None
        self.found: NDArray[np.bool_] = preview.look.mask()
        self.layer: Any = None
        self.is_corrected = False
        self.text = ""
        self._mask: NDArray[np.bool_] | None = None
        self._areas: Roi | None = None

    def show_in(self, layer: Any) -> None:
        """Take the layer in which it is shown and corrected."""
        self.layer = layer
        for event in (layer.events.labels_update, layer.events.paint, layer.events.data):
            event.connect(self.touch)
        self.touch()

    def touch(self, _event: object = None) -> None:
        """Forget what was worked out: something was drawn."""
        self._mask = self._areas = None

    def refresh(self) -> NDArray[np.bool_]:
        """Return the area that is shown, corrections included; work out its numbers when it has changed."""
        if self._mask is None:
            self._mask = self.found if self.layer is None else np.asarray(self.layer.data) > 0
            self.is_corrected = bool((self._mask != self.found).any())
            drawn = " · corrected by hand" if self.is_corrected else ""
            share, area = 100 * float(self._mask.mean()), self.preview.area_mm2(self._mask)
            self.text = f"{share:.1f} % tissue, {area:.3g} mm²{drawn}"
        return self._mask

    @property
    def choice(self) -> tuple[float | None, Roi | None]:
        """What a run takes as tissue: a threshold, or the outlines of what was corrected by hand."""
        mask = self.refresh()
        if not self.is_corrected:
            return self.threshold, None
        if self._areas is None:
            self._areas = Roi(tuple(map(_polygon, self.preview.outlines(mask))))
        return None, self._areas


def _polygon(piece: Any) -> Polygon:
    rings = (piece.exterior, *piece.interiors)
    exterior, *holes = (tuple((float(x), float(y)) for x, y in ring.coords) for ring in rings)
    return Polygon(exterior, tuple(holes))


class TissueView:
    """The tissue of slides as layers of one viewer.

    Parameters
    ----------
    viewer : napari.Viewer
    start : callable
        Starts a job in another thread.

    Attributes
    ----------
    problem : str
        Why there is nothing to see.
    """

    def __init__(self, viewer: Any, start: Starter) -> None:
        self.problem = ""
        self._viewer = viewer
        self._start = start
        self._seen: dict[SlideKey, _Seen] = {}
        self._job: Job[TissuePreview] | None = None
        self._slide: Any = None

    @property
    def is_busy(self) -> bool:
        """Whether a slide is being looked at."""
        return self._job is not None

    def show(self, slide: Any, mpp: float | None) -> None:
        """Look for tissue on a slide layer, in another thread, and show its outline."""
        key = slide_of(slide)
        if self._job is not None or key is None:
            return
        self.problem = ""
        if (seen := self._seen.get(key)) is not None:
            self._draw(seen, slide)
            return
        self._slide = slide
        self._job = Job(partial(_look, Path(slide.metadata[METADATA_KEY]["path"]), mpp))
        self._start(self._job)

    def poll(self) -> bool:
        """Take what was found; tell whether there is news."""
        job = self._job
        if job is None or not job.has_ended:
            return False
        self._job = None
        found, slide = job.poll(), self._slide
        key = slide_of(slide)
        if job.error is not None:
            self.problem = explain(job.error)
        elif found and key is not None:
            preview = found[0]
            self.problem = preview.look.problem.partition(";")[0]
            self._seen[key] = _Seen(preview)
            if slide in self._viewer.layers:
                self._draw(self._seen[key], slide)
        return True

    def wait(self, timeout: float) -> None:
        """Wait for what is being looked for, and show it."""
        if self._job is not None:
            self._job.wait(timeout)
            self.poll()

    def get(self, slide: SlideKey | None) -> _Seen | None:
        """Return what is shown of a slide; None while its tissue was not looked at or the layer was removed."""
        seen = self._seen.get(slide) if slide is not None else None
        return seen if seen is not None and seen.layer in self._viewer.layers else None

    def set_threshold(self, slide: SlideKey | None, threshold: float | None) -> None:
        """Look with another threshold (None: the one found); what was drawn is dropped."""
        seen = self.get(slide)
        if seen is not None and threshold != seen.threshold:
            seen.threshold = threshold
            seen.found = seen.preview.look.mask(threshold)
            seen.layer.data = seen.found.astype(np.uint8)
            seen.touch()

    def draw(self, slide: SlideKey | None, *, include: bool) -> None:
        """Let the user draw a polygon that is tissue, or none."""
        seen = self.get(slide)
        if seen is not None:
            self._viewer.layers.selection.active = seen.layer
            seen.layer.selected_label = int(include)
            seen.layer.mode = "polygon"

    def text(self, slide: SlideKey | None) -> str:
        """Return share and area of the tissue shown."""
        if self.is_busy:
            return "Looking for tissue…"
        seen = self.get(slide)
        if seen is None:
            return self.problem
        seen.refresh()
        return f"{seen.text} · {self.problem}" if self.problem else seen.text

    def threshold(self, slide: SlideKey | None) -> float | None:
        """Return the threshold in use: the one set, else the one found; None while nothing is shown."""
        seen = self.get(slide)
        if seen is None:
            return None
        return seen.preview.look.threshold if seen.threshold is None else seen.threshold

    def choice(self, slide: SlideKey | None) -> tuple[float | None, Roi | None]:
        """Return what a run takes as tissue: a threshold, or the outlines of what was corrected by hand."""
        seen = self.get(slide)
        if seen is None:
            return None, None
        return seen.choice

    def _draw(self, seen: _Seen, slide: Any) -> None:
        if seen.layer is not None and seen.layer in self._viewer.layers:
            seen.layer.visible = True
            return
        from napari.utils.colormaps import DirectLabelColormap

        bounds = seen.preview.bounds
        layer = self._viewer.add_labels(
            seen.found.astype(np.uint8),
            name=NAME,
            opacity=0.9,
            colormap=DirectLabelColormap(color_dict=COLORS),
            metadata={METADATA_KEY: {"kind": "tissue", "slide": slide_of(slide)}},
            **follow_steps(slide, (bounds.x, bounds.y), seen.preview.step),
        )
        layer.contour = OUTLINE
        seen.show_in(layer)


def _look(path: Path, mpp: float | None) -> Generator[TissuePreview]:
    with open_slide(path, mpp=mpp) as slide:
        yield look_at_slide(with_known_thumbnails(slide))
