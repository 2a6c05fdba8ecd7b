"""Polygons of a result: holes stay holes, and regions are streamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import shape
from wsss_toys import colourful, plain, segment_array

from tiling.store.reader import open_store


def test_holes_stay_and_properties_are_properties(tmp_path: Path) -> None:
    from tiling.export.geojson import write_geojson

    image = plain((200, 20, 20))
    image[40:80, 50:100] = (20, 200, 20)
    segment_array(image, tmp_path / "a.zarr", overlap=0)
    write_geojson(open_store(tmp_path / "a.zarr"), tmp_path / "a.geojson")
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    red, green = sorted(features, key=lambda f: -shape(f["geometry"]).area)
    assert len(red["geometry"]["coordinates"]) == 2
    assert shape(red["geometry"]).area == 120 * 150 - 40 * 50
    assert shape(green["geometry"]).area == 40 * 50
    for feature in (red, green):
        assert set(feature) == {"type", "id", "geometry", "properties"}
        assert feature["properties"]["objectType"] == "annotation"
        assert set(feature["properties"]["classification"]) == {"name", "color"}


def test_regions_are_streamed_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiling.export import geojson
    from tiling.polygons import label_regions

    drawn: list[int] = []

    def watched(labels: Any, **options: Any) -> Any:
        for region in label_regions(labels, **{**options, "block": 64}):
            drawn.append(region.label)
            yield region

    monkeypatch.setattr(geojson, "label_regions", watched)
    segment_array(colourful(400, 400), tmp_path / "a.zarr")
    features = geojson.features(open_store(tmp_path / "a.zarr"))
    next(features)
    assert len(drawn) == 1
    assert len(list(features)) > 10
