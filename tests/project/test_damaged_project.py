"""A project from a stranger, or after a bad disk: one sentence that says what to do, never a wait or a traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from napari_wsss.project.cache import FeatureCache
from napari_wsss.project.features import CHUNK, FeatureWriter, TileTable, described
from napari_wsss.project.label_log import LabelLog
from napari_wsss.project.reduction import REDUCTION_NPZ, Reduction
from tiling.errors import FeaturesError, LabelError

LATTICE = {"width": 320, "height": 64, "tile": 32, "stride": 32, "scale": 1.0, "origin": [0, 0]}
ABOUT = {"grid": LATTICE}


@pytest.fixture
def features(tmp_path: Path) -> Path:
    tiles = TileTable(
        *(np.arange(10, dtype=np.int32) * k for k in (0, 1)),
        *(np.arange(10) * float(k) for k in (32, 0)),
        np.ones(10, np.float32),
    )
    path = tmp_path / "features" / "a.zarr"
    FeatureWriter(path, tiles, 2, 3, ABOUT).append(np.ones((10, 2, 2, 3)))
    return path


def cache(path: Path) -> FeatureCache:
    return FeatureCache(lambda _: path, lambda _: ABOUT)


def test_whole_features_are_handed_out(features: Path) -> None:
    assert cache(features).get("a").values.shape == (10, 2, 2, 3)
    assert CHUNK > 10


def edit(path: Path, key: str, value: object) -> None:
    data = json.loads(path.read_text())
    data[key] = value
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("row/zarr.json", lambda p: edit(p, "shape", [3])),
        ("row/zarr.json", lambda p: edit(p, "codecs", 7)),
        ("row/zarr.json", lambda p: p.write_text("[" * 60_000)),
        ("column/c/0", lambda p: p.write_bytes(p.read_bytes()[:5])),
        ("x/c/0", lambda p: p.write_bytes(b"noise")),
        ("features/zarr.json", lambda p: edit(p, "shape", [10, 2, 2])),
        ("features/zarr.json", lambda p: edit(p, "shape", [10**9, 2, 2, 3])),
        ("features/zarr.json", lambda p: edit(p, "shape", [10, 2, 3, 3])),
        ("features/zarr.json", lambda p: edit(p, "shape", [10, 0, 0, 3])),
        ("features/zarr.json", lambda p: edit(p, "shape", [10, 10**9, 10**9, 3])),
        ("features/zarr.json", lambda p: edit(p, "data_type", "float32")),
        ("features/c/0/0/0/0", lambda p: p.write_bytes(b"short")),
        ("tissue/c/0", lambda p: (p.unlink(), os.mkfifo(p))),
        ("tissue/c/0", lambda p: (p.unlink(), p.symlink_to("/dev/zero"))),
    ],
)
def test_damaged_features_are_one_sentence(features: Path, name: str, damage: object) -> None:
    damage(features / name)  # type: ignore[operator]
    with pytest.raises(FeaturesError, match="prepare") as caught:
        cache(features).get("a")
    assert str(features) in str(caught.value) or "not prepared" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("column", "place"), [("column", 99), ("column", 10), ("row", 2), ("row", -1)])
def test_a_tile_outside_its_slide_is_damage(features: Path, column: str, place: int) -> None:
    import zarr

    zarr.open_array(features / column, mode="r+")[3] = place
    with pytest.raises(FeaturesError, match="outside its slide"):
        cache(features).get("a")


def test_columns_that_changed_places_are_damage(features: Path) -> None:
    (features / "row").rename(features / "z")
    (features / "x").rename(features / "row")
    (features / "z").rename(features / "x")
    with pytest.raises(FeaturesError, match="damaged"):
        cache(features).get("a")


def test_metadata_that_cannot_be_read_are_none(features: Path) -> None:
    (features / "zarr.json").write_text('{"zarr_format": 3, "node_type": "odd"}')
    assert described(features) is None
    with pytest.raises(FeaturesError, match="not prepared"):
        cache(features).get("a")


def test_a_pipe_as_log_or_reduction_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(LabelError, match="not an ordinary file"):
        LabelLog(tmp_path / "a.csv", 3).decisions()
    os.mkfifo(tmp_path / REDUCTION_NPZ)
    assert Reduction.read(tmp_path, "0" * 64) is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY"])
def test_a_damaged_reduction_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / REDUCTION_NPZ).write_bytes(content)
    assert Reduction.read(tmp_path, "0" * 64) is None
