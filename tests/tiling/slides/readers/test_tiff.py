"""TIFF: what is converted, what is refused, where the resolution comes from, how much is decoded."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from tiling.byte_cache import ByteCache
from tiling.errors import SlideError
from tiling.slides.open import open_slide
from tiling.slides.readers.tiff import TiffReader, open_reader
from tiling.slides.slide import Slide


def noise(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def write(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    tifffile.imwrite(path, pixels, **({"photometric": "rgb", "tile": (64, 64)} | options))
    return path


def test_grey_levels_are_replicated_and_the_user_is_told(tmp_path: Path) -> None:
    pixels = noise(80, 90)
    with open_slide(write(tmp_path / "a.tif", pixels, photometric="minisblack")) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 90, 80), np.repeat(pixels[..., None], 3, 2))
        assert any("grey" in warning for warning in slide.warnings)
    with open_slide(write(tmp_path / "b.tif", pixels, photometric="miniswhite")) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 90, 80)[..., 0], 255 - pixels)


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    table = noise(3, 256, dtype=np.uint16) * 257
    pixels = noise(80, 90)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="palette", colormap=table, tile=(64, 64))
    with open_slide(path) as slide:
        np.testing.assert_array_equal(
            slide.read(0, 0, 90, 80), (table >> 8).astype(np.uint8)[:, pixels].transpose(1, 2, 0)
        )


@pytest.mark.parametrize(("kind", "dark"), [("unassalpha", 20), ("assocalpha", 20)])
def test_alpha_is_composited_on_white(tmp_path: Path, kind: str, dark: int) -> None:
    pixels = np.full((64, 64, 4), 100, np.uint8)
    pixels[:, :16] = (0, 0, 0, 0)
    pixels[:, 16:32, 3] = 102
    pixels[:, 32:, 3] = 255
    if kind == "assocalpha":
        pixels[:, 16:32, :3] = 40
    with open_slide(write(tmp_path / "a.tif", pixels, extrasamples=[kind])) as slide:
        got = slide.read(0, 0, 64, 64)
    assert (got[:, :16] == 255).all()
    assert np.abs(got[:, 16:32].astype(int) - (100 * 0.4 + 255 * 0.6)).max() <= 1
    assert (got[:, 32:] == 100).all()


@pytest.mark.parametrize(
    ("pixels", "options", "words"),
    [
        (noise(64, 64, 3, dtype=np.uint16), {}, "uint16.*vips msb"),
        (noise(64, 64, dtype=np.uint16), {"photometric": "minisblack"}, "uint16"),
        (noise(64, 64, dtype=np.float32), {"photometric": "minisblack"}, "float32"),
        (noise(64, 64) > 99, {"photometric": "minisblack", "tile": None}, "1-bit"),
        (noise(64, 64, 5), {"photometric": "minisblack", "planarconfig": "contig"}, "5 channels"),
        (noise(64, 64, 4), {"photometric": "separated"}, "SEPARATED.*srgb"),
        (noise(3, 64, 64), {"photometric": "minisblack"}, "3 planes"),
    ],
)
def test_what_the_models_do_not_understand_is_refused_in_a_sentence(
    tmp_path: Path, pixels: NDArray[Any], options: dict[str, Any], words: str
) -> None:
    path = write(tmp_path / "odd.tif", pixels, **options)
    with pytest.raises(SlideError, match=rf"odd\.tif.*{words}"):
        open_slide(path)


def test_three_stains_are_not_rgb_but_red_green_and_blue_are(tmp_path: Path) -> None:
    pixels = noise(3, 70, 80)
    stains = tmp_path / "stains.ome.tif"
    tifffile.imwrite(
        stains,
        pixels,
        photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "CD3", "CD8"]}},
    )
    with pytest.raises(SlideError, match="3 channels"):
        open_slide(stains)
    colours = tmp_path / "colours.ome.tif"
    tifffile.imwrite(
        colours,
        pixels,
        photometric="minisblack",
        tile=(32, 32),
        metadata={"axes": "CYX", "Channel": {"Name": ["Red", "Green", "Blue"]}},
    )
    with open_slide(colours) as slide:
        assert not slide.warnings
        np.testing.assert_array_equal(slide.read(0, 0, 80, 70), pixels.transpose(1, 2, 0))


def test_a_focus_stack_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "z.ome.tif"
    tifffile.imwrite(path, noise(4, 64, 64, 3), photometric="rgb", metadata={"axes": "ZYXS"})
    with pytest.raises(SlideError, match="4 planes"):
        open_slide(path)


@pytest.mark.parametrize(
    ("options", "mpp", "source"),
    [
        ({"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}, 0.25, "TIFF XResolution"),
        ({"resolution": (50_800, 50_800), "resolutionunit": "INCH"}, 0.5, "TIFF XResolution"),
        ({"resolution": (4, 4), "resolutionunit": "NONE"}, None, ""),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None, ""),
        ({"resolution": (40_000, 20_000), "resolutionunit": "CENTIMETER"}, None, ""),
        (
            {"resolution": (2, 2), "imagej": True, "metadata": {"unit": "um"}, "tile": None},
            0.5,
            "ImageJ unit",
        ),
    ],
)
def test_resolution_tags(tmp_path: Path, options: dict[str, Any], mpp: float | None, source: str) -> None:
    with open_slide(write(tmp_path / "a.tif", noise(64, 64, 3), **options)) as slide:
        assert slide.mpp == (None if mpp is None else pytest.approx(mpp, rel=1e-6))
        if slide.resolution is not None:
            assert slide.resolution.source == source


@pytest.mark.parametrize(
    ("size", "unit", "mpp"),
    [(0.25, "µm", 0.25), (250, "nm", 0.25), (0.0005, "mm", 0.5), (1, "reference frame", None)],
)
def test_ome_sizes_and_units(tmp_path: Path, size: float, unit: str, mpp: float | None) -> None:
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": size}
    metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(path, noise(64, 64, 3), photometric="rgb", metadata=metadata)
    with open_slide(path) as slide:
        assert slide.mpp == (None if mpp is None else pytest.approx(mpp))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_turns_the_slide(tmp_path: Path, orientation: int) -> None:
    from PIL import Image, ImageOps

    pixels = noise(70, 90, 3)
    path = write(tmp_path / "a.tif", pixels, extratags=[(274, "H", 1, orientation, True)], tile=(32, 32))
    image = Image.fromarray(pixels)
    image.getexif()[274] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image))
    with open_slide(path) as slide:
        assert slide.dimensions == (upright.shape[1], upright.shape[0])
        np.testing.assert_array_equal(slide.read(0, 0, *slide.dimensions), upright)


def test_pieces_left_out_of_the_file_were_not_scanned(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    tiles = [noise(64, 64, 3), None, None, noise(64, 64, 3)]
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=(128, 128, 3),
        dtype=np.uint8,
        photometric="rgb",
        tile=(64, 64),
        compression="zlib",
    )
    with open_slide(path) as slide:
        got = slide.read(0, 0, 128, 128)
    np.testing.assert_array_equal(got[:64, :64], tiles[0])
    assert (got[:64, 64:] == 255).all()
    np.testing.assert_array_equal(got[64:, 64:], tiles[3])


def test_reduced_pages_that_are_no_copies_are_no_levels(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(noise(400, 600, 3), photometric="rgb", tile=(64, 64))
        tiff.write(noise(80, 120, 3), photometric="rgb", tile=(64, 64), subfiletype=1)  # a fifth
        tiff.write(noise(90, 90, 3), photometric="rgb", tile=(64, 64), subfiletype=1)  # a label
    with open_slide(path) as slide:
        assert [level.downsample for level in slide.levels] == [1.0, 5.0]


def test_a_file_that_ends_too_early_is_refused_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(300, 300, 3))
    data = path.read_bytes()
    for share in (0.999, 0.5, 0.1, 0.01):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(SlideError, match=r"a\.tif"):
            open_slide(path)


def test_a_damaged_piece_is_one_error_and_the_others_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(128, 128, 3), compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[3]  # type: ignore[union-attr]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff" * 200)
    with open_slide(path) as slide:
        slide.read(0, 0, 64, 64)
        for _ in range(2):
            with pytest.raises(SlideError, match=r"a\.tif.*piece 1, 1"):
                slide.read(64, 64, 10, 10)
        slide.read(64, 0, 64, 64)


def test_a_flat_slide_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """No level is ever whole in memory: 75 MB of pixels, read in regions and as a thumbnail."""
    path = tmp_path / "flat.tif"
    strip = noise(100, 5000, 3)
    tifffile.imwrite(
        path,
        (strip for _ in range(50)),
        shape=(5000, 5000, 3),
        dtype=np.uint8,
        photometric="rgb",
        rowsperstrip=100,
    )
    with open_slide(path) as slide:
        assert slide.levels[0].tile is not None
        tracemalloc.start()
        try:
            slide.read(100, 4000, 500, 500)
            assert tracemalloc.get_traced_memory()[1] < 12 << 20
        finally:
            tracemalloc.stop()


def test_the_cache_holds_bytes_not_pieces() -> None:
    cache = ByteCache[tuple[int, int, int]](1000, alone=True)
    for i in range(20):
        cache.put((0, i, 0), np.zeros(300, np.uint8))
        assert cache.used <= 1000
    assert cache.get((0, 19, 0)) is not None
    assert cache.get((0, 0, 0)) is None
    cache.get((0, 17, 0))
    cache.put((0, 20, 0), np.zeros(300, np.uint8))
    assert cache.get((0, 17, 0)) is not None, "the least recently used piece goes, not the oldest"
    cache.put((1, 0, 0), np.zeros(5000, np.uint8))
    assert cache.get((1, 0, 0)) is not None
    assert cache.used == 5000
    cache.forget()
    assert cache.used == 0


def test_each_piece_is_decoded_once_for_neighbouring_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = open_reader(write(tmp_path / "a.tif", noise(256, 256, 3)))
    assert isinstance(reader, TiffReader)
    decoded: list[tuple[int, int, int]] = []
    decode = reader.decode
    monkeypatch.setattr(reader, "decode", lambda *key: decoded.append(key) or decode(*key))
    with Slide(reader) as slide:
        for y in range(0, 256, 32):
            for x in range(0, 256, 32):
                slide.read(x, y, 32, 32)
    assert len(decoded) == len(set(decoded)) == 16
