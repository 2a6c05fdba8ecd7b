"""OME-Zarr: resolution from scales and units, what is no slide, damage."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tiling.errors import SlideError
from tiling.slides.open import open_slide


def write(
    path: Path,
    *,
    shape: tuple[int, ...] = (3, 90, 120),
    axes: str = "cyx",
    unit: str | None = "micrometer",
    scale: float = 0.25,
    factor: float = 1.0,
    dtype: str = "uint8",
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write an OME-Zarr 0.5 image of one level."""
    group = zarr.open_group(path, mode="w")
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    group.create_array("0", data=pixels, chunks=tuple(min(n, 64) for n in shape))
    entries = [{"name": a} | ({"unit": unit} if unit and a in "xy" else {}) for a in axes]
    image = {
        "axes": entries,
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [scale if a in "xy" else 1.0 for a in axes]}
                ],
            }
        ],
        "coordinateTransformations": [{"type": "scale", "scale": [factor] * len(axes)}],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image], **(extra or {})}
    return path


@pytest.mark.parametrize(
    ("options", "mpp"),
    [
        ({}, 0.25),
        ({"factor": 2.0}, 0.5),
        ({"unit": "nanometer", "scale": 250.0}, 0.25),
        ({"unit": "millimeter", "scale": 0.0005}, 0.5),
        ({"unit": None}, None),
        ({"unit": "parsec"}, None),
        ({"scale": 350.0}, None),
    ],
)
def test_scale_and_unit_give_the_resolution(
    tmp_path: Path, options: dict[str, Any], mpp: float | None
) -> None:
    with open_slide(write(tmp_path / "a.zarr", **options)) as slide:
        assert slide.mpp == (None if mpp is None else pytest.approx(mpp))
        if slide.resolution is not None:
            assert slide.resolution.source == "OME-Zarr scale"


@pytest.mark.parametrize(
    ("scales", "mpp"),
    [
        ((0.25, 0.5), 0.25),
        ((0.25, 0.503), 0.25),
        ((0.25, 0.25), 0.25),
        ((0.25, 1.0), None),
        ((1.0, 0.5), None),
    ],
)
def test_levels_may_contradict_each_other(
    tmp_path: Path, scales: tuple[float, float], mpp: float | None
) -> None:
    """Half a pixel of rounding is none, and neither is one scale that is written everywhere."""
    path = write(tmp_path / "a.zarr", scale=scales[0])
    group = zarr.open_group(path)
    group.create_array("1", data=np.zeros((3, 45, 60), np.uint8))
    ome = dict(group.attrs["ome"])
    second = {"type": "scale", "scale": [1.0, scales[1], scales[1]]}
    ome["multiscales"][0]["datasets"].append({"path": "1", "coordinateTransformations": [second]})
    group.attrs["ome"] = ome
    with open_slide(path) as slide:
        assert slide.mpp == mpp
        if mpp is None:
            assert "contradicts itself" in slide.resolution_problem
            assert "OME-Zarr scale, level 1" in slide.resolution_problem
    ome["multiscales"][0]["datasets"].reverse()
    group.attrs["ome"] = ome
    with pytest.raises(SlideError, match="from large to small"):
        open_slide(path)


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3", "0.4", "0.5", "0.5 sharded"])
def test_every_version_is_read(tmp_path: Path, version: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 90, 120)).astype(np.uint8)
    number, _, sharded = version.partition(" ")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3 if number == "0.5" else 2)
    datasets: list[dict[str, Any]] = []
    for level, factor in enumerate((1, 2)):
        layout: dict[str, Any] = {"chunks": (1, 1, 1, 32, 32)}
        if number != "0.5":
            layout["chunk_key_encoding"] = {"name": "v2", "separator": "." if number == "0.1" else "/"}
        if sharded:
            layout["shards"] = (1, 3, 1, 64, 64)
        group.create_array(str(level), data=pixels[None, :, None, ::factor, ::factor], **layout)
        scale = {"type": "scale", "scale": [1, 1, 1, 0.5 * factor, 0.5 * factor]}
        has_scale = {"coordinateTransformations": [scale]} if number >= "0.4" else {}
        datasets.append({"path": str(level), **has_scale})
    image: dict[str, Any] = {"version": number, "datasets": datasets}
    if number == "0.3":
        image["axes"] = list("tczyx")
    elif number >= "0.4":
        image["axes"] = [{"name": a} | ({"unit": "micrometer"} if a in "xy" else {}) for a in "tczyx"]
    attributes = {"multiscales": [image]}
    group.attrs.update({"ome": {"version": number, **attributes}} if number == "0.5" else attributes)
    with open_slide(tmp_path / "a.zarr", mpp=None if number >= "0.4" else 0.5) as slide:
        assert (slide.mpp, slide.dimensions, len(slide.levels)) == (0.5, (120, 90), 2)
        np.testing.assert_array_equal(slide.read(0, 0, 120, 90), pixels.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "uint16"}, "uint16"),
        ({"shape": (5, 40, 40)}, "5 channels"),
        ({"shape": (4, 3, 40, 40), "axes": "zcyx"}, "4 planes"),
        ({"shape": (2, 2, 3, 40, 40), "axes": "tzcyx"}, "4 planes"),
        (
            {"extra": {"omero": {"channels": [{"color": c} for c in ("0000FF", "00FF00", "FF0000")]}}},
            "3 channels",
        ),
        ({"extra": {"image-label": {}}}, "label image"),
        ({"axes": "cyy"}, "damaged"),
        ({"axes": "tcyx"}, "damaged"),
    ],
)
def test_what_is_no_brightfield_slide_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SlideError, match=rf"a\.zarr.*{words}"):
        open_slide(write(tmp_path / "a.zarr", **options))


