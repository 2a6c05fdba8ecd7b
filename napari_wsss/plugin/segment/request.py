"""What a run is asked to do, decided once: the panel's values as the Python API takes them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from napari_wsss.models import Bundle
from napari_wsss.plugin.common import Preferences, limit_compute_threads
from tiling.engine import Event
from tiling.geometry import Box
from tiling.plan import Roi, TissueParameters

__all__ = ["RunRequest", "default_folder", "result_path"]


@dataclass(frozen=True)
class RunRequest:
    """One run.

    Attributes
    ----------
    slide : Path
    bundle : Bundle
    out : Path
        The store, ``<slide_id>.zarr``.
    mpp : float or None
        µm per level-0 pixel typed by the user; None takes the slide's own.
    region : Box or None
        Level-0 pixels.
    roi : Roi or None
        Polygons in level-0 pixels.
    preferences : Preferences
        Gate, overlap, device and the like.
    resume : bool
        Go on with an unfinished store; False replaces it.
    """

    slide: Path
    bundle: Bundle
    out: Path
    mpp: float | None
    region: Box | None
    roi: Roi | None
    preferences: Preferences
    resume: bool = True

    def events(self) -> Generator[Event]:
        """Run it; see :func:`napari_wsss.segment_events`."""
        from napari_wsss.pipeline import segment_events

        limit_compute_threads()
        yield from segment_events(
            self.slide,
            self.bundle,
            self.out,
            mpp=self.mpp,
            resume=self.resume,
            region=self.region,
            roi=self.roi,
            overlap=self.preferences.overlap,
            gate=self.preferences.gate,
            gate_threshold=self.preferences.threshold,
            batch_size=self.preferences.batch_size,
            device=self.preferences.device,
            tissue=TissueParameters() if self.preferences.skip_background else None,
            keep_cams=self.preferences.keep_cams,
        )


def result_path(slide: Path, folder: Path, *, whole: bool) -> Path:
    """Return the store of a slide; parts of a slide never overwrite the result of the whole."""
    slide_id = slide.stem if slide.is_file() else slide.name
    return folder / f"{slide_id}{'' if whole else '-region'}.zarr"


def default_folder(slide: Path) -> Path:
    """Return the folder for results when the user has named none: beside the slide."""
    return slide.parent / "wsss-results"
