"""What counts as tissue on a slide, to be shown and corrected before anything is run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.geometry import Box
from tiling.plan.run_plan import overview_of
from tiling.plan.tissue import TissueLook, TissueParameters, look_for_tissue
from tiling.polygons import label_regions
from tiling.slides import Slide

__all__ = ["TissuePreview", "look_at_slide"]


@dataclass(frozen=True)
class TissuePreview:
    """A look at the overview of a slide, and where it lies.

    Attributes
    ----------
    overview : (h, w, 3) uint8
        Picture of the scanned area.
    bounds : Box
        The scanned area in level-0 pixels.
    mpp : float
        µm per level-0 pixel.
    look : TissueLook
        ``look.mask(threshold)`` is a mask for any threshold, in milliseconds.
    """

    overview: NDArray[np.uint8] = field(repr=False)
    bounds: Box
    mpp: float
    look: TissueLook

    @property
    def step(self) -> tuple[float, float]:
        """Level-0 pixels per pixel of the overview, x and y."""
        height, width = self.overview.shape[:2]
        return self.bounds.width / width, self.bounds.height / height

    def area_mm2(self, mask: NDArray[np.bool_]) -> float:
        """Return the area of a mask of the overview."""
        across, down = self.step
        return int(mask.sum()) * across * down * (self.mpp / 1000) ** 2

    def outlines(self, mask: NDArray[np.bool_]) -> tuple[shapely.Polygon, ...]:
        """Return the pieces of tissue as polygons with holes, in level-0 pixels of the whole slide.

        Corners of single pixels are cut; neighbours do not matter, as pieces do not touch.
        """
        scale, corner = np.array(self.step), np.array([self.bounds.x, self.bounds.y])
        regions = label_regions(mask.view(np.uint8), block=max(mask.shape), tolerance=1.5)
        return tuple(
            shapely.transform(region.polygon, lambda points: points * scale + corner) for region in regions
        )


def look_at_slide(slide: Slide, parameters: TissueParameters | None = None) -> TissuePreview:
    """Look for tissue on a slide, the way a run does.

    Raises
    ------
    ResolutionError
        When the slide has no µm per pixel.
    SlideError
        When its overview cannot be read.
    """
    mpp = slide.require_mpp()
    overview, _ = overview_of(slide)
    step = slide.bounds.height / overview.shape[0]
    return TissuePreview(overview, slide.bounds, mpp, look_for_tissue(overview, mpp * step, parameters))
