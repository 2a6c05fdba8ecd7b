"""What was said in a review, beside the result, in the form of a project's label logs."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_wsss.project import Decision, LabelLog, Tile, last_action, standing
from tiling.store import Store

__all__ = ["VerdictLog", "verdict_path"]


def verdict_path(store: Path) -> Path:
    """Return the file beside a store that holds what was said of its tiles."""
    return store.with_name(f"{store.name.removesuffix('.zarr')}.review.csv")


class VerdictLog:
    """Appends to the log of one result.

    Parameters
    ----------
    path : Path
    store : Store
        Whose classes the log speaks of.
    """

    def __init__(self, path: Path, store: Store) -> None:
        self._store = store
        self._log = LabelLog(path, len(store.schema))

    def append(self, tile: Tile, classes: Sequence[str]) -> None:
        """Write which classes a tile holds; none: not what the result shows.

        Raises
        ------
        LabelError
            When it cannot be written.
        """
        present = tuple(name in classes for name in self._store.schema.names)
        decision = Decision(
            line=0,
            time=_now(),
            reader="",
            x=tile.x,
            y=tile.y,
            side=tile.side,
            mpp=self._store.mpp,
            labels=present,
            source="review",
        )
        self._log.append([decision])

    def answers(self) -> list[Decision]:
        """Return what was said and not taken back, oldest first, in this session and in earlier ones.

        Raises
        ------
        LabelError
            When the file is damaged.
        """
        return standing(self._log.decisions())

    def take_back(self) -> None:
        """Take the last line back.

        Raises
        ------
        LabelError
            When that cannot be written.
        """
        last = last_action(self._log.decisions())
        self._log.append([replace(d, line=0, time=_now(), labels=None, cancels=d.line) for d in last])


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
