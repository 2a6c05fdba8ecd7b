"""Small synthetic slides to teach on, and what their tiles truly hold."""

from __future__ import annotations

from napari_wsss.project import Tile
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide

SMALL = SyntheticSlide(width=900, height=700, mpp=0.5, seed=3, region_um=100)
OTHER = SyntheticSlide(width=640, height=512, mpp=0.5, seed=8, region_um=100)


def held(slide: SyntheticSlide, tile: Tile) -> set[str]:
    """Return the classes that a tile truly holds."""
    box = tile.box
    right, bottom = min(box.right, slide.width), min(box.bottom, slide.height)
    truth = slide.truth(box.x, box.y, right - box.x, bottom - box.y)
    return {name for i, name in enumerate(SYNTHETIC_SCHEMA.names, 1) if (truth == i).mean() > 0.05}
