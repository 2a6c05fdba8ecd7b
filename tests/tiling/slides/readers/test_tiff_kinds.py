"""TIFFs of the kinds that people's programs write: each is read right, or refused in a sentence."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from wsss_tiffs import make_loop, set_tag

from tiling.errors import SlideError
from tiling.slides import open_slide
from tiling.slides.channels import UNNAMED_RGB

RGB = np.random.default_rng(1).integers(0, 256, (256, 320, 3)).astype(np.uint8)
HALF_MICRON: dict[str, Any] = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
PLAIN: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
OME: dict[str, Any] = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
NAMED: dict[str, Any] = {**OME, "Channel": {"Name": ["Red", "Green", "Blue"]}}


def write(path: Path, pixels: np.ndarray = RGB, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, **(PLAIN | options))
    return path


def assert_reads(path: Path, expected: np.ndarray = RGB, tolerance: int = 0) -> tuple[str, ...]:
    """Check all pixels and a part over pieces' edges; return the warnings."""
    with open_slide(path, mpp=0.5) as slide:
        height, width = expected.shape[:2]
        assert slide.dimensions == (width, height)
        whole = slide.read(0, 0, width, height).astype(int)
        assert np.abs(whole - expected).max() <= tolerance
        np.testing.assert_array_equal(slide.read(50, 60, 90, 80), whole[60:140, 50:140])
        return slide.warnings


@pytest.mark.parametrize(("big", "order"), [(False, "<"), (True, ">")], ids=["classic", "big"])
@pytest.mark.parametrize("tile", [None, (64, 64)], ids=["strips", "tiles"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "packbits", "jpeg2000", "lzma"])
def test_rgb_in_three_planes(tmp_path: Path, compression: Any, tile: Any, order: Any, big: bool) -> None:
    """One page of three planes, three pages, and five dimensions of them: the same picture."""
    planes = np.ascontiguousarray(RGB.transpose(2, 0, 1))
    if compression in ("zlib", "lzma"):
        kinds = {"bigtiff": big, "byteorder": order, "compression": compression, "predictor": True}
    else:
        kinds = {"bigtiff": big, "byteorder": order, "compression": compression}
    strips = {} if tile else {"rowsperstrip": 37}
    separate = write(tmp_path / "a.tif", planes, planarconfig="separate", tile=tile, **strips, **kinds)
    assert assert_reads(separate) == ()
    grey = {"photometric": "minisblack", "tile": tile, **kinds}
    pages = write(tmp_path / "b.ome.tif", planes, metadata={"axes": "CYX", **NAMED}, **grey)
    assert assert_reads(pages) == ()
    five = write(tmp_path / "c.ome.tif", planes[None, :, None], metadata={"axes": "TCZYX", **NAMED}, **grey)
    assert assert_reads(five) == ()


@pytest.mark.parametrize("channel", [{}, {"Channel": {"Name": ["TL Brightfield"] * 3}}])
def test_planes_that_nobody_names_are_rgb_and_it_is_said(tmp_path: Path, channel: dict[str, Any]) -> None:
    path = tmp_path / "a.ome.tif"
    planes = RGB.transpose(2, 0, 1)
    write(path, planes, photometric="minisblack", metadata={"axes": "CYX", **OME, **channel})
    assert assert_reads(path) == (UNNAMED_RGB,)


def test_interleaved_samples_that_nobody_calls_rgb(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif", RGB, photometric="minisblack", planarconfig="contig", extrasamples=[0, 0]
    )
    assert assert_reads(path) == (UNNAMED_RGB,)


def test_planes_with_opacity(tmp_path: Path) -> None:
    opaque = np.full(RGB.shape[:2], 255, np.uint8)
    opaque[:100] = 0
    planes = np.concatenate([RGB.transpose(2, 0, 1), opaque[None]])
    channel = {"Channel": {"Name": ["R", "G", "B", "A"]}}
    path = write(
        tmp_path / "a.ome.tif", planes, photometric="minisblack", metadata={"axes": "CYX", **OME, **channel}
    )
    expected = RGB.copy()
    expected[:100] = 255
    assert assert_reads(path, expected) == ()


