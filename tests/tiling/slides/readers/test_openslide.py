"""The OpenSlide reader against a fake OpenSlide made of arrays: alpha, bounds, odd factors, errors, DICOM folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pydicom
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from wsss_dicom import write_dicom
from wsss_tiffs import set_tag

import tiling.slides.readers.openslide as module
from tiling.errors import SlideError
from tiling.geometry import Box
from tiling.slides.open import open_slide
from tiling.slides.readers.openslide import OpenSlideReader
from tiling.slides.slide import Slide


class FakeOpenSlide:
    """As much of OpenSlide as the reader uses, over RGBA arrays; one error spoils the handle, as in OpenSlide."""

    def __init__(
        self,
        levels: list[NDArray[np.uint8]],
        factors: list[float] | None = None,
        properties: Mapping[str, str] | None = None,
        corrupt: Callable[[int, int], bool] = lambda x, y: False,
    ) -> None:
        self._levels, self._corrupt, self._broken = levels, corrupt, False
        self.level_dimensions = [(a.shape[1], a.shape[0]) for a in levels]
        self.dimensions = self.level_dimensions[0]
        self.level_downsamples = factors or [self.dimensions[0] / w for w, _ in self.level_dimensions]
        self.properties = {"openslide.vendor": "fake", **(properties or {})}
        self.color_profile = None
        self.associated_images: dict[str, Image.Image] = {}

    def set_cache(self, cache: object) -> None:
        pass

    def read_region(self, corner: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        assert all(type(v) is int for v in corner)
        if self._broken or self._corrupt(*corner):
            self._broken = True
            raise openslide.OpenSlideError("corrupt tile")
        array, factor = self._levels[level], self.level_downsamples[level]
        x, y = round(corner[0] / factor), round(corner[1] / factor)
        result = np.zeros((size[1], size[0], 4), np.uint8)
        inside = Box(x, y, *size).intersection(Box(0, 0, array.shape[1], array.shape[0]))
        result[inside.y - y : inside.bottom - y, inside.x - x : inside.right - x] = array[
            inside.y : inside.bottom, inside.x : inside.right
        ]
        return Image.fromarray(result)

    def __enter__(self) -> FakeOpenSlide:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Slide]:
    """A slide over a fake OpenSlide made with the given arguments."""

    def make(*arguments: Any, **options: Any) -> Slide:
        monkeypatch.setattr(module, "_open", lambda file: FakeOpenSlide(*arguments, **options))
        file = tmp_path / "a.mrxs"
        file.write_bytes(b"pixels are elsewhere")
        return Slide(OpenSlideReader(file, file))

    return make


def opaque(height: int, width: int, colour: tuple[int, int, int] = (120, 40, 90)) -> NDArray[np.uint8]:
    return np.full((height, width, 4), (*colour, 255), np.uint8)


def test_what_was_never_scanned_is_white_not_black(fake: Callable[..., Slide]) -> None:
    pixels = opaque(40, 60)
    pixels[:, 30:] = 0
    got = fake([pixels]).read(0, 0, 60, 40)
    assert (got[:, :30] == (120, 40, 90)).all()
    assert (got[:, 30:] == 255).all()


def test_half_covered_pixels_are_composited_on_white(fake: Callable[..., Slide]) -> None:
    """openslide-python returns straight alpha: multiplying once more would darken the rim of the scan."""
    pixels = opaque(8, 8, (100, 0, 200))
    pixels[..., 3] = 102
    got = fake([pixels]).read(0, 0, 8, 8)[0, 0]
    expected = np.array([100, 0, 200]) * 0.4 + 255 * 0.6
    assert np.abs(got - expected).max() <= 1


def test_bounds_are_the_scanned_area_in_level_0_pixels(fake: Callable[..., Slide]) -> None:
    names = ("bounds-x", "bounds-y", "bounds-width", "bounds-height")
    pixels = opaque(100, 200)
    pixels[30:60, 50:120, :3] = 7
    properties = {f"openslide.{n}": str(v) for n, v in zip(names, (50, 30, 70, 30), strict=True)}
    slide = fake([pixels], properties=properties)
    assert slide.bounds == Box(50, 30, 70, 30)
    assert (slide.thumbnail(70) == 7).all()
    assert (slide.read(50, 30, 70, 30) == 7).all()
    for broken in ({"openslide.bounds-x": "50"}, dict.fromkeys(properties, "900000")):
        assert fake([pixels], properties=broken).bounds == Box(0, 0, 200, 100)


@pytest.mark.parametrize("factor", [2.0, 3.7, 4.0161290322580645])
def test_levels_with_odd_factors_do_not_drift(fake: Callable[..., Slide], factor: float) -> None:
    width = 4000
    size = int(width / factor)
    line = (np.arange(width) // 16).astype(np.uint8)
    fine, coarse = opaque(8, width), opaque(max(1, int(8 / factor)), size)
    fine[..., :3] = line[None, :, None]
    coarse[..., :3] = np.minimum((np.arange(size) + 0.5) * factor / 16, 255).astype(np.uint8)[None, :, None]
    slide = fake(
        [fine, coarse],
        factors=[1.0, factor],
        properties={"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25"},
    )
    got = slide.read(3500, 0, 60, 1, mpp=0.25 * factor * 1.05)[0, :, 0]
    expected = (3500 + (np.arange(60) + 0.5) * factor * 1.05) / 16
    assert np.abs(got - expected).max() <= 1.2


def test_a_rounded_factor_is_recovered(fake: Callable[..., Slide]) -> None:
    """CMU-1.svs: OpenSlide's 4.000121 places the far corner six pixels off."""
    slide = fake([opaque(329, 460), opaque(82, 115)], factors=[1.0, 4.006])
    assert [level.downsample for level in slide.levels] == [1.0, 4.0]


