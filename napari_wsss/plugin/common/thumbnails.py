"""The overview of the slide that was looked at last: a run does not read again what the panel has read."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.slides import Slide

__all__ = ["ThumbnailShelf", "with_known_thumbnails"]


class ThumbnailShelf:
    """Keeps the thumbnails of one slide: its overview is the slow part of a plan, and 12 MB at most."""

    def __init__(self) -> None:
        self._change = threading.Lock()
        self._identity: dict[str, Any] = {}
        self._thumbnails: dict[int, NDArray[np.uint8]] = {}

    def lend(self, slide: Slide) -> Slide:
        """Let a slide that was just opened share the thumbnails read from the same unchanged file; return it."""
        identity = {**slide.identity, "path": slide.path}
        with self._change:
            if identity != self._identity:
                self._identity, self._thumbnails = identity, {}
            slide.known_thumbnails = self._thumbnails
        return slide


with_known_thumbnails = ThumbnailShelf().lend
"""Of the one shelf of this process."""