def test_grey_is_replicated_with_a_warning(tmp_path: Path) -> None:
    with open_slide(write(tmp_path / "a.zarr", shape=(90, 120), axes="yx")) as slide:
        got = slide.read(0, 0, 120, 90)
        assert slide.warnings
    assert (got[..., :1] == got).all()


def test_a_result_is_no_slide(tmp_path: Path) -> None:
    store = write(tmp_path / "case.zarr")
    (store / "receipt.json").write_text("{}")
    with pytest.raises(SlideError, match=r"case\.zarr is a result"):
        open_slide(store)
    (store / "receipt.json").unlink()
    (store / "run.json").write_text("{}")
    with pytest.raises(SlideError, match=r"case\.zarr is a result"):
        open_slide(store)


def test_the_first_picture_of_a_bioformats2raw_folder_is_the_slide(tmp_path: Path) -> None:
    root = tmp_path / "converted.zarr"
    zarr.open_group(root, mode="w").attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    write(root / "0")
    with open_slide(root) as slide:
        assert slide.dimensions == (120, 90)
        assert slide.identity["name"] == "converted.zarr"


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    for number, spoil in enumerate(
        (
            lambda p: (p / "zarr.json").write_text("{"),
            lambda p: (p / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group"})),
            lambda p: shutil.rmtree(p / "0"),
            lambda p: (p / "0" / "zarr.json").write_text("[]"),
        )
    ):
        path = write(tmp_path / f"bad{number}.zarr")
        spoil(path)
        with pytest.raises(SlideError, match=rf"bad{number}\.zarr"):
            open_slide(path)


def test_a_broken_chunk_is_one_error_and_the_others_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", shape=(3, 128, 128))
    chunk = path / "0" / "c" / "0" / "1" / "1"
    chunk.write_bytes(b"nonsense")
    with open_slide(path) as slide:
        slide.read(0, 0, 64, 64)
        with pytest.raises(SlideError, match=r"a\.zarr.*piece 1, 1"):
            slide.read(64, 64, 10, 10)
        slide.read(64, 0, 64, 64)


def write_series(
    path: Path, names: list[str], shapes: list[tuple[int, int]], *, described: bool = True
) -> Path:
    """Write what bioformats2raw makes of a file with several pictures, and its OME-XML."""
    zarr.open_group(path, mode="w").attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    for index, (height, width) in enumerate(shapes):
        write(path / str(index), shape=(3, height, width))
    images = "".join(
        f'<Image Name="{name}"><Pixels SizeX="{width}" SizeY="{height}" PhysicalSizeX="0.25" PhysicalSizeY="0.25"/>'
        "</Image>"
        for name, (height, width) in zip(names, shapes, strict=True)
    )
    if described:
        (path / "OME").mkdir()
        (path / "OME" / "METADATA.ome.xml").write_text(f'<OME xmlns="x">{images}</OME>')
    return path


@pytest.mark.parametrize(
    ("names", "shapes", "size"),
    [
        (["label image", "scan"], [(60, 60), (90, 120)], (120, 90)),
        (["scan", "macro image"], [(90, 120), (300, 400)], (120, 90)),
        (["Scene #1", "Scene #2"], [(90, 120), (90, 140)], (140, 90)),
    ],
)
def test_of_a_series_the_scan_is_read_and_the_rest_named(
    tmp_path: Path, names: list[str], shapes: list[tuple[int, int]], size: tuple[int, int]
) -> None:
    with open_slide(write_series(tmp_path / "a.zarr", names, shapes)) as slide:
        assert slide.dimensions == size
        assert slide.mpp == 0.25
        assert [w.verdict for w in slide.statements] == ["taken", "agrees"]
        assert all(any(name in warning for warning in slide.warnings) for name in names)


def test_the_ome_xml_beside_an_image_may_contradict_it(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.zarr", ["scan"], [(90, 120)])
    xml = path / "OME" / "METADATA.ome.xml"
    xml.write_text(xml.read_text().replace("0.25", "0.5"))
    with open_slide(path) as slide:
        assert slide.mpp is None
        assert "0.25 µm (OME-Zarr scale) and 0.5 µm (OME PhysicalSizeX)" in slide.resolution_problem


@pytest.mark.parametrize(
    ("channels", "kind"),
    [
        ([{"color": "FFFFFF"}] * 3, "rgb"),
        ([{"color": "#808080", "label": "TL Brightfield"}] * 3, "rgb"),
        ([{"color": c} for c in ("FF0000", "00FF00", "0000FF")], "rgb"),
        ([{"color": c} for c in ("FF00FF", "00FFFF", "0000FF")], "stains"),
        ([{"label": c} for c in ("DAPI", "FITC", "Cy5")], "stains"),
    ],
)
def test_three_channels(tmp_path: Path, channels: list[dict[str, str]], kind: str) -> None:
    path = write(tmp_path / "a.zarr", extra={"omero": {"channels": channels}})
    if kind == "stains":
        with pytest.raises(SlideError, match="3 channels"):
            open_slide(path)
    else:
        with open_slide(path) as slide:
            assert slide.read(0, 0, 9, 9).shape == (9, 9, 3)


def test_opacity_is_composited_on_white(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", shape=(4, 90, 120))
    array = zarr.open_group(path, mode="r+")["0"]
    assert isinstance(array, zarr.Array)
    pixels = np.asarray(array[...])
    pixels[3] = 255
    pixels[3, :40] = 0
    array[...] = pixels
    with open_slide(path) as slide:
        got = slide.read(0, 0, 120, 90)
        assert (got[:40] == 255).all()
        np.testing.assert_array_equal(got[40:], pixels[:3, 40:].transpose(1, 2, 0))
        assert any("opacity" in warning for warning in slide.warnings)


class _Trap:
    """Unpickled, it touches a file."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._target,)


@pytest.mark.parametrize("where", ["compressor", "filters"])
@pytest.mark.parametrize("consolidated", [False, True])
def test_a_slide_runs_no_code(tmp_path: Path, where: str, consolidated: bool) -> None:
    """Review 1: with some versions of zarr and numcodecs, reading ran what a pickle codec held."""
    path, target = tmp_path / "a.zarr", tmp_path / "touched"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=np.zeros((64, 64), np.uint8), chunks=(64, 64), compressors=None)
    group.attrs["multiscales"] = [{"version": "0.4", "axes": ["y", "x"], "datasets": [{"path": "0"}]}]
    metadata = json.loads((path / "0" / ".zarray").read_text())
    codec = {"id": "pickle", "protocol": 5}
    metadata[where] = [codec] if where == "filters" else codec
    (path / "0" / ".zarray").write_text(json.dumps(metadata))
    if consolidated:
        entries = {
            name: json.loads((path / name).read_text()) for name in (".zgroup", ".zattrs", "0/.zarray")
        }
        (path / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": entries}))
    for chunk in (path / "0").glob("0*"):
        chunk.write_bytes(pickle.dumps(_Trap(target)))
    with pytest.raises(SlideError, match="pickle"):
        open_slide(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "codec", [{"name": "numcodecs.pickle"}, {"name": "numcodecs.json2"}, {"name": "made_up"}]
)
@pytest.mark.parametrize("sharded", [False, True])
def test_unknown_codecs_of_version_3_are_refused(
    tmp_path: Path, codec: dict[str, Any], sharded: bool
) -> None:
    path = write(tmp_path / "a.zarr")
    file = path / "0" / "zarr.json"
    metadata = json.loads(file.read_text())
    inner = [{"name": "bytes"}, codec]
    shard = {
        "chunk_shape": [3, 64, 64],
        "codecs": inner,
        "index_codecs": [{"name": "bytes"}, {"name": "crc32c"}],
    }
    metadata["codecs"] = [{"name": "sharding_indexed", "configuration": shard}] if sharded else inner
    file.write_text(json.dumps(metadata))
    with pytest.raises(SlideError):
        open_slide(path)


@pytest.mark.parametrize("path_inside", ["../b.zarr/0", "/etc", "a/../../b.zarr/0"])
def test_levels_lie_inside_the_image(tmp_path: Path, path_inside: str) -> None:
    write(tmp_path / "b.zarr")
    path = write(tmp_path / "a.zarr")
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace('"path": "0"', f'"path": "{path_inside}"'))
    with pytest.raises(SlideError, match="leads out"):
        open_slide(path)


@pytest.mark.parametrize("depth", [300, 100_000])
def test_deeply_nested_metadata_is_one_sentence(tmp_path: Path, depth: int) -> None:
    path = write(tmp_path / "a.zarr")
    (path / "zarr.json").write_text(
        '{"attributes":' + "[" * depth + "]" * depth + ',"zarr_format":3,"node_type":"group"}'
    )
    with pytest.raises(SlideError, match=r"a\.zarr.*damaged"):
        open_slide(path)


@pytest.mark.parametrize("shape", [[3, 2**40, 64], [3, 90, 0], [3, -1, 120], [3, 1e99, 4]])
def test_lying_shapes_are_refused(tmp_path: Path, shape: list[Any]) -> None:
    path = write(tmp_path / "a.zarr")
    metadata = json.loads((path / "0" / "zarr.json").read_text())
    metadata["shape"] = shape
    (path / "0" / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(SlideError):
        open_slide(path)
