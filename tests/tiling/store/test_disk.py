"""Disks that fill up, folders that cannot be written, slides that vanish: one clear error, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from wsss_toys import ColourPredictor, colourful, tree_bytes

from tiling.engine.drive import run
from tiling.engine.events import BlockWritten, Planned, Progress, TilesDone
from tiling.errors import SlideError, StoreError
from tiling.plan.run_plan import RunOptions
from tiling.slides.open import open_slide
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.lock import StoreLock
from tiling.store.receipt import verify

OPTIONS = RunOptions(mpp=0.5, tissue=None, batch_size=8, probabilities=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of six megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if os.name == "nt" or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("needs root and a kernel that lets us mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_clear_error_and_the_run_resumes(small_disk: Path, tmp_path: Path) -> None:
    image = colourful(500, 400)
    ballast = small_disk / "ballast"
    out = small_disk / "a.zarr"
    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        with pytest.raises(StoreError, match=r"disk is full while writing .*a\.zarr; free some space"):  # noqa: PT012
            for event in run(slide, ColourPredictor(32), out, OPTIONS):
                if isinstance(event, BlockWritten) and event.row == 3:
                    with contextlib.suppress(OSError):
                        ballast.write_bytes(bytes(7 * 2**20))  # to the last byte
        assert not verify(out).ok
        ballast.unlink()
        planned = next(iter(events := run(slide, ColourPredictor(32), out, OPTIONS)))
        assert isinstance(planned, Planned)
        assert planned.rows_done > 0
        list(events)
        assert verify(out).ok
        list(run(slide, ColourPredictor(32), tmp_path / "a.zarr", OPTIONS))
    assert tree_bytes(out) == tree_bytes(tmp_path / "a.zarr")


def test_a_disk_without_room_for_an_empty_store_is_one_clear_error(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(6 * 2**20 - 8192))
    with (
        Slide(ArrayReader(colourful(300, 300), mpp=0.5)) as slide,
        pytest.raises(StoreError, match=r"disk is full while writing .*a\.zarr; free some space"),
    ):
        list(run(slide, ColourPredictor(32), small_disk / "a.zarr", OPTIONS))


def test_a_disk_that_turns_read_only_is_one_clear_error_and_the_run_resumes(small_disk: Path) -> None:
    """As a file server does, or a kernel after an error of the disk."""
    image = colourful(300, 300)
    out = small_disk / "a.zarr"
    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        events = run(slide, ColourPredictor(32), out, OPTIONS)
        for event in events:
            if isinstance(event, TilesDone) and event.row == 3:
                break
        events.close()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        with pytest.raises(StoreError, match=r"a\.zarr cannot be written: Read-only file system"):
            list(run(slide, ColourPredictor(32), out, OPTIONS))
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        planned = next(iter(events := run(slide, ColourPredictor(32), out, OPTIONS)))
        assert isinstance(planned, Planned)
        assert planned.rows_done > 0
        list(events)
    assert verify(out).ok


def test_a_disk_without_room_for_a_name_frees_the_lock(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError):
        ballast.write_bytes(bytes(7 * 2**20))  # to the last byte
    with (
        pytest.raises(StoreError, match=r"disk is full while writing .*a\.zarr"),
        StoreLock(small_disk / "a.zarr"),
    ):
        pass
    ballast.unlink()
    assert not list(small_disk.iterdir())
    with StoreLock(small_disk / "a.zarr"):
        pass


def test_an_output_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        Slide(ArrayReader(colourful(100, 100), mpp=0.5)) as slide,
        pytest.raises(StoreError, match="choose another --out"),
    ):
        list(run(slide, ColourPredictor(32), tmp_path / "file" / "a.zarr", OPTIONS))


def test_a_slide_that_is_cut_off_in_the_middle_fails_clearly_and_resumes_when_it_is_back(
    tmp_path: Path,
) -> None:
    from tiling.synthetic import SyntheticSlide, write_slide

    path = tmp_path / "slide.tif"
    write_slide(path, SyntheticSlide(5000, 2500, seed=3, repeat=512))
    whole = path.read_bytes()
    out = tmp_path / "a.zarr"
    options = RunOptions(mpp=0.5, tissue=None, batch_size=2, read_threads=1, overlap=0)
    with open_slide(path) as slide, pytest.raises(SlideError, match=r"slide\.tif"):  # noqa: PT012
        for event in run(slide, ColourPredictor(64), out, options):
            if isinstance(event, BlockWritten):
                os.truncate(path, 4096)
    path.write_bytes(whole)
    assert (out / "journal").exists()
    # A file that was touched is another slide until somebody says otherwise: its content could have changed.
    with open_slide(path) as slide:
        list(run(slide, ColourPredictor(64), out, options, resume=False))
    assert verify(out).ok


def test_pixels_do_not_depend_on_the_order_of_runs(tmp_path: Path) -> None:
    image = colourful(200, 200)
    trees = []
    for name in ("a", "b"):
        with Slide(ArrayReader(image, mpp=0.5)) as slide:
            list(run(slide, ColourPredictor(32), tmp_path / name / "s.zarr", OPTIONS))
        trees.append(tree_bytes(tmp_path / name / "s.zarr"))
    assert trees[0] == trees[1]
    assert np.array(list(trees[0])).size > 10


def test_a_store_deleted_in_the_middle_is_one_clear_error_and_is_not_made_again(tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    with (  # noqa: PT012
        Slide(ArrayReader(colourful(500, 300), mpp=0.5)) as slide,
        pytest.raises(StoreError, match=r"a\.zarr was deleted or moved"),
    ):
        for number, _ in enumerate(run(slide, ColourPredictor(32), out, OPTIONS)):
            if number == 12:
                out.rename(tmp_path / "moved")
    assert not out.exists()


def test_a_store_taken_away_before_its_receipt_is_not_made_again(tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    with (  # noqa: PT012
        Slide(ArrayReader(colourful(100, 100), mpp=0.5)) as slide,
        pytest.raises(StoreError, match=r"a\.zarr cannot be completed"),
    ):
        for event in run(slide, ColourPredictor(32), out, OPTIONS):
            if isinstance(event, Progress) and event.rows_done == event.rows and out.exists():
                out.rename(tmp_path / "moved")
    assert not out.exists()
