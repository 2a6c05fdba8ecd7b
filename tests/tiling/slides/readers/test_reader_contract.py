"""Every reader keeps the contract of ``tiling.slides.contract``: one class per kind of file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image

from tiling.slides.contract import LevelReaderContract
from tiling.slides.level import LevelReader
from tiling.slides.readers.array import ArrayReader
from tiling.slides.readers.image import open_reader as open_image
from tiling.slides.readers.ome_zarr import open_reader as open_zarr
from tiling.slides.readers.openslide import open_reader as open_openslide
from tiling.slides.readers.oriented import oriented
from tiling.slides.readers.srgb import SrgbReader, in_srgb
from tiling.slides.readers.tiff import open_reader as open_tiff

Pixels = NDArray[np.uint8]


def picture(height: int, width: int, seed: int = 0) -> Pixels:
    """Noise over a slope: any shift by a pixel or swap of axes shows."""
    rows, columns = np.mgrid[:height, :width]
    base = np.stack([rows % 251, columns % 241, (rows + 2 * columns) % 239], -1)
    return (base * 3 // 4 + np.random.default_rng(seed).integers(0, 60, base.shape)).astype(np.uint8)


def pyramid() -> list[Pixels]:
    return [picture(150, 210), picture(75, 105, 1), picture(50, 70, 2)]


class TestArray(LevelReaderContract):
    @pytest.fixture
    def truth(self) -> list[Pixels]:
        return pyramid()

    @pytest.fixture
    def make(self, truth: list[Pixels]) -> LevelReader:
        return ArrayReader(truth)


class TestOriented(LevelReaderContract):
    @pytest.fixture(params=range(2, 9))
    def orientation(self, request: pytest.FixtureRequest) -> int:
        return int(request.param)

    @pytest.fixture
    def truth(self, orientation: int) -> list[Pixels]:
        turned = []
        for level in pyramid():
            image = Image.fromarray(level)
            image.getexif()[0x0112] = orientation
            method = {
                2: Image.Transpose.FLIP_LEFT_RIGHT,
                3: Image.Transpose.ROTATE_180,
                4: Image.Transpose.FLIP_TOP_BOTTOM,
                5: Image.Transpose.TRANSPOSE,
                6: Image.Transpose.ROTATE_270,
                7: Image.Transpose.TRANSVERSE,
                8: Image.Transpose.ROTATE_90,
            }[orientation]
            turned.append(np.asarray(image.transpose(method)))
        return turned

    @pytest.fixture
    def make(self, orientation: int) -> LevelReader:
        return oriented(ArrayReader(pyramid()), orientation)


class TestSrgb(LevelReaderContract):
    """A profile that is sRGB already changes nothing (but for rounding)."""

    tolerance = 2

    @pytest.fixture
    def truth(self) -> list[Pixels]:
        return pyramid()

    @pytest.fixture
    def make(self, truth: list[Pixels]) -> LevelReader:
        from PIL import ImageCms

        reader = ArrayReader(truth)
        reader.icc_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        converted = in_srgb(reader)
        assert isinstance(converted, SrgbReader)
        return converted


class TestPng(LevelReaderContract):
    @pytest.fixture
    def truth(self) -> list[Pixels]:
        return pyramid()[:1]

    @pytest.fixture
    def make(self, truth: list[Pixels], tmp_path: Path) -> LevelReader:
        Image.fromarray(truth[0]).save(tmp_path / "a.png")
        return opened(open_image, tmp_path / "a.png")


def opened(opener: Callable[[Path], LevelReader | None], path: Path) -> LevelReader:
    reader = opener(path)
    assert reader is not None
    return reader


def write_tiff(path: Path, levels: Sequence[Pixels], *, subifds: bool = False, **options: Any) -> Path:
    """Write a pyramid, the levels as sub-images or as reduced pages."""
    with tifffile.TiffWriter(
        path, bigtiff=bool(options.pop("bigtiff", False)), ome=options.pop("ome", None)
    ) as tiff:
        if subifds:
            tiff.write(levels[0], subifds=len(levels) - 1, photometric="rgb", **options)
            options.pop("metadata", None)
            for level in levels[1:]:
                tiff.write(level, subfiletype=1, photometric="rgb", **options)
        else:
            for number, level in enumerate(levels):
                tiff.write(level, subfiletype=1 if number else 0, photometric="rgb", **options)
    return path


TIFFS: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (64, 64), "compression": "zlib"},
    "oblong tiles, BigTIFF": {"tile": (32, 80), "bigtiff": True},
    "strips": {"rowsperstrip": 17, "compression": "zlib", "predictor": True},
    "uncompressed": {"rowsperstrip": 150},
    "sub-images": {"tile": (64, 64), "subifds": True, "compression": "zstd"},
    "JPEG 2000, lossless": {
        "tile": (64, 64),
        "compression": "jpeg2000",
        "compressionargs": {"reversible": True},
    },
}


class TestTiff(LevelReaderContract):
    @pytest.fixture(params=TIFFS)
    def options(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return dict(TIFFS[request.param])

    @pytest.fixture
    def truth(self) -> list[Pixels]:
        return pyramid()

    @pytest.fixture
    def make(self, truth: list[Pixels], tmp_path: Path, options: dict[str, Any]) -> LevelReader:
        return opened(open_tiff, write_tiff(tmp_path / "a.tif", truth, **options))


class TestPlanarTiff(LevelReaderContract):
    """Red, green and blue stored one after the other."""

    @pytest.fixture(params=[{"tile": (64, 64)}, {"rowsperstrip": 16}])
    def make(self, truth: list[Pixels], tmp_path: Path, request: pytest.FixtureRequest) -> LevelReader:
        path = tmp_path / "a.tif"
        tifffile.imwrite(
            path,
            np.ascontiguousarray(truth[0].transpose(2, 0, 1)),
            photometric="rgb",
            planarconfig="separate",
            compression="zlib",
            **request.param,
        )
        return opened(open_tiff, path)

    @pytest.fixture
    def truth(self) -> list[Pixels]:
        return pyramid()[:1]


class TestOmeTiff(LevelReaderContract):
    @pytest.fixture
    def truth(self) -> list[Pixels]:
        return pyramid()

    @pytest.fixture
    def make(self, truth: list[Pixels], tmp_path: Path) -> LevelReader:
        metadata = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
        path = write_tiff(
            tmp_path / "a.ome.tif", truth, ome=True, subifds=True, tile=(64, 64), metadata=metadata
        )
        return opened(open_tiff, path)


class TestOpenSlide(LevelReaderContract):
    """A small SVS: Aperio's description, one page per level."""

    @pytest.fixture
    def truth(self) -> list[Pixels]:
        return [picture(160, 240), picture(80, 120, 1)]

    @pytest.fixture
    def make(self, truth: list[Pixels], tmp_path: Path) -> LevelReader:
        return opened(open_openslide, write_svs(tmp_path / "a.svs", truth))


