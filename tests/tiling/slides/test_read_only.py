"""Slides on archives that nobody may write to: nothing beside them is made, touched or locked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from wsss_dicom_slides import write_dicom_slide

from tiling.batch import find_jobs
from tiling.slides import open_slide

PIXELS = np.random.default_rng(0).integers(0, 255, (128, 160, 3)).astype(np.uint8)


def tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", PIXELS, photometric="rgb", tile=(64, 64))
    return folder / "a.tif"


def png(folder: Path) -> Path:
    Image.fromarray(PIXELS).save(folder / "a.png")
    return folder / "a.png"


def dicom(folder: Path) -> Path:
    return write_dicom_slide(folder / "a", PIXELS)


def ome_zarr(folder: Path) -> Path:
    group = zarr.open_group(folder / "a.zarr", mode="w")
    group.create_array("0", data=PIXELS.transpose(2, 0, 1), chunks=(3, 64, 64))
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": [{"name": a} for a in "cyx"], "datasets": [{"path": "0"}]}],
    }
    return folder / "a.zarr"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "archive"
    folder.mkdir()
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what would show that something was written: names, sizes, times of change."""
    found = ((path, path.stat()) for path in (folder, *folder.rglob("*")))
    return {str(path): (facts.st_mtime_ns, facts.st_size) for path, facts in found}


@pytest.mark.parametrize("make", [tiff, png, dicom, ome_zarr])
def test_a_read_only_folder_is_read_and_left_alone(archive: Path, make: Callable[[Path], Path]) -> None:
    path = make(archive)
    for each in (*archive.rglob("*"), archive):
        each.chmod(0o555 if each.is_dir() else 0o444)
    before = state(archive)
    if make is not png:
        assert [job.path for job in find_jobs([archive])] == [path]
    with open_slide(path, mpp=0.5) as slide:
        assert slide.read(0, 0, 160, 128).shape == (128, 160, 3)
        slide.thumbnail(64)
        assert slide.identity
    assert state(archive) == before
    assert [each.name for each in archive.iterdir()] == [path.name]
