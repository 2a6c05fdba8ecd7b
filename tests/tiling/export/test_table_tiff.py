"""Areas and tiles as tables, labels as OME-TIFF: the same numbers as in the store."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openslide
import pytest
import tifffile

from tiling.errors import ExportError
from tiling.export.table import write_areas, write_tiles
from tiling.export.tiff import write_tiff
from tiling.store.layout import FLAG_PREDICTED
from tiling.store.reader import Store


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_areas_are_the_receipts_and_percentages_are_of_the_tissue(toy_store: Store, tmp_path: Path) -> None:
    write_areas(toy_store, tmp_path / "areas.csv")
    table = rows(tmp_path / "areas.csv")
    assert {row["class"]: float(row["area_mm2"]) for row in table} == pytest.approx(toy_store.areas)
    assert sum(float(row["percent_of_tissue"]) for row in table) == pytest.approx(100, abs=0.01)
    assert [row["abbreviation"] for row in table] == ["RED", "GRN", "BLU"]


def test_tiles_are_the_stores_in_level0_pixels(toy_store: Store, tmp_path: Path) -> None:
    write_tiles(toy_store, tmp_path / "tiles.csv")
    table, tiles = rows(tmp_path / "tiles.csv"), toy_store.tiles()
    assert len(table) == toy_store.grid.rows * toy_store.grid.columns
    assert (table[0]["x"], table[0]["y"]) == ("101.00", "57.00")
    last = table[-1]
    assert (int(last["row"]), int(last["column"])) == (toy_store.grid.rows - 1, toy_store.grid.columns - 1)
    assert float(last["x"]) == pytest.approx(tiles["x"][-1], abs=0.01)
    assert float(last["presence_BLU"]) == pytest.approx(tiles["presence"][-1, 2], abs=1e-4)
    assert float(last["share_RED"]) == pytest.approx(tiles["shares"][-1, 0], abs=1e-4)
    assert {row["status"] for row in table} == {"predicted"}
    assert (tiles["flags"] & FLAG_PREDICTED).all()


def test_the_tiff_is_the_pyramid_with_size_names_and_colours(toy_store: Store, tmp_path: Path) -> None:
    path = tmp_path / "toy.ome.tif"
    write_tiff(toy_store, path)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        (series,) = tiff.series
        levels = toy_store.labels()
        assert len(series.levels) == len(levels)
        for stored, level in zip(levels, series.levels, strict=True):
            np.testing.assert_array_equal(level.asarray(), stored[...])
        page = tiff.pages.first
        assert page.is_tiled
        assert page.photometric == tifffile.PHOTOMETRIC.PALETTE
        np.testing.assert_array_equal(page.colormap[:, 1] // 257, toy_store.schema.classes[0].rgb)
        xml = str(tiff.ome_metadata)
    text = "".join(ElementTree.tostring(ElementTree.fromstring(xml), "unicode"))
    assert 'PhysicalSizeX="0.7"' in text
    assert "green tissue" in text


def test_the_ome_xml_is_what_its_makers_allow(toy_store: Store, tmp_path: Path) -> None:
    """The schema of the Open Microscopy Environment, as it comes with the package ome-types."""
    etree = pytest.importorskip("lxml.etree")
    found = importlib.util.find_spec("ome_types")
    if found is None or found.origin is None:
        pytest.skip("ome-types is not installed")
    parser = etree.XMLParser(no_network=True)
    schema = etree.XMLSchema(etree.parse(Path(found.origin).with_name("ome-2016-06.xsd"), parser))
    write_tiff(toy_store, tmp_path / "toy.ome.tif")
    with tifffile.TiffFile(tmp_path / "toy.ome.tif") as tiff:
        text = str(tiff.ome_metadata)
    assert schema.validate(etree.fromstring(text.encode())), schema.error_log
    assert not schema.validate(etree.fromstring(text.replace("SizeX", "SizeQ").encode()))


def test_openslide_reads_the_tiff_in_colour(toy_store: Store, tmp_path: Path) -> None:
    path = tmp_path / "toy.ome.tif"
    write_tiff(toy_store, path)
    with openslide.OpenSlide(path) as slide:
        labels = toy_store.labels()[0][...]
        assert slide.dimensions == labels.shape[::-1]
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.7)
        colours = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
    np.testing.assert_array_equal(colours, toy_store.schema.palette[labels])


def test_unwritable_places_are_one_sentence(toy_store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (write_areas, write_tiles, write_tiff):
        with pytest.raises(ExportError, match="cannot be written"):
            write(toy_store, tmp_path / "file" / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_no_cell_of_the_areas_runs_in_a_spreadsheet(toy_store: Store, tmp_path: Path) -> None:
    toy_store.name, name = "=1+2", toy_store.name
    try:
        write_areas(toy_store, tmp_path / "areas.csv")
    finally:
        toy_store.name = name
    assert {row["slide_id"] for row in rows(tmp_path / "areas.csv")} == {"'=1+2"}
