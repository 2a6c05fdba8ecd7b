"""Paths and files that mean harm, or never meant anything: one sentence, at once, never a wait or a traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiling.batch import find_jobs
from tiling.errors import JobError, SlideError
from tiling.slides import open_slide

PIXELS = np.full((64, 64, 3), 90, np.uint8)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["a.svs", "a.tif", "a.dcm", "IM0001", "a.png", "a.zarr"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(SlideError, match="pipe"):
        open_slide(tmp_path / name)
    with pytest.raises(JobError, match="holds no slide"):
        find_jobs([tmp_path])


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("a.png", "PIL.Image.Image.load"),
        ("a.tif", "tifffile.TiffFile.__init__"),
        ("a.tif", "tifffile.TiffPage.decode"),
        ("a.zarr", "tiling.slides.readers.ome_zarr._opened"),
    ],
)
def test_no_slide_is_blamed_for_lacking_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 192. KiB")

    path = tmp_path / name
    if name == "a.zarr":
        path.mkdir()
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {"ome": {}}}')
    elif name == "a.png":
        Image.fromarray(PIXELS).save(path)
    else:
        tifffile.imwrite(
            path, np.kron(PIXELS, np.ones((8, 8, 1), np.uint8)), photometric="rgb", tile=(128, 128)
        )
    with monkeypatch.context() as here, pytest.raises(SlideError, match="not enough memory") as raised:  # noqa: PT012
        here.setattr(library, lacking)
        with open_slide(path) as slide:
            slide.read(0, 0, 64, 64)
    assert "damaged" not in str(raised.value)


def test_a_device_is_no_slide() -> None:
    with pytest.raises(SlideError, match="device"):
        open_slide("/dev/null")


@pytest.mark.parametrize("path", ["a\0b.svs", "x" * 300 + ".svs"])
def test_paths_that_cannot_be(path: str) -> None:
    with pytest.raises(SlideError, match="check the path"):
        open_slide(path)
    with pytest.raises(JobError):
        find_jobs([path])


def test_links_that_go_round_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.svs").symlink_to("a.svs")
    with pytest.raises(SlideError, match=r"a\.svs cannot be read"):
        open_slide(tmp_path / "a.svs")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep names in Unicode")
@pytest.mark.parametrize("suffix", [b".tif", b".png", b".svs"])
def test_a_name_that_is_no_utf_8(tmp_path: Path, suffix: bytes) -> None:
    tifffile.imwrite(tmp_path / "x.tif", PIXELS, photometric="rgb")
    path = os.fsencode(tmp_path) + b"/\xe4" + suffix
    Path(os.fsdecode(path)).write_bytes((tmp_path / "x.tif").read_bytes())
    if suffix == b".png":
        with pytest.raises(SlideError):
            open_slide(os.fsdecode(path).replace(".png", ".gone"))
    with open_slide(os.fsdecode(path)) as slide:
        assert slide.dimensions == (64, 64)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may read everything")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb")
    path.chmod(0)
    with pytest.raises(SlideError, match="Permission denied"):
        open_slide(path)


@pytest.mark.parametrize(
    "name", ["a.svs", "a.tif", "a.dcm", "a.png", "a.jpg", "a.ndpi", "a.mrxs", "a.qptiff"]
)
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"II*\0", b"MM\0*", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II+\0\x08\0\0\0"]
)
def test_stubs_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SlideError) as failure:
        open_slide(tmp_path / name)
    assert "\n" not in str(failure.value)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ifd_loop.tif", "loop"),
        ("huge_height.tif", "px a side"),
        ("float_rowsperstrip.tif", "rows per strip"),
    ],
)
def test_hostile_files(shared_dir: Path, name: str, words: str) -> None:
    with pytest.raises(SlideError, match=words):
        open_slide(shared_dir / "findings" / "hostile" / name)


@pytest.mark.shared
def test_a_damaged_profile_matters_only_to_those_who_use_it(shared_dir: Path) -> None:
    path = shared_dir / "findings" / "hostile" / "icc_garbage.svs"
    with open_slide(path) as slide:
        assert slide.read(0, 0, 64, 64).shape == (64, 64, 3)
    with pytest.raises(SlideError, match="without ICC"):
        open_slide(path, icc=True)
