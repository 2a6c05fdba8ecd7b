"""What ``project.json`` says: classes, scale, encoder and slides, as frozen data with a format version."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiling.classes import ClassSchema
from tiling.errors import DataError, ProjectError, disk_errors_as
from tiling.files import read_json, write_json_atomic
from tiling.geometry import Box
from tiling.grid import TileGrid

__all__ = ["FORMAT_VERSION", "PROJECT_JSON", "EncoderRef", "ProjectFile", "SlideEntry"]

FORMAT_VERSION = 1
PROJECT_JSON = "project.json"

Place = tuple[int, int]
"""Row and column of a tile."""


@dataclass(frozen=True)
class EncoderRef:
    """The frozen encoder of a project.

    Attributes
    ----------
    name : str
        ``imagenet:efficientnet-lite0``, or a bundle: its name or folder.
    sha256 : str
        Digest of its weights.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class SlideEntry:
    """One slide of a project.

    Attributes
    ----------
    slide_id : str
    path : str
        As it is stored: relative to the project's folder with forward slashes, absolute on another drive.
    absolute : str
        Where it lay when it was added; tried when it is not where ``path`` says.
    identity : mapping
        As :attr:`tiling.slides.Slide.identity`.
    mpp : float
        µm per level-0 pixel.
    bounds : Box
        Scanned area in level-0 pixels.
    case : str
        The patient or block; slides of one case are never on both sides of a cross-validation.
    mpp_given : bool
        Whether a person gave ``mpp``, because the file does not say it or says it wrongly.
    """

    slide_id: str
    path: str
    absolute: str
    identity: Mapping[str, Any]
    mpp: float
    bounds: Box
    case: str
    mpp_given: bool = False

    def find(self, folder: Path) -> Path:
        """Return where the slide lies now: from the project's folder, else where it was when it was added."""
        here = folder / self.path
        there = Path(self.absolute)
        return there if not here.exists() and there.exists() else here

    def is_same(self, identity: Mapping[str, Any]) -> bool:
        """Whether a file is this slide; a copy or another name is no difference, other content is."""
        return all(self.identity.get(key) == identity.get(key) for key in _SAME)


_SAME = ("dimensions", "size_bytes", "quick_hash")