def write_svs(path: Path, levels: Sequence[Pixels], mpp: float | None = 0.25) -> Path:
    """Write a lossless file that OpenSlide takes for Aperio's."""
    height, width = levels[0].shape[:2]
    text = f"Aperio Image Library v1\r\n{width}x{height} (64x64)|AppMag = 40" + (
        f"|MPP = {mpp}" if mpp else ""
    )
    with tifffile.TiffWriter(path) as tiff:
        for level in levels:
            tiff.write(
                level, tile=(64, 64), compression="zlib", photometric="rgb", description=text, metadata=None
            )
    return path


def write_zarr(
    path: Path, levels: Sequence[Pixels], version: str = "0.5", axes: str = "cyx", mpp: float | None = 0.25
) -> Path:
    """Write an OME-Zarr image with the axes in the given order; t and z have one plane."""
    kinds = {"t": "time", "c": "channel"}
    described = []
    for axis in axes:
        entry = {"name": axis, "type": kinds.get(axis, "space")}
        if mpp is not None and axis in "zyx":
            entry["unit"] = "micrometer"
        described.append(entry)
    datasets = []
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    for number, level in enumerate(levels):
        factor = levels[0].shape[1] / level.shape[1]
        scale = [factor * (mpp or 1.0) if axis in "yx" else 1.0 for axis in axes]
        datasets.append(
            {"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
        stored = level.transpose(["yxc".index(axis) for axis in axes if axis in "yxc"])
        for place, axis in enumerate(axes):
            if axis in "tz":
                stored = np.expand_dims(stored, place)
        chunks = tuple(64 if axis in "yx" else 1 for axis in axes)
        group.create_array(str(number), data=np.ascontiguousarray(stored), chunks=chunks)
    image = {"axes": described, "datasets": datasets}
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    else:
        group.attrs["multiscales"] = [image | {"version": "0.4"}]
    return path


class TestOmeZarr(LevelReaderContract):
    @pytest.fixture(params=[("0.5", "cyx"), ("0.4", "tczyx"), ("0.5", "yxc"), ("0.4", "zcyx")])
    def make(self, truth: list[Pixels], tmp_path: Path, request: pytest.FixtureRequest) -> LevelReader:
        version, axes = request.param
        return opened(open_zarr, write_zarr(tmp_path / "a.zarr", truth, version, axes))

    @pytest.fixture
    def truth(self) -> list[Pixels]:
        return pyramid()
