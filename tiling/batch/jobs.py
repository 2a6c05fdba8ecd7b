"""Which slides a batch runs over: files, folders, globs and manifests become a checked list of jobs."""

from __future__ import annotations

import csv
import glob
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tiling.errors import JobError
from tiling.folders import is_ome_zarr, is_store

__all__ = ["SLIDE_SUFFIXES", "Shard", "SlideJob", "find_jobs"]

#: File suffixes that a folder scan takes for slides. Plain images (PNG, JPEG) are slides only when they are
#: named, because folders of slides are full of label and thumbnail pictures.
SLIDE_SUFFIXES = frozenset(
    {
        ".svs",
        ".tif",
        ".tiff",
        ".btf",
        ".ndpi",
        ".mrxs",
        ".scn",
        ".bif",
        ".svslide",
        ".vms",
        ".vmu",
        ".czi",
        ".dcm",
    }
)
_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".jp2"})
_FORBIDDEN_IN_IDS = frozenset('/\\:*?"<>|\0')


@dataclass(frozen=True)
class SlideJob:
    """One slide of a batch.

    Attributes
    ----------
    slide_id : str
        Name of the result: ``<slide_id>.zarr``.
    path : Path
        The slide: a file, or a folder for DICOM and OME-Zarr.
    mpp : float or None
        µm per pixel from the manifest; None leaves it to the slide's own metadata.
    """

    slide_id: str
    path: Path
    mpp: float | None = None


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``count`` of a batch: what one task of a job array works on."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise JobError(
                f"Shard {self.number}/{self.count} does not exist; write K/N with K from 1 to N, such as 1/4."
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``K/N``."""
        number, slash, count = text.partition("/")
        if not (slash and number.strip().isdecimal() and count.strip().isdecimal()):
            raise JobError(f"Shard {text!r} is not K/N with K from 1 to N, such as 1/4.")
        return cls(int(number), int(count))

    def of(self, jobs: Sequence[SlideJob]) -> list[SlideJob]:
        """Return every ``count``-th job from number ``number`` on: shards are disjoint and cover all jobs."""
        return list(jobs[self.number - 1 :: self.count])


def find_jobs(arguments: Iterable[str | Path], *, exclude: Collection[Path] = ()) -> list[SlideJob]:
    """Expand what a user named into jobs, in a fixed order and with unique slide ids.

    Parameters
    ----------
    arguments : iterable of str or Path
        Slide files; folders (searched in depth for `SLIDE_SUFFIXES`, OME-Zarr and DICOM folders); glob
        patterns (``**`` works); manifests ``*.csv`` with columns ``slide_id,path`` and, if wanted, ``mpp``,
        whose relative paths start at the manifest. A file that does not exist stays a job, so that it fails
        alone and by name.
    exclude : collection of Path
        Folders that are never searched, such as the output folder.

    Returns
    -------
    list of SlideJob
        Arguments in the order given, the contents of a folder or glob sorted; a slide named twice is one job.

    Raises
    ------
    JobError
        When two slides would get the same id, a pattern or folder holds no slide, or a manifest is malformed.
    """
    excluded = {_real(path) for path in exclude}
    jobs: dict[tuple[str, Path], SlideJob] = {}
    for argument in _once([str(argument) for argument in arguments]):
        for job in _expand(argument, excluded):
            key = (job.slide_id, _real(job.path))
            known = jobs.setdefault(key, job)
            if known.mpp != job.mpp:
                raise JobError(
                    f"Slide {job.path} is named twice with different mpp ({known.mpp} and {job.mpp}); "
                    "keep one of them."
                )
    _refuse_shared_ids(jobs.values())
    return list(jobs.values())


def _expand(argument: str, excluded: Collection[Path]) -> Iterator[SlideJob]:
    path = Path(argument).expanduser()
    if path.suffix.casefold() == ".csv" and not path.is_dir():
        yield from _read_manifest(path)
    elif path.is_dir() and not is_ome_zarr(path):
        yield from _in_folder(path, excluded)
    elif not path.exists() and glob.has_magic(argument):
        yield from _matching(argument, excluded)
    else:
        yield _job(path)


def _job(path: Path) -> SlideJob:
    # A DICOM folder's name has no suffix to lose ("case.1"); an OME-Zarr folder is named like a file.
    whole = path.is_dir() and not is_ome_zarr(path)
    absolute = path.absolute()
    return SlideJob(absolute.name if whole else absolute.stem, absolute)


def _in_folder(folder: Path, excluded: Collection[Path]) -> list[SlideJob]:
    jobs = [_job(path) for path in _slides_below(folder, excluded, set())]
    if not jobs:
        owner = folder.with_name(folder.name + ".mrxs")
        hint = (
            f"it belongs to {owner.name}: pass that file"
            if owner.exists()
            else "plain images are taken only when named, as in FOLDER/*.png"
        )
        raise JobError(f"Folder {folder} holds no slide; {hint}.")
    return jobs


def _slides_below(folder: Path, excluded: Collection[Path], seen: set[Path]) -> Iterator[Path]:
    """Yield the slides of a folder and then of its subfolders, each sorted by name."""
    real = _real(folder)
    if real in excluded or real in seen:  # `seen` ends loops of symbolic links
        return
    seen.add(real)
    try:
        entries = sorted((e for e in folder.iterdir() if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise JobError(f"Folder {folder} cannot be listed: {error.strerror or error}.") from error
    files = [e for e in entries if e.suffix.casefold() in SLIDE_SUFFIXES and e.is_file()]
    if files and all(e.suffix.casefold() == ".dcm" for e in files):
        yield folder  # the instances of a DICOM series are one slide
    else:
        yield from files
    companions = {e.stem for e in files if e.suffix.casefold() == ".mrxs"}  # a.mrxs keeps its data in a/
    for entry in entries:
        if entry.name in companions or not entry.is_dir():
            continue
        if not is_ome_zarr(entry):
            yield from _slides_below(entry, excluded, seen)
        elif not is_store(entry):
            yield entry


def _matching(pattern: str, excluded: Collection[Path]) -> list[SlideJob]:
    found = sorted(Path(p) for p in glob.glob(str(Path(pattern).expanduser()), recursive=True))  # noqa: PTH207
    folders = [p for p in found if p.is_dir() and not is_ome_zarr(p)]
    slides = [p for p in found if p not in folders and not is_store(p)]
    if Path(pattern).suffix in ("", ".*"):  # "*" and "**" also match data files and notes
        known = SLIDE_SUFFIXES | _IMAGE_SUFFIXES
        slides = [p for p in slides if p.suffix.casefold() in known or is_ome_zarr(p)]
    jobs = [job for p in _once([str(p) for p in slides]) for job in _expand(p, excluded)]
    for folder in folders:
        jobs += [_job(p) for p in _slides_below(folder, excluded, set())]
    if not jobs:
        raise JobError(f"No slide matches {pattern}; check the pattern.")
    return jobs


def _once(arguments: Sequence[str]) -> list[str]:
    """Name each slide once when a shell has expanded ``*`` into all files and folders that it is made of.

    Several DICOM files of one folder become that folder; the data folder of an MRXS file goes.
    """
    parents = Counter(str(Path(a).parent) for a in arguments if a.casefold().endswith(".dcm"))
    companions = {str(Path(a).with_suffix("")) for a in arguments if a.casefold().endswith(".mrxs")}
    once = dict[str, None]()
    for argument in arguments:
        parent = str(Path(argument).parent)
        if argument.casefold().endswith(".dcm") and parents[parent] > 1:
            once[parent] = None
        elif str(Path(argument)) not in companions:
            once[argument] = None
    return list(once)


def _read_manifest(path: Path) -> list[SlideJob]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = {"slide_id", "path"} - set(rows.fieldnames or ())
            if missing:
                raise JobError(
                    f"Manifest {path} has no column {' and '.join(sorted(missing))}; "
                    "its first line must name slide_id,path and, if wanted, mpp."
                )
            jobs = [_manifest_job(path, rows.line_num, row) for row in rows]
    except OSError as error:
        raise JobError(f"Manifest {path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise JobError(f"Manifest {path} is not a CSV file in UTF-8: {error}.") from error
    if not jobs:
        raise JobError(f"Manifest {path} names no slide.")
    return jobs


def _manifest_job(manifest: Path, line: int, row: dict[str, str | None]) -> SlideJob:
    where = f"Manifest {manifest}, line {line}:"
    slide_id, path, mpp = ((row.get(key) or "").strip() for key in ("slide_id", "path", "mpp"))
    if not path:
        raise JobError(f"{where} the path is empty.")
    if slide_id in ("", ".", "..") or _FORBIDDEN_IN_IDS & set(slide_id):
        raise JobError(
            f"{where} slide_id {slide_id!r} cannot be a file name; use letters, digits, '-', '_' and '.'."
        )
    try:
        value = float(mpp) if mpp else None
    except ValueError:
        value = math.nan
    if value is not None and not (math.isfinite(value) and value > 0):
        raise JobError(f"{where} mpp {mpp!r} is not a positive number of µm per pixel.")
    return SlideJob(slide_id, (manifest.absolute().parent / Path(path).expanduser()), value)


def _refuse_shared_ids(jobs: Iterable[SlideJob]) -> None:
    """Refuse ids that would be one folder, also where the file system ignores capitals."""
    first: dict[str, SlideJob] = {}
    for job in jobs:
        other = first.setdefault(job.slide_id.casefold(), job)
        if other is not job:
            raise JobError(
                f"Slides {other.path} and {job.path} would both be written as {job.slide_id}.zarr; "
                "give them different ids in a manifest (columns slide_id,path) or different output folders."
            )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
