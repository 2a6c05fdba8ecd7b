"""What a long night costs: memory, handles and threads over many slides; large manifests, summaries and folders.

Slides are hard links to one small generated slide, so that nothing but the number grows. The slope of the memory is
fitted over all slides but the first fifth.

    python benchmarks/nights.py --slides 200 --workers 2 --plot docs/img/nights.svg
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from rows import Row, save, table

from napari_wsss.cli.run import SegmentSlide
from napari_wsss.pipeline import Settings
from tiling.batch.cluster import DaskScheduler
from tiling.batch.isolated import one_after_another, run_batch
from tiling.batch.jobs import SlideJob, find_jobs
from tiling.batch.summary import SlideOutcome, Status, Summary

MODEL = "synthetic-demo"


@dataclass(frozen=True)
class Sample:
    """What all processes of the batch hold after a slide: MB of memory, open handles, threads."""

    memory_mb: float
    handles: int
    threads: int

    @classmethod
    def now(cls) -> Sample:
        """Look at this process and those that it has started."""
        own = psutil.Process()
        memory = handles = threads = 0
        for process in (own, *own.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                memory += process.memory_info().rss
                handles += process.num_fds()
                threads += process.num_threads()
        return cls(memory / 2**20, handles, threads)


def many_slides(work: Path, count: int, side: int, workers: int = 0) -> list[Sample]:
    """Segment ``count`` slides as ``wsss-tile run --workers`` does; return what the processes hold after each."""
    from tiling.synthetic import SyntheticSlide, write_slide

    original = work / "slide.tif"
    if not original.exists():
        write_slide(original, SyntheticSlide(side, side, seed=7))
    out = work / "night"
    shutil.rmtree(out, ignore_errors=True)
    slides = work / "slides"
    shutil.rmtree(slides, ignore_errors=True)
    slides.mkdir()
    jobs = []
    for number in range(count):
        os.link(original, slides / f"s{number:04}.tif")
        jobs.append(SlideJob(f"s{number:04}", slides / f"s{number:04}.tif"))
    segment = SegmentSlide(MODEL, Settings(backend="torch"), out)
    samples = []
    schedule = DaskScheduler(workers) if workers else one_after_another
    for outcome in run_batch(jobs, segment, out, schedule=schedule):
        assert outcome.status is Status.DONE, outcome.error
        samples.append(Sample.now())
    return samples


def manifest_seconds(work: Path, count: int) -> float:
    """Return the time from a manifest of ``count`` lines to a list of jobs."""
    manifest = work / "manifest.csv"
    lines = [f"slide-{number},{work / 'slide.tif'},0.5" for number in range(count)]
    manifest.write_text("\n".join(["slide_id,path,mpp", *lines]) + "\n")
    started = time.perf_counter()
    jobs = find_jobs([str(manifest)])
    seconds = time.perf_counter() - started
    assert len(jobs) == count
    return seconds


def summary_ms(work: Path, count: int) -> tuple[float, float]:
    """Return what a slide costs the summary, in ms: the median of the first 500 and of the last 500 of ``count``."""
    path = work / "summary.csv"
    path.unlink(missing_ok=True)
    summary, times = Summary(path), []
    for number in range(count):
        outcome = SlideOutcome(
            f"slide-{number:05}", Path("/s"), Status.DONE, 9, 1.0, {"TUM": 1.0, "STR": 2.0}
        )
        started = time.perf_counter()
        summary.add(outcome)
        times.append(time.perf_counter() - started)
    summary.close()
    return 1000 * float(np.median(times[:500])), 1000 * float(np.median(times[-500:]))


def scan_seconds(work: Path, count: int) -> float:
    """Return the time to find the ten slides in a folder of ``count`` files."""
    folder = work / "crowd"
    if not folder.exists():
        folder.mkdir()
        for number in range(count):
            (folder / f"note-{number:06}.txt").touch()
        for number in range(10):
            os.link(work / "slide.tif", folder / f"slide-{number}.tif")
    started = time.perf_counter()
    jobs = find_jobs([str(folder)])
    seconds = time.perf_counter() - started
    assert len(jobs) == 10
    return seconds


def night_rows(name: str, samples: list[Sample]) -> list[Row]:
    """Say how memory, handles and threads went over all slides but the first fifth."""
    settled = samples[len(samples) // 5 :]
    slope = float(np.polyfit(range(len(settled)), [s.memory_mb for s in settled], 1)[0])
    quarter = max(1, len(settled) // 4)

    def around(count: Callable[[Sample], int]) -> list[str]:
        return [
            f"{np.median([count(s) for s in part]):.0f}" for part in (settled[-quarter:], settled[:quarter])
        ]

    memory = f"{10 * slope:+.2f} MB per 10 slides"
    return [
        Row(f"{name}: memory over {len(samples)} slides", memory, "", "", "≤ 1 MB"),
        Row(f"{name}: open handles", *around(lambda s: s.handles), "", "constant"),
        Row(f"{name}: threads", *around(lambda s: s.threads), "", "constant"),
    ]


def plot(nights: Mapping[str, list[Sample]], path: Path) -> None:
    """Draw the memory over the nights."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 2.6), layout="constrained")
    for name, samples in nights.items():
        axes.plot(range(1, len(samples) + 1), [s.memory_mb for s in samples], linewidth=1, label=name)
    axes.legend(frameon=False)
    axes.set(xlabel="slides done", ylabel="resident memory, MB", ylim=(0, None))
    figure.savefig(path)


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=int, default=200)
    parser.add_argument("--side", type=int, default=700, help="pixels along an edge of a slide")
    parser.add_argument("--workers", type=int, default=2, help="of a second night; 0: none")
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        nights = {"alone": many_slides(work, arguments.slides, arguments.side)}
        if arguments.workers:
            name = f"{arguments.workers} workers"
            nights[name] = many_slides(work, arguments.slides, arguments.side, arguments.workers)
        first, last = summary_ms(work, arguments.lines)
        files, lines = f"{arguments.files:,} files", f"{arguments.lines:,} lines"
        rows = [
            *(row for name, samples in nights.items() for row in night_rows(name, samples)),
            Row(f"manifest of {lines}", f"{manifest_seconds(work, arguments.lines):.2f} s", "", "", "≤ 5 s"),
            Row(
                "summary.csv, a slide", f"{last:.2f} ms", f"{first:.2f} ms", f"{last / first:.2f}", "constant"
            ),
            Row(f"folder of {files}", f"{scan_seconds(work, arguments.files):.1f} s", "", "", ""),
        ]
    print(table(rows))
    if arguments.plot:
        plot(nights, arguments.plot)
    save(rows, arguments.json)


if __name__ == "__main__":
    main()
