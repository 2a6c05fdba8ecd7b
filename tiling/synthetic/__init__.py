"""Synthetic tissue: seeded H&E-like slides with known truth, and weakly labelled patches cut from them."""

from __future__ import annotations

from tiling.synthetic.patches import write_patches
from tiling.synthetic.slide import DEMO, SYNTHETIC_SCHEMA, SyntheticSlide
from tiling.synthetic.write import write_slide

__all__ = ["DEMO", "SYNTHETIC_SCHEMA", "SyntheticSlide", "write_patches", "write_slide"]
