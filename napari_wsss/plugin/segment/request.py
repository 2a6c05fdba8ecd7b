"""What a run is asked to do, decided once: the panel's values as the Python API takes them."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_wsss.models import Bundle
from napari_wsss.plugin.common import (
    Preferences,
    borrow_networks,
    limit_compute_threads,
    with_known_thumbnails,
)
from tiling.engine import Event
from tiling.geometry import Box
from tiling.plan import Roi, TissueParameters
from tiling.slides import open_slide

if TYPE_CHECKING:
    from napari_wsss.pipeline import Settings

__all__ = ["RunRequest", "default_folder", "free_path", "result_path", "settings_of", "slide_id"]


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
    tissue_threshold : float or None
        Density above which there is tissue; None lets it be found.
    tissue_areas : Roi or None
        What counts as tissue instead, in level-0 pixels.
    """

    slide: Path
    bundle: Bundle
    out: Path
    mpp: float | None
    region: Box | None
    roi: Roi | None
    preferences: Preferences
    resume: bool = True
    tissue_threshold: float | None = None
    tissue_areas: Roi | None = None

    def settings(self) -> Settings:
        """Return the options of the pipeline."""
        settings = settings_of(self.preferences, self.tissue_threshold)
        return replace(settings, region=self.region, roi=self.roi, tissue_areas=self.tissue_areas)

    def events(self) -> Generator[Event]:
        """Run it; see :func:`napari_wsss.segment_events`."""
        from napari_wsss.pipeline import segment_events

        limit_compute_threads()
        settings = self.settings()
        with (
            borrow_networks(self.bundle, settings) as networks,
            open_slide(self.slide, mpp=self.mpp) as slide,
        ):
            yield from segment_events(
                with_known_thumbnails(slide), networks, self.out, resume=self.resume, settings=settings
            )

    def description(self, slide_mpp: float | None) -> dict[str, Any]:
        """Return what ``run.json`` will say, as far as it is known before the networks are loaded.

        Parameters
        ----------
        slide_mpp : float or None
            µm per level-0 pixel of the slide.
        """
        gate, threshold = self.bundle.gate, self.preferences.threshold
        limits = gate.thresholds if threshold is None else (threshold,)
        return {
            "model": {
                "bundle": self.bundle.name,
                "hashes": dict(self.bundle.hashes),
                "gate": {"on": self.preferences.gate, "thresholds": list(limits)},
            },
            "parameters": self.settings().run_options(self.bundle.mpp).deciding(),
            "resolution": {"mpp": slide_mpp},
        }


def settings_of(preferences: Preferences, tissue_threshold: float | None = None) -> Settings:
    """Return the options of the pipeline that are the same from slide to slide."""
    from napari_wsss.pipeline import Settings

    return Settings(
        overlap=preferences.overlap,
        gate=preferences.gate,
        gate_threshold=preferences.threshold,
        batch_size=preferences.batch_size,
        device=preferences.device,
        tissue=TissueParameters(threshold=tissue_threshold) if preferences.skip_background else None,
        keep_cams=preferences.keep_cams,
    )


def result_path(slide: Path, folder: Path, *, whole: bool) -> Path:
    """Return the usual store of a slide; parts of a slide never take the name of the whole."""
    return folder / f"{slide_id(slide)}{'' if whole else '-region'}.zarr"


def free_path(path: Path) -> Path:
    """Return the first of ``a.zarr``, ``a-2.zarr``, ``a-3.zarr`` … that is not there."""
    stem = path.name.removesuffix(".zarr")
    more = (path.with_name(f"{stem}-{number}.zarr") for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain([path], more) if not candidate.exists())


def slide_id(slide: Path) -> str:
    """Return the name under which the results of a slide are kept."""
    return slide.stem if slide.is_file() else slide.name


def default_folder(slide: Path) -> Path:
    """Return the folder for results when the user has named none: beside the slide."""
    return slide.parent / "wsss-results"