@pytest.mark.parametrize(
    ("names", "pages"), [(["DAPI", "FITC", "Cy5"], 3), (["Red", "Green", "Blue", "Far red"], 4), (None, 2)]
)
def test_stains_are_refused(tmp_path: Path, names: list[str] | None, pages: int) -> None:
    metadata = {"axes": "CYX", **OME, **({"Channel": {"Name": names}} if names else {})}
    path = tmp_path / "a.ome.tif"
    write(path, np.repeat(RGB[None, ..., 0], pages, 0), photometric="minisblack", metadata=metadata)
    with pytest.raises(SlideError, match=rf"{pages} channels"):
        open_slide(path)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 10, 12, 16])
def test_other_depths_are_named(tmp_path: Path, bits: int) -> None:
    pixels = (RGB[..., 0] >> max(0, 8 - bits)).astype(np.uint8 if bits <= 8 else np.uint16)
    if bits == 1:
        pixels = pixels.astype(bool)
    path = tmp_path / "a.tif"
    try:
        write(path, pixels, photometric="minisblack", bitspersample=bits, tile=None)
    except (ValueError, NotImplementedError) as error:
        pytest.skip(f"tifffile cannot write it: {error}")
    with pytest.raises(SlideError, match=rf"{bits}-bit|uint{bits}"):
        open_slide(path)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (11, struct.pack("<f", 20_000)),
        (12, struct.pack("<d", 20_000)),
        (4, struct.pack("<I", 20_000)),
        (3, struct.pack("<H", 20_000)),
        (8, struct.pack("<h", 20_000)),
        (10, struct.pack("<ii", 20_000, 1)),
        (5, struct.pack("<IIII", 20_000, 1, 20_000, 1)),
        (2, b"20000\0"),
    ],
)
def test_resolution_tags_of_any_type(tmp_path: Path, kind: int, raw: bytes) -> None:
    path = write(tmp_path / "a.tif", **HALF_MICRON)
    for code in (282, 283):
        set_tag(path, code, kind, raw)
    assert_reads(path)
    with open_slide(path) as slide:
        assert slide.mpp == 0.5


@pytest.mark.parametrize(
    ("code", "kind", "raw"),
    [
        (282, 2, b"fine enough\0"),
        (282, 5, struct.pack("<IIII", 20_000, 1, 7, 1)),
        (282, 5, struct.pack("<II", 20_000, 0)),
        (282, 12, struct.pack("<d", float("nan"))),
        (282, 7, b"\xff\xfe\xfd\xfc"),
        (296, 2, b"furlong\0"),
        (296, 3, struct.pack("<H", 9)),
    ],
)
def test_a_resolution_that_is_not_clear_blocks_no_pixels(
    tmp_path: Path, code: int, kind: int, raw: bytes
) -> None:
    path = set_tag(write(tmp_path / "a.tif", **HALF_MICRON), code, kind, raw)
    assert_reads(path)
    with open_slide(path) as slide:
        assert slide.mpp is None
        assert "--mpp" in slide.resolution_problem


@pytest.mark.parametrize(("kind", "raw"), [(2, b"cm\0\0"), (2, b"CENTIMETER\0"), (4, struct.pack("<I", 3))])
def test_the_unit_of_the_tags_as_text(tmp_path: Path, kind: int, raw: bytes) -> None:
    path = set_tag(write(tmp_path / "a.tif", **HALF_MICRON), 296, kind, raw)
    with open_slide(path) as slide:
        assert slide.mpp == 0.5


@pytest.mark.parametrize(("unit", "pixels"), [("microns", 2), ("mm", 2000), ("nm", 0.002), ("\\u00B5m", 2)])
def test_imagej_units(tmp_path: Path, unit: str, pixels: float) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, imagej=True, resolution=(pixels, pixels), metadata={"unit": unit})
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("units", "mpp"),
    [
        ("unit=micron", 0.5),
        ("unit=micron\nyunit=micron", 0.5),
        ("unit=micron\nunit=inch", None),
        ("unit=pixel", None),
    ],
)
def test_imagej_may_name_several_units(tmp_path: Path, units: str, mpp: float | None) -> None:
    text = f"ImageJ=1.54f\nimages=1\n{units}\n"
    path = write(tmp_path / "a.tif", description=text, resolution=(2, 2), resolutionunit=1)
    with open_slide(path) as slide:
        assert slide.mpp == mpp
        assert ("contradicts itself" in slide.resolution_problem) == (units.count("\nunit") > 0)