def test_mpp_comes_from_openslide_or_not_at_all(fake: Callable[..., Slide]) -> None:
    pixels = [opaque(10, 10)]
    given = fake(pixels, properties={"openslide.mpp-x": "0.252", "openslide.mpp-y": "0.253"})
    assert given.mpp == pytest.approx(0.2525)
    assert given.resolution is not None
    assert given.resolution.source == "openslide.mpp-x"
    assert fake(pixels, properties={"openslide.objective-power": "40"}).mpp is None
    assert fake(pixels, properties={"openslide.mpp-x": "nonsense", "openslide.mpp-y": ""}).mpp is None


def test_one_corrupt_tile_does_not_spoil_the_slide(fake: Callable[..., Slide]) -> None:
    """OpenSlide refuses all reads after an error: also those of tiles that are in order, in other threads."""
    slide = fake([opaque(400, 400)], corrupt=lambda x, y: (x, y) == (200, 200))
    corners = [(x, y) for _ in range(5) for y in range(0, 400, 40) for x in range(0, 400, 40)]

    def read(corner: tuple[int, int]) -> str:
        try:
            return "read" if (slide.read(*corner, 40, 40) == (120, 40, 90)).all() else "wrong"
        except SlideError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        outcomes = dict(zip(corners, pool.map(read, corners), strict=True))
    assert "corrupt tile" in outcomes.pop((200, 200))
    assert set(outcomes.values()) == {"read"}


