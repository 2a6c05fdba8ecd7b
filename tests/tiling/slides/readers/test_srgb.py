"""ICC conversion: off unless asked for, right when it is, and never a tint on white."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tiling.errors import SlideError
from tiling.slides.open import open_slide
from tiling.slides.readers.array import ArrayReader
from tiling.slides.readers.oriented import oriented
from tiling.slides.readers.srgb import in_srgb
from tiling.slides.slide import Slide


def swapped_profile() -> bytes:
    """An sRGB profile whose red and blue primaries are exchanged: its effect cannot be overlooked."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    for i in range(count):
        entry = 132 + 12 * i
        name = bytes(data[entry : entry + 4])
        if name in (b"rXYZ", b"bXYZ"):
            data[entry : entry + 4] = b"bXYZ" if name == b"rXYZ" else b"rXYZ"
    return bytes(data)


def tinted_profile() -> bytes:
    """A profile whose green primary is its red one: its white is magenta."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    entries = {}
    for i in range(int.from_bytes(data[128:132], "big")):
        entry = 132 + 12 * i
        entries[bytes(data[entry : entry + 4])] = entry
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    data[green + 4 : green + 12] = data[red + 4 : red + 12]
    return bytes(data)


def test_white_stays_white_whatever_the_profile(tmp_path: Path) -> None:
    pixels = np.full((20, 20, 3), 255, np.uint8)
    pixels[:, :10] = 254
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=tinted_profile())
    with open_slide(tmp_path / "a.png", icc=True) as slide:
        got = slide.read(0, 0, 20, 20)
    assert (got[:, 10:] == 255).all()
    assert got[0, 0, 1] < 200, "the profile does tint"


@pytest.fixture
def slide_path(tmp_path: Path) -> Path:
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[:, :40], pixels[:, 40:] = (200, 40, 90), (255, 255, 255)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(64, 64), iccprofile=swapped_profile())
    return path


def test_colours_are_as_stored_unless_asked(slide_path: Path) -> None:
    with open_slide(slide_path) as slide:
        assert (slide.read(0, 0, 40, 80) == (200, 40, 90)).all()
        assert not slide.warnings


def test_colours_are_converted_when_asked(slide_path: Path) -> None:
    with open_slide(slide_path, icc=True) as slide:
        got = slide.read(0, 0, 100, 80)
        assert any("ICC" in warning for warning in slide.warnings)
    assert np.abs(got[:, :40].astype(int) - (90, 40, 200)).max() <= 4
    assert (got[:, 40:] == 255).all()


def test_a_damaged_profile_is_refused_only_when_it_is_asked_for(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((9, 9, 3), np.uint8))
    image.save(tmp_path / "a.png", icc_profile=b"nonsense")
    with open_slide(tmp_path / "a.png") as slide:
        slide.read(0, 0, 4, 4)
    with pytest.raises(SlideError, match=r"a\.png.*profile"):
        open_slide(tmp_path / "a.png", icc=True)


def test_a_file_without_profile_is_left_alone(tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 9, 3), 77, np.uint8)).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png", icc=True) as slide:
        assert (slide.read(0, 0, 9, 9) == 77).all()
        assert not slide.warnings


def test_what_a_reader_knows_beside_its_pixels_is_not_lost() -> None:
    """Annotations of Hamamatsu count from the middle of the glass, with converted colours, too."""
    inner = ArrayReader([np.zeros((8, 9, 3), np.uint8)])
    inner.icc_profile = swapped_profile()
    vars(inner).update(beside=("label",), centre_offset_nm=(1.0, 2.0))
    with Slide(in_srgb(inner), 0.5) as slide:
        assert slide.beside == ("label",)
        assert slide.centre_offset_nm == (1.0, 2.0)
    assert Slide(oriented(inner, 6), 0.5).beside == ("label",)