def test_an_unknown_imagej_unit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, imagej=True, resolution=(2, 2), metadata={"unit": "furlong"})
    with open_slide(path) as slide:
        assert slide.mpp is None
        assert "furlong" in slide.resolution_problem
        assert any("furlong" in warning for warning in slide.warnings)


@pytest.mark.parametrize("tail", [b"\0\x01", b"\x02", b"\0junk\0"])
def test_bytes_after_ome_xml_change_nothing(tmp_path: Path, tail: bytes) -> None:
    planes = RGB.transpose(2, 0, 1)
    path = write(tmp_path / "a.ome.tif", planes, photometric="minisblack", metadata={"axes": "CYX", **NAMED})
    with tifffile.TiffFile(path) as tiff:
        text = tiff.pages.first.tags[270].value.encode()
    set_tag(path, 270, 2, text + tail)
    assert assert_reads(path) == ()
    with open_slide(path) as slide:
        assert slide.resolution is not None
        assert (slide.mpp, slide.resolution.source) == (0.5, "OME PhysicalSizeX")


@pytest.mark.parametrize(
    ("old", "new", "encoding"),
    [
        ("µm", "µm", "latin-1"),
        ("µm", "\u03bcm", "utf-8"),
        ("µm", "Âµm", "utf-8"),
        ("µm", "?m", "ascii"),
        ('encoding="UTF-8"', 'encoding="ISO-8859-1"', "utf-8"),
        ('encoding="UTF-8"', 'encoding="UTF-16"', "latin-1"),
        ('ID="Image:0"', 'ID="Image:0\0"', "utf-8"),
        ("<OME ", "\0\n <OME ", "utf-8"),
    ],
)
def test_ome_xml_in_any_encoding(tmp_path: Path, old: str, new: str, encoding: str) -> None:
    units = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    path = write(tmp_path / "a.ome.tif", metadata={"axes": "YXS", **OME, **units})
    with tifffile.TiffFile(path) as tiff:
        text = tiff.pages.first.tags[270].value
    assert old in text
    set_tag(path, 270, 2, text.replace(old, new).encode(encoding) + b"\0")
    assert assert_reads(path) == ()
    with open_slide(path) as slide:
        assert slide.resolution is not None
        assert (slide.mpp, slide.resolution.source) == (0.5, "OME PhysicalSizeX")


def test_ome_xml_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.tif", metadata={"axes": "YXS", **OME})
    with tifffile.TiffFile(path) as tiff:
        text = tiff.pages.first.tags[270].value
    set_tag(path, 270, 2, text.replace('SizeX="320"', 'SizeX="320" SizeX="320"').encode() + b"\0")
    assert any("OME-XML was not understood" in warning for warning in assert_reads(path))
    with open_slide(path) as slide:
        assert slide.mpp is None
        assert "OME-XML: it is damaged" in slide.resolution_problem


@pytest.mark.parametrize(
    ("extra", "clear"), [("unassalpha", True), ("assocalpha", True), ("unspecified", False)]
)
@pytest.mark.parametrize("planar", ["separate", "contig"])
def test_a_fourth_sample_is_opacity_only_where_it_says_so(
    tmp_path: Path, extra: str, clear: bool, planar: str
) -> None:
    opaque = np.full((*RGB.shape[:2], 1), 255, np.uint8)
    opaque[:100] = 0
    pixels = np.concatenate([RGB, opaque], 2)
    pixels[:100, :, :3] = 0 if extra == "assocalpha" else pixels[:100, :, :3]
    stored = np.ascontiguousarray(pixels.transpose(2, 0, 1)) if planar == "separate" else pixels
    path = write(tmp_path / "a.tif", stored, planarconfig=planar, extrasamples=[extra])
    expected = pixels[..., :3].copy()
    if clear:
        expected[:100] = 255
    assert_reads(path, expected)


def test_the_description_of_a_larger_picture_is_not_believed(tmp_path: Path) -> None:
    large = tmp_path / "large.ome.tif"
    tifffile.imwrite(
        large, np.repeat(np.repeat(RGB, 2, 0), 2, 1), photometric="rgb", metadata={"axes": "YXS", **OME}
    )
    with tifffile.TiffFile(large) as tiff:
        text = tiff.pages.first.description
    small = write(tmp_path / "small.ome.tif", description=text, resolution=(10_000, 10_000), resolutionunit=3)
    with open_slide(small) as slide:
        assert slide.mpp == 1.0
        assert any("640 × 512" in warning for warning in slide.warnings)