def test_an_error_costs_two_new_handles_and_leaves_a_good_one(
    fake: Callable[..., Slide], monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = fake([opaque(100, 100)], corrupt=lambda x, y: (x, y) == (50, 50))
    handles: list[FakeOpenSlide] = []
    make = module._open

    def count(file: Path) -> Any:
        handles.append(make(file))  # type: ignore[arg-type]
        return handles[-1]

    monkeypatch.setattr(module, "_open", count)
    with pytest.raises(SlideError):
        slide.read(50, 50, 10, 10)
    for _ in range(5):
        slide.read(0, 0, 10, 10)
    shared, private = handles
    assert private._broken
    assert not shared._broken


def test_a_closed_slide_says_so(fake: Callable[..., Slide]) -> None:
    slide = fake([opaque(10, 10)])
    slide.close()
    with pytest.raises(SlideError, match="closed"):
        slide.read(0, 0, 5, 5)


def test_mirax_is_known_again_by_the_folder_of_its_pixels(fake: Callable[..., Slide], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    data = tmp_path / "a" / "Data0000.dat"
    data.write_bytes(b"1" * 1000)
    before = fake([opaque(10, 10)], properties={"openslide.vendor": "mirax"}).identity
    data.write_bytes(b"2" * 1000)
    after = fake([opaque(10, 10)], properties={"openslide.vendor": "mirax"}).identity
    assert before["size_bytes"] == after["size_bytes"] > 1000
    assert before["quick_hash"] != after["quick_hash"]


@pytest.mark.shared
def test_the_same_region_as_svs_and_as_dicom(shared_dir: Path, cmu_slide: Path) -> None:
    folder = shared_dir / "slides" / "cmu-1-small-region-dicom"
    paths = [cmu_slide, folder, *sorted(folder.glob("*.dcm"))]
    regions = []
    for path in paths:
        with open_slide(path) as slide:
            assert slide.dimensions == (2220, 2967)
            assert slide.mpp == 0.499
            assert slide.resolution is not None
            assert slide.resolution.source == "openslide.mpp-x"
            regions.append(slide.read(700.5, 900, 300, 200, mpp=1.0))
    svs, dicom, *members = regions
    # The files were compressed apart: equal up to JPEG.
    assert np.abs(svs.astype(int) - dicom).mean() < 4
    for member in members:
        np.testing.assert_array_equal(member, dicom)


def test_a_folder_of_two_dicom_slides_is_refused(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", series="1.2.3")
    write_dicom(tmp_path / "b.dcm", series="1.2.4")
    (tmp_path / "damaged.dcm").write_bytes(b"no DICOM")
    with pytest.raises(SlideError, match=r"several DICOM slides \(a\.dcm and b\.dcm\)"):
        module.open_reader(tmp_path)


@pytest.mark.shared
def test_a_dicom_series_is_found_under_any_names(shared_dir: Path, tmp_path: Path) -> None:
    """Beside an SVS, without suffixes, and by each of its files, the label's too."""
    for i, file in enumerate(sorted((shared_dir / "slides" / "cmu-1-small-region-dicom").glob("*.dcm"))):
        shutil.copy(file, tmp_path / f"IM{i:04}")
    write_dicom(tmp_path / "IM9999", series="9.9", sop_class="1.2.840.10008.5.1.4.1.1.2")  # a CT beside it
    (tmp_path / "damaged.dcm").write_bytes(b"no DICOM")
    for path in (tmp_path, *sorted(tmp_path.glob("IM000*"))):
        with open_slide(path) as slide:
            assert slide.dimensions == (2220, 2967)
            assert slide.mpp == pytest.approx(0.499)
            assert slide.warnings == ()


@pytest.mark.shared
def test_dicom_colours_under_a_wrong_name_are_warned_of(shared_dir: Path, tmp_path: Path) -> None:
    """highdicom's and others' files that say RGB over JPEGs in YCbCr: 66 grey levels off without a word."""
    for file in (shared_dir / "slides" / "cmu-1-small-region-dicom").glob("*.dcm"):
        data = pydicom.dcmread(file)
        data.PhotometricInterpretation = "RGB"
        data.save_as(tmp_path / file.name)
    with open_slide(tmp_path) as slide:
        assert slide.warnings == (module.MISNAMED_COLOURS,)


def test_pieces_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    """OpenSlide takes what a header asks for, and aborts the process where there is not so much."""
    path = tmp_path / "a.svs"
    said = "Aperio Image Library v11 \n192x160 [0,0 192x160] (64x64) JPEG/RGB Q=70|MPP = 0.5"
    options: dict[str, Any] = {
        "photometric": "rgb",
        "tile": (64, 64),
        "compression": "jpeg",
        "metadata": None,
    }
    tifffile.imwrite(path, opaque(160, 192)[..., :3], description=said, **options)
    for code in (322, 323):
        set_tag(path, code, 4, (1 << 18).to_bytes(4, "little"))
    with pytest.raises(SlideError, match="pieces of 262144 × 262144 px"):
        module.open_reader(path)


def test_a_height_without_tiles_is_refused(tmp_path: Path) -> None:
    """Reading four million missing rows for a thumbnail took a minute and gigabytes."""
    path = tmp_path / "a.svs"
    options: dict[str, Any] = {
        "photometric": "rgb",
        "tile": (64, 64),
        "compression": "jpeg",
        "metadata": None,
    }
    tifffile.imwrite(
        path, opaque(160, 192)[..., :3], description="Aperio Image Library v11 |MPP = 0.5", **options
    )
    set_tag(path, 257, 4, (4_000_000).to_bytes(4, "little"))
    with pytest.raises(SlideError, match="no room for their table"):
        module.open_reader(path)
