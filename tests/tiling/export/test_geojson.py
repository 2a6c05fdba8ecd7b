"""GeoJSON that QuPath can read: valid, in the right frame, and equal to the store when drawn again."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from shapely.geometry import shape

from tiling.errors import ExportError
from tiling.export.geojson import write_geojson
from tiling.store.reader import Store


def read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return data


def drawn(collection: dict[str, Any], store: Store, origin: tuple[int, int]) -> NDArray[np.uint8]:
    """Rasterise features at the store's resolution, by pixel centres."""
    value = {name: i for i, name in enumerate(store.schema.names, start=1)}
    height, width = store.labels()[0].shape
    x, y = np.meshgrid(
        origin[0] + (np.arange(width) + 0.5) * store.scale,
        origin[1] + (np.arange(height) + 0.5) * store.scale,
    )
    image = np.zeros((height, width), np.uint8)
    for feature in collection["features"]:
        inside = shapely.contains_xy(shape(feature["geometry"]), x, y)
        image[inside] = value[feature["properties"]["classification"]["name"]]
    return image


@pytest.mark.parametrize(("frame", "origin"), [("qupath", (0, 0)), ("openslide", (101, 57))])
def test_the_round_trip_gives_the_labels_back_in_both_frames(
    toy_store: Store, tmp_path: Path, frame: Any, origin: tuple[int, int]
) -> None:
    path = tmp_path / "new" / "toy.geojson"
    count = write_geojson(toy_store, path, frame=frame)
    collection = read(path)
    assert count == len(collection["features"]) > 5
    assert collection["napari_wsss"]["level0_origin"] == list(origin)
    labels = toy_store.labels()[0][...]
    assert set(np.unique(labels)) >= {1, 2, 3}
    assert (drawn(collection, toy_store, origin) == labels).mean() >= 0.995


def test_every_feature_is_what_qupath_reads(toy_store: Store, tmp_path: Path) -> None:
    write_geojson(toy_store, tmp_path / "a.geojson")
    write_geojson(toy_store, tmp_path / "b.geojson")
    assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "b.geojson").read_bytes()
    collection = read(tmp_path / "a.geojson")
    assert collection["type"] == "FeatureCollection"
    colors = {c.name: list(c.rgb) for c in toy_store.schema.classes}
    ids = [uuid.UUID(feature["id"]) for feature in collection["features"]]
    assert len(set(ids)) == len(ids)
    for feature in collection["features"]:
        geometry, properties = shape(feature["geometry"]), feature["properties"]
        assert feature["type"] == "Feature"
        assert geometry.geom_type == "Polygon"
        assert geometry.is_valid
        assert all(ring[0] == ring[-1] and len(ring) >= 4 for ring in feature["geometry"]["coordinates"])
        assert geometry.exterior.is_ccw
        assert not any(hole.is_ccw for hole in geometry.interiors)
        assert properties["objectType"] == "annotation"
        assert properties["classification"]["color"] == colors[properties["classification"]["name"]]
        # level-0 pixels of 0.4 µm; corners are rounded to a hundredth of a pixel
        assert properties["measurements"]["Area µm^2"] == pytest.approx(geometry.area * 0.16, rel=1e-2)


def test_areas_add_up_to_the_receipt(toy_store: Store, tmp_path: Path) -> None:
    write_geojson(toy_store, tmp_path / "a.geojson")
    total = dict.fromkeys(toy_store.schema.names, 0.0)
    for feature in read(tmp_path / "a.geojson")["features"]:
        properties = feature["properties"]
        total[properties["classification"]["name"]] += properties["measurements"]["Area µm^2"] / 1e6
    assert total == pytest.approx(toy_store.areas, rel=1e-3)


def test_holes_are_kept_and_small_ones_filled_on_request(toy_store: Store, tmp_path: Path) -> None:
    write_geojson(toy_store, tmp_path / "all.geojson")
    write_geojson(toy_store, tmp_path / "large.geojson", min_area_um2=300)
    everything, large = read(tmp_path / "all.geojson"), read(tmp_path / "large.geojson")
    assert sum(len(f["geometry"]["coordinates"]) - 1 for f in everything["features"]) > 0
    assert 0 < len(large["features"]) < len(everything["features"])
    for feature in large["features"]:
        outline, *holes = feature["geometry"]["coordinates"]
        assert all(shapely.Polygon(ring).area * 0.16 >= 299 for ring in (outline, *holes))


def test_simplified_geometry_is_valid_and_close(toy_store: Store, tmp_path: Path) -> None:
    write_geojson(toy_store, tmp_path / "all.geojson")
    write_geojson(toy_store, tmp_path / "simple.geojson", simplify_um=1.4)
    simple = read(tmp_path / "simple.geojson")
    assert all(shape(f["geometry"]).is_valid for f in simple["features"])
    assert (tmp_path / "simple.geojson").stat().st_size < (tmp_path / "all.geojson").stat().st_size * 0.8
    assert (drawn(simple, toy_store, (0, 0)) == toy_store.labels()[0][...]).mean() > 0.9


def test_gz_is_the_same_compressed(toy_store: Store, tmp_path: Path) -> None:
    write_geojson(toy_store, tmp_path / "a.geojson")
    write_geojson(toy_store, tmp_path / "a.geojson.gz")
    assert gzip.decompress((tmp_path / "a.geojson.gz").read_bytes()) == (tmp_path / "a.geojson").read_bytes()


def test_an_unwritable_place_is_one_sentence_and_leaves_nothing(toy_store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot be written"):
        write_geojson(toy_store, tmp_path / "file" / "a.geojson")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_geopandas_opens_the_file(toy_store: Store, tmp_path: Path) -> None:
    """With its own reader (GDAL), which is stricter than json."""
    geopandas = pytest.importorskip("geopandas")
    write_geojson(toy_store, tmp_path / "toy.geojson", frame="openslide")
    table = geopandas.read_file(tmp_path / "toy.geojson")
    assert table.geometry.is_valid.all()
    assert set(table.geom_type) <= {"Polygon", "MultiPolygon"}
    total = shapely.area(table.geometry.to_numpy()).sum() * (toy_store.slide_mpp / 1000) ** 2
    assert total == pytest.approx(sum(toy_store.areas.values()), rel=1e-6)
