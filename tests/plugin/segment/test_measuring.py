from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_per_drawn_shape_and_per_annotation(
    make_session: Callable[..., Any], viewer: Any, banded_slide: Path, tmp_path: Path
) -> None:
    session = make_session()
    session.open_slide(banded_slide)
    session.run()
    session.wait(300)
    session.name_class(1, name="Karzinom")
    # 200 µm wide over the border of the first two bands (at 200 µm), 100 µm high: 0.01 mm² of each.
    layer = session.add_shapes()
    corners = np.array([[100, 100], [100, 300], [200, 300], [200, 100]], float)
    layer.add_rectangles([corners / 0.5 - 0.5])
    layer.add_rectangles([(corners + np.array([200, 400])) / 0.5 - 0.5])
    assert session.measure_drawn(layer, tmp_path / "shapes.csv")
    session.wait(60)
    rows = table(tmp_path / "shapes.csv")
    assert {row["name"] for row in rows} == {"Region 1", "Region 2"}
    first = {row["class"]: float(row["area_mm2"]) for row in rows if row["annotation"] == "1"}
    assert first == pytest.approx(
        {"Karzinom": 0.01, "Stroma": 0.01, "Lymphocytes": 0.0, "Necrosis": 0.0}, abs=2e-4
    )
    ring = [[x / 0.5, y / 0.5] for y, x in [*corners, corners[0]]]
    feature = {
        "type": "Feature",
        "id": "a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"name": "invasive front"},
    }
    drawn = tmp_path / "a.geojson"
    pin = {**feature, "id": "b", "geometry": {"type": "Point", "coordinates": [1, 1]}}
    drawn.write_text(json.dumps({"type": "FeatureCollection", "features": [feature, pin]}))
    assert session.measure_annotations(drawn, tmp_path / "annotations.csv")
    session.wait(60)
    assert (
        "annotations.csv is written. Annotation 2 of a.geojson is a point or a line" in session.exports.notice
    )
    found = {row["class"]: float(row["area_mm2"]) for row in table(tmp_path / "annotations.csv")}
    assert found == pytest.approx(first, abs=1e-4)


def test_nothing_drawn_is_said(make_session: Callable[..., Any], banded_slide: Path, tmp_path: Path) -> None:
    session = make_session()
    session.open_slide(banded_slide)
    session.run()
    session.wait(300)
    assert not session.measure_drawn(session.add_shapes(), tmp_path / "a.csv")
    assert "Nothing is drawn" in session.problem