def test_an_aperio_line_outside_of_an_svs_that_openslide_reads(tmp_path: Path) -> None:
    line = "Aperio Image Library v11 \n320x256 [0,0 320x256] JPEG/RGB Q=70|AppMag = 20|MPP = 0.5000"
    with open_slide(write(tmp_path / "a.svs", description=line, tile=None, rowsperstrip=16)) as slide:
        assert slide.mpp == 0.5


def test_scenes_are_named_and_each_has_its_own_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for name, part, mpp in (("Scene 0", RGB[:, :140], 0.25), ("Scene 1", RGB[:, 140:], 0.5)):
            metadata = {"axes": "YXS", "Name": name, "PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
            tiff.write(part, photometric="rgb", tile=(64, 64), metadata=metadata)
    with open_slide(path) as slide:
        assert (slide.dimensions, slide.mpp) == ((180, 256), 0.5)
        assert any("'Scene 0' (140 × 256 px)" in warning for warning in slide.warnings)


@pytest.mark.parametrize("macro_first", [True, False])
@pytest.mark.parametrize("kind", [{"subfiletype": 1}, {"description": "macro 500x300"}, {}])
def test_a_macro_larger_than_the_scan_is_not_the_slide(
    tmp_path: Path, kind: dict[str, Any], macro_first: bool
) -> None:
    path = tmp_path / "a.tif"
    pictures = [(RGB, HALF_MICRON), (np.full((300, 500, 3), 200, np.uint8), kind)]
    with tifffile.TiffWriter(path) as tiff:
        for pixels, options in pictures[:: -1 if macro_first else 1]:
            tiff.write(pixels, **PLAIN, **options)
    (note,) = assert_reads(path)
    assert "500 × 300" in note


def test_a_pyramid_beats_a_larger_flat_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.full((300, 500, 3), 200, np.uint8), **PLAIN)
        tiff.write(RGB, subifds=1, **PLAIN)
        tiff.write(RGB[::2, ::2], subfiletype=1, **PLAIN)
    (note,) = assert_reads(path)
    assert "500 × 300" in note
    with open_slide(path) as slide:
        assert len(slide.levels) == 2


def test_a_part_of_a_picture_of_several_files_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.tif", metadata={"axes": "YXS", **OME})
    with tifffile.TiffFile(path) as tiff:
        text = tiff.pages.first.description
    data = '<TiffData IFD="0" PlaneCount="1"><UUID FileName="{}">urn:uuid:{}</UUID></TiffData>'
    spread = text.split("<TiffData")[0] + data.format("a.ome.tif", 1) + data.format("../b.ome.tif", 2)
    set_tag(path, 270, 2, (spread + "</Pixels></Image></OME>").encode())
    with pytest.raises(SlideError, match="2 files of an OME-TIFF"):
        open_slide(path)


@pytest.mark.parametrize(
    ("code", "kind", "raw", "words"),
    [
        (322, 11, struct.pack("<f", 64), "tile width"),
        (323, 11, struct.pack("<f", 64), "tile height"),
        (257, 4, struct.pack("<I", 2**32 - 1), "px a side"),
        (256, 4, struct.pack("<I", 2**31), "px a side"),
        (257, 4, struct.pack("<I", 100_000), "pieces where"),
        (322, 4, struct.pack("<I", 1 << 24), "decoded at once"),
        (256, 3, struct.pack("<H", 0), "."),
        (277, 3, struct.pack("<H", 0), "."),
    ],
)
def test_lying_headers_are_refused_before_anything_is_allocated(
    tmp_path: Path, code: int, kind: int, raw: bytes, words: str
) -> None:
    path = set_tag(write(tmp_path / "a.tif", compression="zlib"), code, kind, raw)
    with pytest.raises(SlideError, match=words) as failure:
        open_slide(path)
    assert str(path) in str(failure.value)


def test_rows_per_strip_that_is_no_whole_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", tile=None, rowsperstrip=64, compression="zlib")
    with pytest.raises(SlideError, match="rows per strip"):
        open_slide(set_tag(path, 278, 11, struct.pack("<f", 64)))


