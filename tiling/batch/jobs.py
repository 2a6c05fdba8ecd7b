"""Which slides a batch runs over: files, folders, globs and manifests become a checked list of jobs."""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tiling.address import address_of, is_address
from tiling.batch.job import SlideJob
from tiling.batch.manifest import read_manifest
from tiling.batch.scan import IMAGE_SUFFIXES, dicom_slides, real, slide_name, slides_below
from tiling.errors import JobError, disk_errors_as
from tiling.files import expanded
from tiling.folders import is_ome_zarr, is_own_export, is_store
from tiling.slides import may_be_dicom, slide_suffixes

__all__ = ["Shard", "SlideJob", "find_jobs"]


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
        number, count = number.strip(), count.strip()
        if not (slash and number.isdecimal() and count.isdecimal() and max(len(number), len(count)) < 10):
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
        Slide files; folders (searched in depth for the suffixes of slides, OME-Zarr and DICOM series); glob
        patterns (``**`` works); manifests ``*.csv``, ``*.tsv`` with columns ``slide_id,path`` and, if wanted,
        ``mpp``, whose relative paths start at the manifest. A file that does not exist stays a job, so that it
        fails alone and by name.
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
    excluded = {real(path) for path in exclude}
    jobs: dict[tuple[str, Path], SlideJob] = {}
    for argument in _once([str(argument) for argument in arguments]):
        with disk_errors_as(JobError, f"{argument} cannot be looked up", "check the path"):
            found = list(_expand(argument, excluded))
        for job in found:
            key = (job.slide_id, real(job.path))
            known = jobs.setdefault(key, job)
            if known.mpp != job.mpp:
                raise JobError(
                    f"Slide {job.path} is named twice with different mpp ({known.mpp} and {job.mpp}); "
                    "keep one of them."
                )
    _refuse_shared_ids(jobs.values())
    return list(jobs.values())


def _expand(argument: str, excluded: Collection[Path]) -> Iterator[SlideJob]:
    if is_address(argument):
        yield SlideJob(Path(address_of(argument)).stem, Path(argument))
        return
    path = expanded(argument, JobError, "Slides: the path")
    if path.suffix.casefold() in (".csv", ".tsv") and not path.is_dir():
        yield from read_manifest(path)
    elif path.is_dir() and not is_ome_zarr(path):
        yield from _in_folder(path, excluded)
    elif not path.exists() and glob.has_magic(argument):
        yield from _matching(argument, excluded)
    else:
        yield _job(path)


def _job(path: Path) -> SlideJob:
    return SlideJob(slide_name(path), path.absolute())


def _in_folder(folder: Path, excluded: Collection[Path]) -> list[SlideJob]:
    jobs = [_job(path) for path in slides_below(folder, excluded, set())]
    if not jobs:
        owner = folder.with_name(folder.name + ".mrxs")
        hint = (
            f"it belongs to {owner.name}: pass that file"
            if owner.exists()
            else "plain images are taken only when named, as in FOLDER/*.png"
        )
        raise JobError(f"Folder {folder} holds no slide; {hint}.")
    return jobs


def _matching(pattern: str, excluded: Collection[Path]) -> list[SlideJob]:
    found = sorted(Path(p) for p in glob.glob(str(Path(pattern).expanduser()), recursive=True))  # noqa: PTH207
    folders = [p for p in found if p.is_dir() and not is_ome_zarr(p)]
    slides = [p for p in found if p not in folders and not is_store(p) and not is_own_export(p)]
    if Path(pattern).suffix in ("", ".*"):  # "*" and "**" also match data files and notes
        known = slide_suffixes() | IMAGE_SUFFIXES
        slides = [p for p in slides if p.suffix.casefold() in known or is_ome_zarr(p) or may_be_dicom(p)]
    jobs = [_job(Path(p)) for p in _once([str(p) for p in slides])]
    for folder in folders:
        jobs += [_job(p) for p in slides_below(folder, excluded, set())]
    if not jobs:
        raise JobError(f"No slide matches {pattern}; check the pattern.")
    return jobs


def _once(arguments: Sequence[str]) -> list[str]:
    """Name each slide once when a shell has expanded ``*`` into all files and folders that it is made of.

    Several DICOM files of one folder become its series; the data folder of an MRXS file goes.
    """
    dicom: dict[Path, list[Path]] = {}
    for argument in dict.fromkeys(arguments):
        path = Path(argument)
        if path.suffix.casefold() != ".csv" and may_be_dicom(path):
            dicom.setdefault(path.parent, []).append(path)
    named = {str(path): folder for folder, files in dicom.items() if len(files) > 1 for path in files}
    companions = {str(Path(a).with_suffix("")) for a in arguments if a.casefold().endswith(".mrxs")}
    once = dict[str, None]()
    for argument in arguments:
        folder = named.get(str(Path(argument)))
        if folder is not None:
            once.update(dict.fromkeys(str(p) for p in _series_of(folder, dicom[folder])))
        elif str(Path(argument)) not in companions:
            once[argument] = None
    return list(once)


def _series_of(folder: Path, files: Sequence[Path]) -> list[Path]:
    """Return the DICOM slides that files of one folder belong to, as a scan of that folder would name them."""
    in_folder = list(slides_below(folder, {real(p) for p in folder.iterdir() if p.is_dir()}, set()))
    if in_folder == [folder]:
        return in_folder
    return dicom_slides(folder, sorted(files), alone=False)


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
