"""The ground of a project: its folder, who may write, its slides and what people said about their tiles."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from napari_wsss.project.decisions import Decision, Source, in_force, last_action
from napari_wsss.project.description import PROJECT_JSON, ProjectFile, SlideEntry, absolute_path, stored_path
from napari_wsss.project.label_log import LabelLog
from napari_wsss.project.tiles import Tile, TileLabel, tile_at, tile_of
from tiling.classes import ClassSchema
from tiling.errors import LabelError, ProjectError, ProjectReadOnlyError, SlideError, StoreError
from tiling.grid import TileGrid
from tiling.slides import Slide, open_slide
from tiling.store import StoreLock

__all__ = ["ProjectCore", "now"]


class ProjectCore:
    """A project that is open: slides and labels; a context manager that gives the right to write back.

    Parameters
    ----------
    folder : Path
    write : bool, optional
        Take the right to write, where nobody else has it.

    Attributes
    ----------
    folder : Path
    description : ProjectFile
        What ``project.json`` says.
    notice : str
        Why nothing can be changed; empty when it can.
    """

    def __init__(self, folder: Path, write: bool = True) -> None:
        self.folder = folder
        self.description = ProjectFile.read(folder)
        self.notice = "" if write else f"{folder} was opened for reading only."
        self._lock: StoreLock | None = None
        if write:
            self._take_lock()
        self._mutex = threading.RLock()
        self._logs: dict[str, LabelLog] = {}

    # --- opening and closing ---

    def _take_lock(self) -> None:
        lock = StoreLock(self.folder / PROJECT_JSON)
        try:
            lock.__enter__()
        except StoreError as error:
            reason = str(error).partition(";")[0].rstrip(".")
            self.notice = f"{reason}, so this project can be looked at here but not changed."
            return
        self._lock = lock
        # Somebody may have changed it before we held the lock.
        self.description = ProjectFile.read(self.folder)

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed; ``notice`` says why."""
        return self._lock is None

    def close(self) -> None:
        """Give the right to write back; a second call does nothing."""
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
            self._lock = None
            self.notice = f"{self.folder} is closed."

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r}, {len(self.slides)} slides)"

    def require_writable(self) -> None:
        """Raise when nothing may be changed.

        Raises
        ------
        ProjectReadOnlyError
        """
        if self._lock is None:
            raise ProjectReadOnlyError(self.notice)

    def change(self, **changes: object) -> None:
        """Write ``project.json`` with some fields replaced (atomically), and go on with it."""
        with self._mutex:
            self.require_writable()
            description = replace(self.description, **changes)  # type: ignore[arg-type]
            description.write(self.folder)
            if description.schema != self.description.schema:
                self._logs.clear()  # they read labels as of other classes
            self.description = description

    # --- what it is about ---

    @property
    def name(self) -> str:
        """The folder's name without ``.wsss``."""
        return self.description.name

    @property
    def schema(self) -> ClassSchema:
        """The classes."""
        return self.description.schema

    @property
    def tile(self) -> int:
        """Side of a tile in pixels of ``mpp``."""
        return self.description.tile

    @property
    def mpp(self) -> float:
        """µm per pixel at which tiles are looked at."""
        return self.description.mpp

    @property
    def slides(self) -> tuple[str, ...]:
        """The slide ids, in the order in which they were added."""
        return tuple(entry.slide_id for entry in self.description.slides)

    def entry(self, slide_id: str) -> SlideEntry:
        """Return what is known of a slide; it need not be there."""
        return self.description.slide(slide_id)

    def grid(self, slide_id: str) -> TileGrid:
        """Return the lattice of a slide: tiles side by side, none shared."""
        return self.description.grid(slide_id)

    def tile_at(self, slide_id: str, x: float, y: float) -> Tile | None:
        """Return the tile that holds a level-0 position; None beside the slide."""
        return tile_at(slide_id, self.grid(slide_id), x, y)

    def tile_of(self, slide_id: str, row: int, column: int) -> Tile:
        """Return a tile by its place in the lattice."""
        return tile_of(slide_id, self.grid(slide_id), row, column)

    def features_path(self, slide_id: str) -> Path:
        """Where the features of a slide are kept."""
        return self.folder / "features" / f"{slide_id}.zarr"

    # --- slides ---

    def add(
        self,
        path: str | Path,
        case: str | None = None,
        *,
        slide_id: str | None = None,
        mpp: float | None = None,
    ) -> str:
        """Add a slide.

        Parameters
        ----------
        path : str or Path
        case : str, optional
            The patient or block; default: the slide is a case of its own.
        slide_id : str, optional
            Default: the file's stem.
        mpp : float, optional
            µm per level-0 pixel, when the file has none or a wrong one.

        Returns
        -------
        str
            The slide's id.

        Raises
        ------
        SlideError, ResolutionError, ProjectError
        """
        self.require_writable()
        path = Path(path)
        name = slide_id or path.stem
        if not name or any(c in name for c in '/\\:*?"<>|') or name.startswith("."):
            raise ProjectError(f"{name!r} cannot be a slide's id; give another (slide_id, --id).")
        for other in self.description.slides:
            if other.slide_id == name:
                raise ProjectError(
                    f"The project has a slide {name!r} already ({other.path}); give {path} another id (--id)."
                )
        with open_slide(path, mpp=mpp) as slide:
            entry = SlideEntry(
                slide_id=name,
                path=stored_path(path, self.folder),
                absolute=absolute_path(path).as_posix(),
                identity=slide.identity,
                mpp=slide.require_mpp(),
                bounds=slide.bounds,
                case=case or name,
                mpp_given=mpp is not None,
            )
        for other in self.description.slides:
            if other.is_same(entry.identity):
                raise ProjectError(f"{path} is in the project already, as {other.slide_id!r}.")
        self.change(slides=(*self.description.slides, entry))
        return name

    def open_slide(self, slide_id: str) -> Slide:
        """Open a slide of the project.

        Raises
        ------
        SlideError
            When it is not where it was, or is another one now. Its labels stay.
        """
        entry = self.entry(slide_id)
        path = entry.find(self.folder)
        if not path.exists():
            raise SlideError(
                f"The slide {slide_id} is neither at {path} nor at {entry.absolute}; put it back, or move it "
                "along with the project. Its labels are kept."
            )
        slide = open_slide(path, mpp=entry.mpp if entry.mpp_given else None)
        if not entry.is_same(slide.identity):
            slide.close()
            raise SlideError(
                f"{path} is not the slide {slide_id} that was labelled: its content has changed; put the former file "
                "back, or add this one under another id."
            )
        return slide

    # --- labels ---

    def label(
        self,
        slide_id: str,
        x: float,
        y: float,
        classes: Iterable[str],
        reader: str = "",
        *,
        source: Source = "click",
    ) -> Tile:
        """Say what a tile holds; on disk before this returns.

        Parameters
        ----------
        slide_id : str
        x, y : float
            A level-0 position in the tile.
        classes : iterable of str
            Names or abbreviations; none takes the tile's label back.
        reader : str, optional
            Who says so.
        source : {"click", "rectangle", "review", "import"}, optional

        Returns
        -------
        Tile

        Raises
        ------
        LabelError
            For a position beside the slide or an unknown class.
        ProjectReadOnlyError
        """
        tile = self.tile_at(slide_id, x, y)
        if tile is None:
            raise LabelError(
                f"The position {x:g}, {y:g} is beside the slide {slide_id}; nothing was labelled."
            )
        self.label_tiles([tile], classes, reader, source=source)
        return tile

    def label_tiles(
        self, tiles: Sequence[Tile], classes: Iterable[str], reader: str = "", *, source: Source = "rectangle"
    ) -> None:
        """Say that many tiles hold the same, as one decision that one undo takes back; see :meth:`label`."""
        classes = frozenset([classes] if isinstance(classes, str) else classes)
        self.decide([(tile, classes) for tile in tiles], reader, source=source)

    def decide(
        self, said: Sequence[tuple[Tile, Iterable[str]]], reader: str = "", *, source: Source = "click"
    ) -> None:
        """Say what tiles hold, each its own, as one decision that one undo takes back; see :meth:`label`."""
        wanted = [(tile, self._present(classes)) for tile, classes in said]
        with self._mutex:
            self.require_writable()
            time = now()
            for slide_id in dict.fromkeys(tile.slide_id for tile, _ in wanted):
                log = self.log(slide_id)
                held = {(d.tile, d.reader): d.line for d in in_force(log.decisions())}
                lines = []
                for tile, present in wanted:
                    if tile.slide_id != slide_id:
                        continue
                    key = (round(tile.x, 4), round(tile.y, 4))
                    before = held.get(((round(key[0]), round(key[1])), " ".join(reader.split())))
                    if not any(present) and before is None:
                        continue  # there is nothing to take back
                    lines.append(
                        Decision(
                            line=0,
                            time=time,
                            reader=reader,
                            x=tile.x,
                            y=tile.y,
                            side=tile.side,
                            mpp=self.mpp,
                            labels=present,
                            source=source,
                            cancels=None if any(present) else before,
                        )
                    )
                log.append(lines)

    def undo(self, reader: str | None = None, slide_id: str | None = None) -> list[Tile]:
        """Take the last decision back, with all tiles that it was about; again and again, as far as there are any.

        Parameters
        ----------
        reader : str, optional
            Only this person's decisions.
        slide_id : str, optional
            Only on this slide; default: wherever the last one was made.

        Returns
        -------
        list of Tile
            The tiles whose label changed; empty when nothing was left to take back.
        """
        with self._mutex:
            self.require_writable()
            last: dict[str, list[Decision]] = {}
            for name in self.slides if slide_id is None else (slide_id,):
                if found := last_action(self.log(name).decisions(), reader):
                    last[name] = found
            if not last:
                return []
            newest = max(found[-1].time for found in last.values())
            tiles = []
            for name, found in last.items():
                if found[-1].time != newest:
                    continue
                time = now()
                self.log(name).append(
                    [replace(d, line=0, time=time, labels=None, cancels=d.line) for d in found]
                )
                grid = self.grid(name)
                tiles += [t for d in found if (t := _tile(name, grid, d)) is not None]
            return tiles

    def labels(self, slide_id: str | None = None) -> list[TileLabel]:
        """Return the labels in force, of one slide or of all: per tile and reader one frozen row, oldest first.

        Raises
        ------
        LabelError
            When a log is damaged; the message names the line.
        """
        rows = []
        for name in self.slides if slide_id is None else (slide_id,):
            test = set(self.description.test.get(name, ()))
            grid = self.grid(name)
            for decision in in_force(self.log(name).decisions()):
                tile = _tile(name, grid, decision)
                present = decision.labels or ()
                if tile is None:
                    raise LabelError(
                        f"{self.log(name).path}: line {decision.line} lies beside the slide or is of tiles of another "
                        f"size than the project's {self.tile} px at {self.mpp:g} µm; correct it."
                    )
                rows.append(
                    TileLabel(
                        tile=tile,
                        classes=tuple(n for n, held in zip(self.schema.names, present, strict=True) if held),
                        present=present,
                        reader=decision.reader,
                        time=decision.time,
                        source=decision.source,
                        line=decision.line,
                        test=tile.place in test,
                    )
                )
        return rows

    def log(self, slide_id: str) -> LabelLog:
        """Return the label log of a slide."""
        if slide_id not in self._logs:
            self.entry(slide_id)
            path = self.folder / "labels" / f"{slide_id}.csv"
            self._logs[slide_id] = LabelLog(path, len(self.schema), self.description.class_counts)
        return self._logs[slide_id]

    def _present(self, classes: Iterable[str]) -> tuple[bool, ...]:
        known = {n.casefold(): i for i, c in enumerate(self.schema.classes) for n in (c.name, c.abbreviation)}
        present = [False] * len(self.schema)
        for name in [classes] if isinstance(classes, str) else classes:
            if name.casefold() not in known:
                raise LabelError(
                    f"{name!r} is no class of this project; it has {', '.join(self.schema.names)}."
                )
            present[known[name.casefold()]] = True
        return tuple(present)


def now() -> str:
    """Return the time as decisions tell it: ISO 8601 in UTC, with microseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


def _tile(slide_id: str, grid: TileGrid, decision: Decision) -> Tile | None:
    """Return the tile that a decision is about; None beside the slide, or when its tiles had another size."""
    half = decision.side / 2
    tile = tile_at(slide_id, grid, decision.x + half, decision.y + half)
    if tile is None or abs(tile.side - decision.side) > 0.02 * tile.side:
        return None
    return tile
