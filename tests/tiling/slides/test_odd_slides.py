"""Odd, tiny, damaged and wrong files: a right answer or one clear sentence, never a crash, a hang or a traceback."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tiling.errors import SlideError, WsssError
from tiling.slides.open import open_slide


@dataclass(frozen=True)
class Odd:
    """What a file of shared/slides/odd must do: open with these dimensions and mpp, or fail with these words."""

    dimensions: tuple[int, int] | None = None
    mpp: float | None = None
    error: str = ""
    on: str = "open"  # or "read"


ODD = {
    "boxes.tiff": Odd((300, 250)),
    "dataset.ome.tif": Odd(error="int64"),
    "grey10kx5k.tif": Odd((10_000, 5_000)),
    "sm_annotations.dcm": Odd(error="is not a slide"),
    "sm_image_grayscale.dcm": Odd(error="BitsAllocated value 16"),
    "small.svs": Odd((16, 16), 0.499),
    "small_la.tiff": Odd(error="2 channels"),
    "test_orient6.tif": Odd((180, 120)),
    "unopenable.tiff": Odd(error="compression 52479"),
    "unreadable.svs": Odd((16, 16), 0.499, error="damaged", on="read"),
    "zero_gi.tif": Odd(error="without a picture"),
}


def assert_one_sentence(error: Exception, path: Path) -> None:
    text = str(error)
    assert path.name in text
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text.replace(str(path), "")) < 300


@pytest.mark.shared
@pytest.mark.parametrize("name", ODD)
def test_odd_files(shared_dir: Path, name: str) -> None:
    path, odd = shared_dir / "slides" / "odd" / name, ODD[name]
    if odd.dimensions is None:
        with pytest.raises(SlideError, match=re.escape(odd.error)) as failure:
            open_slide(path)
        assert_one_sentence(failure.value, path)
        return
    with open_slide(path) as slide:
        assert slide.dimensions == odd.dimensions
        assert slide.mpp == odd.mpp
        if odd.on == "read":
            for _ in range(2):
                with pytest.raises(SlideError, match=odd.error) as failure:
                    slide.read(0, 0, 16, 16)
                assert_one_sentence(failure.value, path)
            return
        assert slide.read(-3, -3, 50, 40).shape == (40, 50, 3)
        assert max(slide.thumbnail(32).shape[:2]) <= 32


@pytest.mark.shared
def test_no_odd_file_is_forgotten(shared_dir: Path) -> None:
    assert {f.name for f in (shared_dir / "slides" / "odd").iterdir()} == set(ODD)


@pytest.mark.shared
def test_the_turned_slide_is_upright(shared_dir: Path) -> None:
    """OpenSlide shows this file lying on its side."""
    with open_slide(shared_dir / "slides" / "odd" / "test_orient6.tif") as slide:
        pixels = slide.read(0, 0, 180, 120)[..., 0] < 128
    assert pixels[25, 30:150].all(), "the long bar runs along the top"
    assert pixels[60, 160]
    assert not pixels[60, 20]


@pytest.mark.shared
def test_a_grey_pyramid_of_one_level_is_read_in_parts(shared_dir: Path) -> None:
    with open_slide(shared_dir / "slides" / "odd" / "grey10kx5k.tif") as slide:
        small = slide.thumbnail(100)
        assert small.shape == (50, 100, 3)
        whole = slide.read(0, 0, 1000, 500)
        assert abs(float(small[:5, :10].mean()) - float(whole.mean())) < 2


@pytest.mark.shared
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize(
    "source", ["cmu-1-small-region.svs", "odd/boxes.tiff", "slide_with_ink.jpeg", "dicom"]
)
def test_cut_off_copies(shared_dir: Path, tmp_path: Path, share: float, source: str) -> None:
    """Whatever still opens must fail with a sentence where it is cut, and never read made-up pixels."""
    slides = shared_dir / "slides"
    original = max((slides / "cmu-1-small-region-dicom").iterdir(), key=lambda f: f.stat().st_size)
    if source != "dicom":
        original = slides / source
    data = original.read_bytes()
    path = tmp_path / original.name
    path.write_bytes(data[: int(len(data) * share)])
    try:
        with open_slide(path) as slide, open_slide(original) as intact:
            width, height = slide.dimensions
            assert slide.dimensions == intact.dimensions
            for y in range(0, height, 500):
                got, expected = slide.read(0, y, width, 500), intact.read(0, y, width, 500)
                np.testing.assert_array_equal(got, expected)
    except WsssError as error:
        assert_one_sentence(error, path)


@pytest.mark.parametrize("suffix", [".svs", ".tif", ".ndpi", ".mrxs", ".dcm", ".png", ".zarr", ""])
@pytest.mark.parametrize(
    "content", [b"", b"I am no slide.\n" * 20, b"II*\0", b"MM\0*\xff\xff\xff\xff" * 9, bytes(5000)]
)
def test_files_that_are_no_slides(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"case 12{suffix}"
    path.write_bytes(content)
    with pytest.raises(SlideError) as failure:
        open_slide(path)
    assert_one_sentence(failure.value, path)


def test_missing_paths_and_folders_without_a_slide(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.svs", tmp_path / "missing" / "a.svs"):
        with pytest.raises(SlideError, match="does not exist") as failure:
            open_slide(path)
        assert_one_sentence(failure.value, path)
    folder = tmp_path / "empty folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing")
    with pytest.raises(SlideError) as failure:
        open_slide(str(folder))
    assert_one_sentence(failure.value, folder)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are another matter there")
def test_a_file_one_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.tif"
    path.write_bytes(b"II*\0")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SlideError, match="Permission denied") as failure:
        open_slide(path)
    assert_one_sentence(failure.value, path)


def test_the_interface_alone_loads_no_format_library() -> None:
    """Readers come with the first slide: the command line must answer at once."""
    names = ("openslide", "tifffile", "zarr", "torch", "napari")
    code = f"import sys, tiling.slides.slide; print([m for m in {names} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
