"""What a slide format has to offer: its levels, and pixels of any of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tiling.geometry import Box
from tiling.slides.statements import Statement

__all__ = ["ALONE_BYTES", "MAX_SIDE", "Level", "LevelReader"]

MAX_SIDE = 1 << 22
"""Most pixels a side of a slide may have: ten times the largest scans; more is a damaged header."""

ALONE_BYTES = 64 << 20
"""Pieces above this are decoded by one thread at a time: several at once would be gigabytes, and often the same."""


@dataclass(frozen=True)
class Level:
    """One level of a slide's pyramid.

    Attributes
    ----------
    width, height : int
        Size in pixels of this level.
    downsample : float
        Level-0 pixels per pixel of this level; pixel *i* covers ``[i * downsample, (i + 1) * downsample)``.
    tile : (int, int) or None
        Width and height of the pieces in which the file stores this level, when it is known.
    """

    width: int
    height: int
    downsample: float
    tile: tuple[int, int] | None = None


@runtime_checkable
class LevelReader(Protocol):
    """What a slide format has to offer. ``read_level`` may be called by several threads at once.

    A reader may also have ``beside`` and ``centre_offset_nm``, see :class:`tiling.slides.slide.Slide`.
    """

    @property
    def path(self) -> Path:
        """What the user named; need not exist for slides made in memory."""
        ...

    @property
    def format(self) -> str:
        """Which reader this is (``openslide``, ``tiff`` …)."""
        ...

    @property
    def vendor(self) -> str:
        """Which kind of file, in the words of the library; may be empty."""
        ...

    @property
    def levels(self) -> tuple[Level, ...]:
        """The pyramid, finest first; never empty."""
        ...

    @property
    def bounds(self) -> Box:
        """The scanned area in level-0 pixels."""
        ...

    @property
    def statements(self) -> tuple[Statement, ...]:
        """All that the file says about its µm per pixel, unjudged, the most trustworthy place first."""
        ...

    @property
    def fingerprint(self) -> str:
        """What tells the slide from others where it has no files on this machine; else empty."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes of pixels that the open reader may keep, however much is read: a part of the memory formula."""
        ...

    @property
    def icc_profile(self) -> bytes | None:
        """The colour profile in the file."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about how the pixels were understood."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """The files whose size, date and ends identify the slide."""
        ...

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return (height, width, 3) uint8 RGB of a part of one level.

        ``x`` and ``y`` are pixels of that level; the part may hang over the level's edges. What was never
        scanned is white. Raises :class:`SlideError` when the pixels cannot be read or decoded.
        """
        ...

    def close(self) -> None:
        """Free the file; a second call does nothing."""
        ...
