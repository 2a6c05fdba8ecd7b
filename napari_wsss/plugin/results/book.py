"""The book of results: which there are of each slide, which one is looked at, and what each is called."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from napari_wsss.plugin.results.result import Result, read_result, unusual_options
from napari_wsss.plugin.view import SlideKey
from tiling.errors import StoreError
from tiling.folders import is_store

__all__ = ["ResultBook", "stores_of_slide"]


class ResultBook:
    """Results by store, and the chosen one of each slide.

    Everything that a panel shows of a result it takes from here, so that a legend, an export or a message cannot
    belong to another slide than its name says.
    """

    def __init__(self) -> None:
        self._results: dict[Path, Result] = {}
        self._chosen: dict[SlideKey, Path] = {}

    def __contains__(self, store: Path) -> bool:
        return store.absolute() in self._results

    def __iter__(self) -> Iterator[Result]:
        return iter(list(self._results.values()))

    def get(self, store: Path) -> Result | None:
        """Return the result of a store, or None."""
        return self._results.get(store.absolute())

    def put(self, result: Result) -> None:
        """Take a result, or what is new about it; the first of a slide is chosen."""
        self._results[result.store] = result
        self._chosen.setdefault(result.slide, result.store)

    def forget(self, store: Path) -> Result | None:
        """Drop a result (its store was deleted); another one of its slide is chosen."""
        gone = self._results.pop(store.absolute(), None)
        if gone is not None and self._chosen.get(gone.slide) == gone.store:
            del self._chosen[gone.slide]
            left = self.of(gone.slide)
            if left:
                self._chosen[gone.slide] = left[-1].store
        return gone

    def of(self, slide: SlideKey | None) -> list[Result]:
        """Return the results of a slide in the order of their files' names."""
        return sorted((r for r in self._results.values() if r.slide == slide), key=lambda r: r.store.name)

    def choose(self, store: Path) -> Result:
        """Look at another result of its slide."""
        result = self._results[store.absolute()]
        self._chosen[result.slide] = result.store
        return result

    def chosen(self, slide: SlideKey | None) -> Result | None:
        """Return the result of a slide that is looked at, or None when there is none."""
        if slide is None or slide not in self._chosen:
            return None
        return self._results[self._chosen[slide]]

    def name(self, result: Result) -> str:
        """Return what a result is called: model and region, and what else tells it from others of its slide."""
        same = [other for other in self.of(result.slide) if other.title == result.title]
        if len(same) <= 1:
            return result.title
        all_have = set.intersection(*(set(unusual_options(other.run)) for other in same))
        names = {other.store: _options(other, all_have) for other in same}
        name = ", ".join([result.title, *names[result.store]])
        alike = sum(options == names[result.store] for options in names.values())
        return name if alike == 1 else f"{name} ({result.store.name.removesuffix('.zarr')})"


def _options(result: Result, but: set[str]) -> list[str]:
    return [words for words in unusual_options(result.run) if words not in but]


def stores_of_slide(folder: Path, slide_id: str, slide: SlideKey) -> list[Result]:
    """Return the results of a slide that lie in a folder, oldest first.

    Parameters
    ----------
    folder : Path
        Perhaps not there.
    slide_id : str
        Only stores whose names begin with it are opened: the folder may hold thousands of others.
    slide : SlideKey
        Stores of another slide of that name are left out, and so are damaged ones.
    """
    if not folder.is_dir():
        return []
    found: list[tuple[float, Result]] = []
    for path in sorted(folder.glob("*.zarr")):
        if not path.name.startswith(slide_id) or not is_store(path):
            continue
        try:
            result = read_result(path)
        except StoreError:  # opening the store itself says what is wrong with it
            continue
        if result.slide == slide:
            found.append((path.stat().st_mtime, result))
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]
