"""A result in notebooks and other Python libraries: what is shown, where regions lie, what is missing is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from wsss_toys import ColourPredictor, colourful

from napari_wsss import Result
from tiling.engine.drive import run
from tiling.errors import ExportError, StoreError
from tiling.geometry import Box
from tiling.plan.run_plan import RunOptions
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide

MPP, SLIDE_MPP = 0.7, 0.4
BOUNDS = Box(101, 57, 1000, 500)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of 0.7 µm on a slide of 0.4 µm with bounds; its name would like to be markup."""
    out = tmp_path_factory.mktemp("result") / "<b>toy.zarr"
    pixels = np.full((600, 1150, 3), 255, np.uint8)
    pixels[57:557, 101:1101] = colourful(500, 1000)
    with Slide(ArrayReader(pixels, mpp=SLIDE_MPP, bounds=BOUNDS)) as slide:
        list(run(slide, ColourPredictor(), out, RunOptions(mpp=MPP, overlap=0.25, tissue=None)))
    return out


@pytest.fixture
def result(path: Path) -> Result:
    return Result.open(path)


def test_an_earlier_result_is_opened(result: Result, path: Path, tmp_path: Path) -> None:
    assert result.status == "done"
    assert result.areas == json.loads((path / "receipt.json").read_text())["areas_mm2"]
    with pytest.raises(StoreError, match="not a result store"):
        Result.open(tmp_path)


def test_an_unfinished_result_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiling.store.reader.read_receipt", lambda _: None)
    with pytest.raises(StoreError, match="not complete"):
        Result.open(path)


def test_a_notebook_shows_slide_classes_and_areas(result: Result) -> None:
    shown = result._repr_html_()
    assert shown.count('<img src="data:image/jpeg;base64,') == 2
    assert "&lt;b&gt;toy" in shown
    assert "<b>toy" not in shown
    assert "Research use only, not for diagnosis." in shown
    for name, area in result.areas.items():
        assert name in shown
        assert f"{area:,.3f}" in shown
    assert len(shown) < 300_000


def test_a_result_without_tissue_shows_itself_too(tmp_path: Path) -> None:
    white = np.full((200, 300, 3), 245, np.uint8)
    with Slide(ArrayReader(white, mpp=0.5)) as slide:
        list(run(slide, ColourPredictor(), tmp_path / "white.zarr", RunOptions(mpp=0.5)))
    empty = Result.open(tmp_path / "white.zarr")
    assert empty.status == "empty"
    assert "empty" in empty._repr_html_()
    assert empty._repr_html_().count(">0.0<") == len(empty.areas)


# --- GeoDataFrame ---


def test_polygons_are_a_table_in_the_slides_pixels(result: Result) -> None:
    pytest.importorskip("geopandas")
    table = result.polygons()
    for name, area in result.areas.items():
        of_class = table[table.class_name == name]
        assert of_class.area_um2.sum() / 1e6 == pytest.approx(area, abs=1e-6)
        assert of_class.area.sum() * SLIDE_MPP**2 / 1e6 == pytest.approx(area, rel=1e-3)
    assert set(table.color) <= {tissue.color for tissue in result.store.schema.classes}
    assert table.crs is None
    left, top, right, bottom = table.total_bounds
    assert (left, top) == pytest.approx((BOUNDS.x, BOUNDS.y), abs=0.02)
    assert abs(right - BOUNDS.right) < 2 * MPP / SLIDE_MPP
    assert abs(bottom - BOUNDS.bottom) < 2 * MPP / SLIDE_MPP


def test_polygons_take_the_options_of_the_export(result: Result) -> None:
    pytest.importorskip("geopandas")
    scanned = result.polygons(frame="qupath")
    assert scanned.total_bounds[:2] == pytest.approx((0, 0), abs=0.02)
    large = result.polygons(min_area_um2=float(scanned.area_um2.median()) + 1)
    assert 0 < len(large) < len(scanned)
    none = result.polygons(min_area_um2=1e12)
    assert (len(none), list(none.columns)) == (0, list(scanned.columns))


# --- SpatialData; the package itself does not go with our pins ---


class Fake(ModuleType):
    """A module whose attributes are set from outside."""


def _parse(data: Any, **options: Any) -> SimpleNamespace:
    return SimpleNamespace(data=data, **options)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask.array")
    parser = SimpleNamespace(parse=_parse)
    members: dict[str, dict[str, Any]] = {
        "spatialdata": {"SpatialData": SimpleNamespace},
        "spatialdata.models": {"Image2DModel": parser, "Labels2DModel": parser, "TableModel": parser},
        "spatialdata.transformations": {"Affine": lambda matrix, *axes: (np.array(matrix), axes)},
        "anndata": {"AnnData": SimpleNamespace},
    }
    for name, attributes in members.items():
        module = Fake(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("fakes")
def test_spatialdata_has_the_slides_frame_in_um(result: Result) -> None:
    data: Any = result.to_spatialdata()
    labels = data.labels["tissue"]
    np.testing.assert_array_equal(np.asarray(labels.data), np.asarray(result.labels[0]))
    matrix, axes = labels.transformations["global"]
    assert axes == (("x", "y"), ("x", "y"))
    corner, end = (matrix @ [*reversed(place), 1] for place in ((0, 0), result.labels[0].shape))
    np.testing.assert_allclose(corner[:2], [BOUNDS.x * SLIDE_MPP, BOUNDS.y * SLIDE_MPP])
    # The overview covers the same ground.
    image = data.images["overview"]
    matrix, _ = image.transformations["global"]
    assert (image.dims, image.c_coords, image.data.shape[0]) == (("c", "y", "x"), ["r", "g", "b"], 3)
    np.testing.assert_allclose((matrix @ [0, 0, 1])[:2], corner[:2], atol=1e-6)
    np.testing.assert_allclose((matrix @ [*reversed(image.data.shape[1:]), 1])[:2], end[:2], atol=2 * MPP)
    table = data.tables["classes"]
    assert table.region == "tissue"
    assert table.data.obs["label"].tolist() == list(range(1, len(result.areas) + 1))
    assert dict(zip(table.data.obs.class_name, table.data.obs.area_mm2, strict=True)) == result.areas


@pytest.mark.parametrize(("module", "method"), [("geopandas", "polygons"), ("spatialdata", "to_spatialdata")])
def test_what_is_not_installed_is_one_sentence(
    module: str, method: str, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ExportError, match=rf"needs the package {module}.*napari-wsss\[{module}\]"):
        getattr(result, method)()
