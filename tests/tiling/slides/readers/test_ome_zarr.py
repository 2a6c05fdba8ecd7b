"""OME-Zarr: resolution from scales and units, what is no slide, damage."""

from __future__ import annotations

import json
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