@dataclass(frozen=True)
class ProjectFile:
    """The content of ``project.json``.

    Attributes
    ----------
    name : str
    schema : ClassSchema
    tile : int
        Side of a tile in pixels.
    mpp : float
        µm per pixel at which tiles are looked at.
    encoder : EncoderRef
    reduction : str
        Digest of ``reduction.npz``; empty before the first slide was prepared.
    slides : tuple of SlideEntry
    test : mapping of str to tuple of (row, column)
        Tiles per slide that are set aside: they never train.
    class_counts : (int, int)
        The fewest and the most classes that the project has had: a label names at least and at most so many.
    """

    name: str
    schema: ClassSchema
    tile: int
    mpp: float
    encoder: EncoderRef
    reduction: str = ""
    slides: tuple[SlideEntry, ...] = ()
    test: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)
    class_counts: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.class_counts == (0, 0):  # never changed
            object.__setattr__(self, "class_counts", (len(self.schema), len(self.schema)))

    def slide(self, slide_id: str) -> SlideEntry:
        """Return a slide's entry.

        Raises
        ------
        ProjectError
            When the project has no such slide.
        """
        for entry in self.slides:
            if entry.slide_id == slide_id:
                return entry
        known = ", ".join(entry.slide_id for entry in self.slides) or "none yet"
        raise ProjectError(f"The project {self.name!r} has no slide {slide_id!r}; it has {known}.")

    def grid(self, slide_id: str) -> TileGrid:
        """Return the lattice of a slide: tiles side by side, none shared."""
        entry = self.slide(slide_id)
        return TileGrid.cover(entry.bounds, entry.mpp, self.mpp, self.tile, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "schema": self.schema.to_dict(),
            "class_counts": list(self.class_counts),
            "tile": self.tile,
            "mpp": self.mpp,
            "encoder": {"name": self.encoder.name, "sha256": self.encoder.sha256},
            "reduction": self.reduction,
            "slides": [
                {
                    "slide_id": s.slide_id,
                    "path": s.path,
                    "absolute": s.absolute,
                    "identity": dict(s.identity),
                    "mpp": s.mpp,
                    "mpp_given": s.mpp_given,
                    "bounds": [s.bounds.x, s.bounds.y, s.bounds.width, s.bounds.height],
                    "case": s.case,
                }
                for s in self.slides
            ],
            "test": {name: [list(place) for place in places] for name, places in self.test.items()},
        }

    def write(self, folder: Path) -> None:
        """Write ``project.json`` atomically.

        Raises
        ------
        ProjectError
            When it cannot be written; the old content is untouched.
        """
        what = f"{folder / PROJECT_JSON} cannot be written"
        with disk_errors_as(ProjectError, what, "mend it and try again"):
            write_json_atomic(folder / PROJECT_JSON, self.to_dict())

    @classmethod
    def read(cls, folder: Path) -> ProjectFile:
        """Read ``project.json``.

        Raises
        ------
        ProjectError
            When the folder is no project, its format is newer than this program, or the file is damaged.
        """
        path = folder / PROJECT_JSON
        try:
            data = read_json(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ProjectError(
                f"{folder} is no project: it holds no {PROJECT_JSON}; make one with `wsss-tile project new`."
            ) from error
        except OSError as error:
            raise ProjectError(f"{path} cannot be read: {error.strerror or error}; mend it.") from error
        except ValueError as error:
            raise ProjectError(f"{path} is not valid JSON ({error}); restore it from a copy.") from error
        version = data.get("format_version") if isinstance(data, dict) else None
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ProjectError(f"{path} has no format_version, so it is no project of this program.")
        if version > FORMAT_VERSION:
            raise ProjectError(
                f"{path} has format version {version}, and this program reads up to {FORMAT_VERSION}; "
                "update napari-wsss."
            )
        try:
            return _parse(data)
        except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
            raise ProjectError(f"{path} is damaged ({error!r}); restore it from a copy.") from error


def absolute_path(slide: Path) -> Path:
    """Return where a slide lies; a link keeps its own name, which is part of the slide's identity."""
    return slide.parent.resolve() / slide.name if slide.name else slide.resolve()


def stored_path(slide: Path, folder: Path) -> str:
    """Return how a slide's place is stored: relative to the project's folder where there is such a way."""
    here = absolute_path(slide)
    try:
        return Path(os.path.relpath(here, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return here.as_posix()


def _parse(data: Mapping[str, Any]) -> ProjectFile:
    tile, mpp = data["tile"], float(data["mpp"])
    if not isinstance(tile, int) or isinstance(tile, bool) or not 16 <= tile <= 8192:
        raise ValueError(f"tile is {tile!r}")
    if not (math.isfinite(mpp) and 0.05 <= mpp <= 100):
        raise ValueError(f"mpp is {mpp}")
    schema = ClassSchema.from_dict(data["schema"])
    least, most = (int(count) for count in data.get("class_counts", [len(schema)] * 2))
    if not 1 <= least <= len(schema) <= most:
        raise ValueError(f"class_counts are {least} and {most} with {len(schema)} classes")
    return ProjectFile(
        name=str(data["name"]),
        schema=schema,
        class_counts=(least, most),
        tile=tile,
        mpp=mpp,
        encoder=EncoderRef(str(data["encoder"]["name"]), str(data["encoder"]["sha256"])),
        reduction=str(data.get("reduction", "")),
        slides=tuple(
            SlideEntry(
                slide_id=str(s["slide_id"]),
                path=str(s["path"]),
                absolute=str(s["absolute"]),
                identity=dict(s["identity"]),
                mpp=float(s["mpp"]),
                bounds=Box(*(int(v) for v in s["bounds"])),
                case=str(s["case"]),
                mpp_given=bool(s.get("mpp_given", False)),
            )
            for s in data["slides"]
        ),
        test={
            str(name): tuple((int(row), int(column)) for row, column in places)
            for name, places in data.get("test", {}).items()
        },
    )
