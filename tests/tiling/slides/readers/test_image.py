"""PNG and JPEG: EXIF, transparency, grey, size cap, damage."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tiling.errors import SlideError
from tiling.slides.open import open_slide


def noise(height: int, width: int, channels: int = 3) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(40, 64)).save(path, exif=exif, quality=95)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, *slide.dimensions), upright)


def test_transparency_is_white_and_grey_is_told(tmp_path: Path) -> None:
    pixels = noise(20, 30, 4)
    pixels[:, :10, 3], pixels[:, 10:, 3] = 0, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png") as slide:
        got = slide.read(0, 0, 30, 20)
    assert (got[:, :10] == 255).all()
    np.testing.assert_array_equal(got[:, 10:], pixels[:, 10:, :3])
    Image.fromarray(pixels[..., 0]).save(tmp_path / "b.png")
    with open_slide(tmp_path / "b.png") as slide:
        assert any("grey" in warning for warning in slide.warnings)
        np.testing.assert_array_equal(slide.read(0, 0, 30, 20)[..., 1], pixels[..., 0])


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(SlideError, match=r"deep\.png.*16-bit"):
        open_slide(tmp_path / "deep.png")


def test_sixteen_bits_of_colour_are_refused_too(tmp_path: Path) -> None:
    """Pillow reads the upper halves alone: of 12 bits in 16 nothing is left."""
    rows = b"".join(b"\0" + (row.astype(">u2") << 4).tobytes() for row in noise(9, 8))

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 9, 16, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(png)
    with pytest.raises(SlideError, match=r"deep\.png has 16-bit pixels"):
        open_slide(tmp_path / "deep.png")


@pytest.mark.parametrize(("dpi", "mpp"), [(50_800.0, 0.5), (25_400.0, None), (72.0, 0.5)])
def test_exif_may_contradict_the_jpeg(tmp_path: Path, dpi: float, mpp: float | None) -> None:
    exif = Image.Exif()
    exif[282] = exif[283] = dpi
    exif[296] = 2
    Image.fromarray(noise(40, 64)).save(tmp_path / "a.jpg", dpi=(50_800, 50_800), exif=exif)
    with open_slide(tmp_path / "a.jpg") as slide:
        assert slide.mpp == mpp
        assert {w.statement.source for w in slide.statements} == {"JPEG dpi", "EXIF XResolution"}


def test_a_picture_too_large_to_hold_names_the_cap_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(noise(50, 50)).save(tmp_path / "large.png")
    monkeypatch.setattr("tiling.slides.readers.image.MAX_PIXELS", 2000)
    with pytest.raises(SlideError, match=r"large\.png.*megapixels.*vips tiffsave"):
        open_slide(tmp_path / "large.png")
    # Pillow's own cap, which it raises while it opens the file.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(SlideError, match=r"large\.png.*vips tiffsave"):
        open_slide(tmp_path / "large.png")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_cut_picture_is_one_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise(200, 200)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SlideError, match=r"cut\."):
        open_slide(path)


def test_a_png_may_state_its_resolution(tmp_path: Path) -> None:
    Image.fromarray(noise(20, 20)).save(tmp_path / "a.png", dpi=(50_800, 50_800))
    with open_slide(tmp_path / "a.png") as slide:
        assert slide.mpp == pytest.approx(0.5, rel=1e-3)
        assert slide.resolution is not None
        assert slide.resolution.source == "PNG dpi"
    Image.fromarray(noise(20, 20)).save(tmp_path / "b.jpg", dpi=(300, 300))
    with open_slide(tmp_path / "b.jpg") as slide:
        assert slide.mpp is None


def test_a_large_picture_is_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's own limit is below ours; nobody needs to read of bombs on the way to a slide."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    Image.new("RGB", (80, 80)).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png", mpp=0.5) as slide:
        assert slide.dimensions == (80, 80)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "P with a transparent colour", "RGBA", "LA", "CMYK"])
def test_strips_hold_what_the_whole_holds(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (45, 31, 4), np.uint8)
    options: dict[str, Any] = {}
    if mode.startswith("P"):
        image = Image.fromarray(pixels[..., :3]).quantize(16)
        options = {"transparency": 3} if mode != "P" else {}
    else:
        image = Image.fromarray(pixels).convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(path, **options)
    with Image.open(path) as opened:
        rgba = opened.convert("RGBA") if mode != "CMYK" else opened.convert("RGB").convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    expected = np.asarray(Image.alpha_composite(white, rgba).convert("RGB")).astype(int)
    for rows in (1, 7, 45, 256):
        monkeypatch.setattr("tiling.slides.readers.image._STRIP", rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a grey picture is no colour scan
            with open_slide(path, mpp=0.5) as slide:
                found = slide.read_level(0, 0, 0, 31, 45)
        assert np.abs(found.astype(int) - expected).max() <= 1, rows