def test_a_large_tile_is_refused(tmp_path: Path) -> None:
    """Review 9: only strips were bounded."""
    path = write(tmp_path / "a.tif", compression="zlib")
    for code in (322, 323):
        set_tag(path, code, 4, struct.pack("<I", 16_384))
    with pytest.raises(SlideError, match="16384 × 16384 px as one piece"):
        open_slide(path)


def test_pages_that_form_a_loop_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(RGB, **PLAIN)
        tiff.write(RGB[::2, ::2], subfiletype=1, **PLAIN)
    with pytest.raises(SlideError, match="loop"):
        open_slide(make_loop(path))


@pytest.mark.parametrize(
    ("code", "kind", "raw"), [(34675, 2, b"not a profile\0"), (34675, 4, b"\xff\xff\xff\x7f")]
)
def test_a_profile_of_a_wrong_type_is_no_profile(tmp_path: Path, code: int, kind: int, raw: bytes) -> None:
    path = write(tmp_path / "a.tif", iccprofile=b"\0" * 128)
    assert_reads(set_tag(path, code, kind, raw))


@pytest.mark.parametrize("raw", [(2, b"up\0\0"), (3, struct.pack("<HH", 6, 6)), (3, struct.pack("<H", 77))])
def test_a_senseless_orientation_counts_as_upright(tmp_path: Path, raw: tuple[int, bytes]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, **PLAIN, extratags=[(274, 3, 1, 1, True)])
    assert_reads(set_tag(path, 274, *raw))


@pytest.mark.parametrize("tile", [None, (64, 64)], ids=["strips", "tiles"])
@pytest.mark.parametrize(
    ("compression", "options", "tolerance"),
    [
        ("jpeg", {"subsampling": (2, 2)}, 90),
        ("jpeg", {"subsampling": (2, 1)}, 90),
        ("jpeg", {"subsampling": (1, 1)}, 40),
        ("webp", {"compressionargs": {"lossless": True}}, 0),
        ("jpegxl", {"compressionargs": {"lossless": True}}, 0),
        ("jpegxr", {}, 8),
        ("jpeg2000", {}, 0),
        ("lerc", {}, 0),
        ("png", {}, 0),
        ("lzw", {"predictor": True}, 0),
    ],
)
def test_every_codec_that_was_fine_stays_fine(
    tmp_path: Path, compression: str, options: dict[str, Any], tolerance: int, tile: Any
) -> None:
    smooth = np.clip(np.cumsum(RGB % 5, 1) // 3, 0, 255).astype(np.uint8)
    strips = {} if tile else {"rowsperstrip": 64}
    path = write(tmp_path / "a.tif", smooth, compression=compression, tile=tile, **strips, **options)
    assert_reads(path, smooth, tolerance)


@pytest.mark.parametrize("factor", [2.0, 2.5, 3.0, 5.0])
@pytest.mark.parametrize("subifds", [True, False])
def test_odd_pyramids_keep_their_levels(tmp_path: Path, factor: float, subifds: bool) -> None:
    path = tmp_path / "a.tif"
    small = np.zeros((round(256 / factor), round(320 / factor), 3), np.uint8)
    with tifffile.TiffWriter(path, bigtiff=True, byteorder=">") as tiff:
        tiff.write(RGB, subifds=1 if subifds else None, **PLAIN)
        tiff.write(small, subfiletype=1, **PLAIN)
    with open_slide(path) as slide:
        assert [level.downsample for level in slide.levels] == pytest.approx([1.0, factor], rel=0.01)
        assert slide.warnings == ()


def test_the_memory_of_a_reader_is_told_by_its_pieces(tmp_path: Path) -> None:
    """Review 9: the formula counted 64 MB, whatever the pieces."""
    small = write(tmp_path / "small.tif", compression="zlib")
    with open_slide(small, mpp=0.5) as slide:
        assert slide.reader_bytes(4) == (64 << 20) + 4 * 2 * 64 * 64 * 3
    blank = np.zeros((6000, 6000, 3), np.uint8)
    large = write(tmp_path / "large.tif", blank, tile=None, rowsperstrip=6000, compression="zlib")
    with open_slide(large, mpp=0.5) as slide:
        assert slide.reader_bytes(4) == slide.reader_bytes(1) == 3 * blank.nbytes
