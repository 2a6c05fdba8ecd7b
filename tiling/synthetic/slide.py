"""A synthetic slide: any region of it, and its truth, on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.classes import ClassSchema, TissueClass
from tiling.geometry import Box
from tiling.synthetic.layout import Pieces
from tiling.synthetic.paint import Scene, paint, paint_truth
from tiling.synthetic.stain import Stain

__all__ = ["DEMO", "SYNTHETIC_SCHEMA", "SyntheticSlide"]

SYNTHETIC_SCHEMA = ClassSchema(
    "synthetic",
    (
        TissueClass("Tumour", "TUM", "#d41a00"),
        TissueClass("Stroma", "STR", "#2fa274"),
        TissueClass("Lymphocytes", "LYM", "#1f4fd8"),
        TissueClass("Necrosis", "NEC", "#ff9c09"),
    ),
)
"""The four classes of synthetic tissue; class *i* has store label *i* + 1."""

_BLOCK = 512


@dataclass(frozen=True)
class SyntheticSlide:
    """An H&E-like slide that is computed where it is looked at.

    Content is a function of the seed and the position alone, so a slide of any size can be written piece by piece.

    Attributes
    ----------
    width, height : int
        Level-0 pixels.
    mpp : float
        µm per pixel, 0.2 to 2. The same seed and size in µm give the same tissue at another resolution.
    seed : int
        Names the tissue and its stains.
    region_um : float
        Typical size of a class region in µm; small values bring all classes onto a small slide.
    repeat : int or None
        Cheap mode for benchmarks, about ten times as fast: only a slide of ``repeat`` × ``repeat`` pixels is painted,
        and mirrored over the whole. A multiple of 512; up to 4096 each part is painted once and kept in memory.

    Raises
    ------
    ValueError
        When a size or the resolution is out of range.
    """

    width: int
    height: int
    mpp: float = 0.5
    seed: int = 0
    region_um: float = 260.0
    repeat: int | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a slide needs a positive size, not {self.width} × {self.height}")
        if not 0.2 <= self.mpp <= 2:
            raise ValueError(f"synthetic slides have 0.2 to 2 µm per pixel, not {self.mpp}")
        if self.region_um <= 0:
            raise ValueError(f"the size of a region must be positive, not {self.region_um} µm")
        if self.repeat is not None and (self.repeat < _BLOCK or self.repeat % _BLOCK):
            raise ValueError(f"repeat must be a positive multiple of {_BLOCK}, not {self.repeat}")

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height in level-0 pixels."""
        return self.width, self.height

    def render(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a region of the slide.

        Parameters
        ----------
        x, y, width, height : int
            Level-0 pixels; the region must lie on the slide.

        Returns
        -------
        (height, width, 3) uint8
            The same pixels however regions are cut.

        Raises
        ------
        ValueError
            When the region leaves the slide.
        """
        return self._assemble(_painted, x, y, np.empty((height, width, 3), np.uint8))

    def truth(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return the true labels of a region, (height, width) uint8 store labels; arguments as in :meth:`render`."""
        return self._assemble(_labelled, x, y, np.empty((height, width), np.uint8))

    def _assemble(
        self,
        block: Callable[[SyntheticSlide, int, int], NDArray[np.uint8]],
        x: int,
        y: int,
        out: NDArray[np.uint8],
    ) -> NDArray[np.uint8]:
        """Fill ``out`` from whole blocks, whose borders are fixed: that makes cuts invisible."""
        height, width = out.shape[:2]
        if x < 0 or y < 0 or x + width > self.width or y + height > self.height:
            raise ValueError(
                f"the region {x},{y} {width}×{height} leaves the slide of {self.width} × {self.height} pixels"
            )
        source, fold = self, 1 << 62
        if self.repeat is not None:
            source, fold = (
                SyntheticSlide(self.repeat, self.repeat, self.mpp, self.seed, self.region_um),
                self.repeat,
            )
        for top in range(y // _BLOCK * _BLOCK, y + height, _BLOCK):
            for left in range(x // _BLOCK * _BLOCK, x + width, _BLOCK):
                pixels = _folded(block, source, fold, left, top)
                ax, bx = max(left, x), min(left + _BLOCK, x + width)
                ay, by = max(top, y), min(top + _BLOCK, y + height)
                out[ay - y : by - y, ax - x : bx - x] = pixels[ay - top : by - top, ax - left : bx - left]
        return out


def _folded(
    block: Callable[[SyntheticSlide, int, int], NDArray[np.uint8]],
    source: SyntheticSlide,
    fold: int,
    left: int,
    top: int,
) -> NDArray[np.uint8]:
    """Return the block at (left, top) of a plane that mirrors ``source`` at every multiple of ``fold`` pixels."""
    (turn_x, x), (turn_y, y) = divmod(left, fold), divmod(top, fold)
    flip_x, flip_y = bool(turn_x % 2), bool(turn_y % 2)
    x = fold - _BLOCK - x if flip_x else x
    y = fold - _BLOCK - y if flip_y else y
    pixels = block(source, x, y)
    return pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


@lru_cache(maxsize=64)
def _scene(slide: SyntheticSlide) -> Scene:
    pieces = Pieces.of_slide(slide.seed, slide.width * slide.mpp, slide.height * slide.mpp)
    return Scene(slide.seed, slide.mpp, slide.region_um, pieces, Stain.of_seed(slide.seed))


def _frozen(pixels: NDArray[Any]) -> NDArray[Any]:
    pixels.flags.writeable = False
    return pixels


# 64 blocks: 64 × 0.75 MB, so that neighbouring reads and the cheap mode do not paint a block twice.
@lru_cache(maxsize=64)
def _painted(slide: SyntheticSlide, left: int, top: int) -> NDArray[np.uint8]:
    return _frozen(paint(_scene(slide), Box(left, top, _BLOCK, _BLOCK)))


@lru_cache(maxsize=64)
def _labelled(slide: SyntheticSlide, left: int, top: int) -> NDArray[np.uint8]:
    return _frozen(paint_truth(_scene(slide), Box(left, top, _BLOCK, _BLOCK)))


DEMO = SyntheticSlide(width=4096, height=3072, mpp=0.5, seed=11)
"""The sample slide of ``wsss-tile demo`` and of napari's *Open sample*."""
