"""Features in memory: each slide is read once, grows while it is prepared, and goes when others need the room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.project.features import Features, described, read_part, read_table, tiles_done
from tiling.errors import FeaturesError
from tiling.grid import TileGrid

__all__ = ["FeatureCache"]

_MOST_BYTES = 2 << 30

Place = tuple[int, int]


@dataclass
class _Loaded:
    features: Features
    room: NDArray[np.float16]
    index: dict[Place, int] = field(default_factory=dict)


_REASONS = {
    "slide": "the slide's file has changed since",
    "encoder": "it was made with another encoder than the project's",
    "reduction": "it was reduced in another way than the project's",
    "mpp": "it was made at another µm per pixel",
    "grid": "it was made on another lattice of tiles",
}


class FeatureCache:
    """Hands out the features of slides.

    Parameters
    ----------
    path_of : callable
        Slide id -> ``features/<slide_id>.zarr``.
    expected : callable
        Slide id -> what the description of its features must hold.
    """

    def __init__(self, path_of: Callable[[str], Path], expected: Callable[[str], Mapping[str, Any]]) -> None:
        self._path_of = path_of
        self._expected = expected
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._tiles: dict[str, dict[Place, NDArray[np.float16]]] = {}

    def forget(self, slide_id: str) -> None:
        """Drop what is known of a slide: it is prepared anew."""
        self._loaded.pop(slide_id, None)
        self._tiles.pop(slide_id, None)

    def problem(self, slide_id: str) -> str | None:
        """Return why there are no features that can be used, in one sentence; None when there are some."""
        path = self._path_of(slide_id)
        found = described(path)
        if found is None:
            return f"The slide {slide_id} is not prepared; run `wsss-tile project prepare` or press Prepare."
        reason = self.reason(slide_id, found)
        if not reason:
            return None
        return f"{path}: what was prepared cannot be used, because {reason}; prepare the slide again."

    def reason(self, slide_id: str, found: Mapping[str, Any] | None = None) -> str:
        """Return why the features of a slide are not those of this project; empty when they are, or there are none.

        Parameters
        ----------
        slide_id : str
        found : mapping, optional
            What the features say of themselves, where that was read already.
        """
        found = described(self._path_of(slide_id)) if found is None else found
        expected = {} if found is None else self._expected(slide_id)
        return next((_REASONS[key] for key, value in expected.items() if (found or {}).get(key) != value), "")

    def get(self, slide_id: str) -> Features:
        """Return what is prepared of a slide so far.

        Raises
        ------
        FeaturesError
            When there is nothing, or something else than the project needs.
        """
        path = self._path_of(slide_id)
        done = tiles_done(path)
        loaded = self._loaded.get(slide_id)
        if loaded is None or done is None or done < loaded.features.done:
            loaded = self._begin(slide_id, path)
        if done is not None and done > loaded.features.done:
            self._grow(loaded, path, done)
        self._loaded[slide_id] = loaded
        self._loaded.move_to_end(slide_id)
        while len(self._loaded) > 1 and sum(v.room.nbytes for v in self._loaded.values()) > _MOST_BYTES:
            self._loaded.popitem(last=False)
        return loaded.features

    def tiles(self, slide_id: str, places: Collection[Place]) -> dict[Place, NDArray[np.float16]]:
        """Return the features (P, P, V) of some tiles; those without features, or unreadable ones, are left out.

        Kept for good: labelled tiles are few, and with many slides not all of them stay in memory.
        """
        known = self._tiles.setdefault(slide_id, {})
        if any(place not in known for place in places):
            features = self.get(slide_id)
            index = self._loaded[slide_id].index
            for place in places:
                at = index.get(place)
                if place not in known and at is not None and np.isfinite(features.values[at, 0, 0, 0]):
                    known[place] = features.values[at].copy()
        return {place: known[place] for place in places if place in known}

    def _begin(self, slide_id: str, path: Path) -> _Loaded:
        self.forget(slide_id)
        problem = self.problem(slide_id)
        if problem is not None:
            raise FeaturesError(problem)
        table, shape, description = read_table(path)
        lattice = TileGrid(**{**description["grid"], "origin": tuple(description["grid"]["origin"])})
        for places, count in ((table.row, lattice.rows), (table.column, lattice.columns)):
            if places.dtype.kind != "i" or (len(places) and not 0 <= places.min() <= places.max() < count):
                raise FeaturesError(
                    f"{path} is damaged (a tile lies outside its slide); delete it and prepare the slide again."
                )
        try:
            room = np.empty(shape, np.float16)
        except (ValueError, MemoryError) as error:
            raise FeaturesError(
                f"{path} is damaged, or larger than the memory here ({shape} values); delete it and prepare the slide "
                "again."
            ) from error
        return _Loaded(Features(table, room[:0], description), room)

    def _grow(self, loaded: _Loaded, path: Path, done: int) -> None:
        """Read the tiles that have come since."""
        known = loaded.features.done
        loaded.room[known:done] = read_part(path, known, done)
        tiles = loaded.features.tiles
        pairs = zip(tiles.row[known:done].tolist(), tiles.column[known:done].tolist(), strict=True)
        loaded.index.update((pair, known + i) for i, pair in enumerate(pairs))
        loaded.features = Features(tiles, loaded.room[:done], loaded.features.description)
