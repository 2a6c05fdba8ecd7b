"""The zoomable page: its pictures are the slide and its labels, and it is made only when asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from wsss_toys import ColourPredictor, colourful

from tiling.batch import report_zoom, write_report
from tiling.engine import run
from tiling.geometry import Box
from tiling.plan import RunOptions
from tiling.slides import Slide
from tiling.slides.readers.array import ArrayReader
from tiling.store import open_store

STEM = "a & b"


def put_together(level: Path, mode: str) -> NDArray[Any]:
    """Return all pictures of a scale as one array."""
    places = {
        tuple(map(int, file.stem.split("_"))): Image.open(file).convert(mode) for file in level.iterdir()
    }
    columns, rows = (1 + max(place[i] for place in places) for i in (0, 1))
    return np.concatenate(
        [np.concatenate([np.asarray(places[x, y]) for x in range(columns)], axis=1) for y in range(rows)]
    )


def test_pictures_are_the_slide_and_its_labels(zoomable: Path) -> None:
    write_report(zoomable, zoom=str)
    tiles = zoomable / "report" / f"{STEM}.tiles"
    assert sorted(p.name for p in (tiles / "slide").iterdir()) == ["0", "1", "2"]
    slide = np.asarray(Image.open(zoomable.parent / f"{STEM}.png"))
    shown = put_together(tiles / "slide" / "2", "RGB")
    assert shown.shape == slide.shape
    assert np.abs(shown.astype(int) - slide).mean() < 6  # JPEG
    store = open_store(zoomable / f"{STEM}.zarr")
    labels = np.asarray(store.labels()[0])
    coloured = put_together(tiles / "classes" / "2", "RGBA")
    np.testing.assert_array_equal(coloured[..., 3] > 0, labels > 0)
    np.testing.assert_array_equal(coloured[labels > 0][:, :3], store.schema.palette[labels[labels > 0]])
    assert put_together(tiles / "classes" / "1", "RGBA").shape[:2] == (350, 650)
    assert put_together(tiles / "classes" / "0", "RGBA").shape[:2] == (175, 325)


def test_bounds_and_other_scales_lie_where_the_labels_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels of 0.7 µm on a slide of 0.4 µm whose scanned area begins at (101, 57)."""
    pixels = np.full((600, 1150, 3), 255, np.uint8)
    pixels[57:557, 101:1101] = colourful(500, 1000)

    def slide(*_: Any, **__: Any) -> Slide:
        return Slide(ArrayReader(pixels, mpp=0.4, bounds=Box(101, 57, 1000, 500)))

    with slide() as opened:
        list(run(opened, ColourPredictor(), tmp_path / "a.zarr", RunOptions(mpp=0.7, tissue=None)))
    monkeypatch.setattr(report_zoom, "open_slide", slide)
    store = open_store(tmp_path / "a.zarr")
    report_zoom.write_zoom(store, "anywhere", tmp_path, "a")
    labels = np.asarray(store.labels()[0])
    shown = put_together(tmp_path / "a.tiles" / "slide" / "1", "RGB")
    coloured = put_together(tmp_path / "a.tiles" / "classes" / "1", "RGB")
    assert shown.shape[:2] == coloured.shape[:2] == labels.shape
    with slide() as opened:
        wanted = opened.read(101, 57, labels.shape[1], labels.shape[0], mpp=0.7)
    here, beside = (
        np.abs(np.roll(shown, shift, axis=(0, 1)).astype(int) - wanted).mean() for shift in ((0, 0), (1, 1))
    )
    assert here < beside / 2  # JPEG; one pixel off would be worse
    np.testing.assert_array_equal(coloured[labels > 0], store.schema.palette[labels[labels > 0]])


def test_large_slides_begin_at_a_coarser_scale(zoomable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_zoom, "MOST_PIXELS", 300 * 1000)
    write_report(zoomable, zoom=str)
    classes = zoomable / "report" / f"{STEM}.tiles" / "classes"
    assert put_together(classes / "1", "RGBA").shape[:2] == (350, 650)
    assert "Up to 1 µm" in (zoomable / "report" / f"{STEM}.zoom.html").read_text()


def test_it_is_made_when_asked_for_and_once(zoomable: Path) -> None:
    told: list[str] = []
    write_report(zoomable)
    report = zoomable / "report"
    assert sorted(p.name for p in report.iterdir()) == [f"{STEM}.html", f"{STEM}.jpg"]
    write_report(zoomable, zoom=told.append)
    page, about = report / f"{STEM}.zoom.html", report / f"{STEM}.html"
    assert "a%20%26%20b.zoom.html" in about.read_text()
    assert "CodePlex" in (report / "openseadragon-LICENSE.txt").read_text()
    date = page.stat().st_mtime_ns
    page.write_text("kept")
    os.utime(page, ns=(date, date))
    write_report(zoomable)
    write_report(zoomable, zoom=told.append)
    assert page.read_text() == "kept"
    assert "zoom.html" in about.read_text()
    (zoomable / f"{STEM}.zarr" / "receipt.json").touch()
    write_report(zoomable)
    assert "zoom.html" not in about.read_text()  # it shows an older result
    write_report(zoomable, zoom=told.append)
    assert page.read_text() != "kept"
    assert "zoom.html" in about.read_text()
    assert told == [STEM, STEM]


@pytest.mark.parametrize(("other", "words"), [(None, "not where it was"), ((9, 9, 9), "Another slide")])
def test_without_the_slide_its_overview_is_shown(
    zoomable: Path, other: tuple[int, int, int] | None, words: str
) -> None:
    path = zoomable.parent / f"{STEM}.png"
    path.unlink()
    if other is not None:
        Image.new("RGB", (1300, 700), other).save(path)
    write_report(zoomable, zoom=str)
    assert words in (zoomable / "report" / f"{STEM}.zoom.html").read_text()
    shown = put_together(zoomable / "report" / f"{STEM}.tiles" / "slide" / "2", "RGB")
    assert shown.shape == (700, 1300, 3)
    assert shown.std() > 20


def test_the_page_takes_nothing_from_a_network_and_escapes_names(zoomable: Path) -> None:
    write_report(zoomable, zoom=str)
    text = (zoomable / "report" / f"{STEM}.zoom.html").read_text()
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")
    assert "<h1>a &amp; b</h1>" in text
