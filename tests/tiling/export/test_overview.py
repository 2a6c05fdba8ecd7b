"""The overview picture: says what it must, shows classes where they are, and fits any slide."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image, ImageDraw
from wsss_toys import TOY_SCHEMA, ColourPredictor, colourful

from tiling.engine.drive import run
from tiling.errors import ExportError
from tiling.export.lettering import Lettering
from tiling.export.overview import NOTICE, overlay, render_overview, scale_bar_um, write_overview
from tiling.plan.run_plan import RunOptions
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.reader import Store, open_store


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects everything that is written on the page."""
    written: list[str] = []
    draw = Lettering.draw

    def note(self: Lettering, page: Any, x: float, baseline: float, text: str) -> float:
        written.append(text)
        return draw(self, page, x, baseline, text)

    monkeypatch.setattr(Lettering, "draw", note)
    return written


def test_the_page_names_slide_classes_amounts_scale_and_purpose(toy_store: Store, texts: list[str]) -> None:
    render_overview(toy_store)
    page = " ".join(texts)
    assert texts[0] == "toy"
    assert NOTICE in page
    assert "100 µm" in texts  # the slide is 400 µm wide
    for name, area in toy_store.areas.items():
        assert name in page
        assert f"{100 * area / sum(toy_store.areas.values()):.1f} %" in page
    assert "mm²" in page


def test_the_map_beside_the_slide_shows_each_class_in_its_place(toy_store: Store, tmp_path: Path) -> None:
    write_overview(toy_store, tmp_path / "new" / "toy.png")
    with Image.open(tmp_path / "new" / "toy.png") as image:
        page = np.asarray(image).astype(int)
    # The toy slide is twice as wide as high, so the map stands below it: 1200 × 600 px each, 250 px of head.
    left = (page.shape[1] - 1200) // 2
    slide, colours = page[210:810, left : left + 1200], page[850:1450, left : left + 1200]
    labels = toy_store.labels()[0][...]
    for label, tissue in enumerate(TOY_SCHEMA.classes, start=1):
        y, x = np.nonzero(_inner(labels == label))
        at = ((y + 0.5) * 600 / labels.shape[0]).astype(int), ((x + 0.5) * 1200 / labels.shape[1]).astype(int)
        mixed = 0.45 * slide[at] + 0.55 * np.array(tissue.rgb)
        assert np.abs(colours[at] - mixed).mean() < 4


def _inner(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Keep pixels away from borders, which are drawn opaque."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_erosion(mask, iterations=3))


def test_overlay_leaves_label_0_clear_and_borders_opaque() -> None:
    labels = np.zeros((6, 6), np.uint8)
    labels[1:5, 1:5] = 2
    rgba = np.asarray(overlay(labels, TOY_SCHEMA))
    assert (rgba[labels == 0, 3] == 0).all()
    assert (rgba[labels > 0, :3] == TOY_SCHEMA.classes[1].rgb).all()
    assert (rgba[1, 1:5, 3] == 255).all()
    assert 0 < rgba[2, 2, 3] < 255


@given(um_per_pixel=st.floats(0.01, 500), width=st.integers(40, 3000))
def test_the_scale_bar_is_round_and_fits(um_per_pixel: float, width: int) -> None:
    length = scale_bar_um(um_per_pixel, width)
    assert width / 10 - 1e-6 <= length / um_per_pixel <= width / 4 + 1e-6
    digit = length / 10 ** math.floor(math.log10(length) + 1e-9)
    assert min(abs(digit - round_digit) for round_digit in (1, 2, 5)) < 1e-6


@pytest.mark.parametrize("size", [(20, 900), (900, 20), (30, 30)])
def test_thin_and_tiny_slides_get_a_page(tmp_path: Path, size: tuple[int, int]) -> None:
    slide = Slide(ArrayReader(colourful(*size), mpp=0.5))
    for _ in run(slide, ColourPredictor(), tmp_path / "a.zarr", RunOptions(mpp=0.5, tissue=None)):
        pass
    page = render_overview(open_store(tmp_path / "a.zarr"))
    assert max(page.size) < 4000


def test_an_unfinished_store_and_an_unwritable_place_are_refused(toy_store: Store, tmp_path: Path) -> None:
    slide = Slide(ArrayReader(colourful(200, 100), mpp=0.5))
    events = run(slide, ColourPredictor(), tmp_path / "half.zarr", RunOptions(mpp=0.5, tissue=None))
    next(events)
    events.close()
    with pytest.raises(ExportError, match="is not complete"):
        write_overview(open_store(tmp_path / "half.zarr"), tmp_path / "half.png")
    assert not (tmp_path / "half.png").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="cannot be written"):
        write_overview(toy_store, tmp_path / "file" / "a.png")


@given(text=st.text(max_size=20))
def test_any_text_can_be_set(text: str) -> None:
    letters = Lettering(20, (0, 0, 0))
    image = Image.new("RGB", (900, 40))
    end = letters.draw(ImageDraw.Draw(image), 0, 25, text)
    assert end == pytest.approx(letters.width(text), abs=1 + text.count("µ") + text.count("μ"))


def _ink(text: str) -> np.ndarray[Any, Any]:
    image = Image.new("RGB", (200, 100), "white")
    Lettering(60, (0, 0, 0)).draw(ImageDraw.Draw(image), 10, 60, text)
    return np.asarray(image)[..., 0] < 128


def test_built_signs_are_no_empty_boxes() -> None:
    """µ hangs below the line on the left only, ² stands above it."""
    micro = _ink("µ")
    below, whole = np.flatnonzero(micro[64:].any(axis=0)), np.flatnonzero(micro.any(axis=0))
    assert below.size
    assert below.max() < whole.mean()
    assert np.flatnonzero(_ink("²").any(axis=1)).max() < 50


def test_long_texts_lose_their_middle() -> None:
    letters = Lettering(30, (0, 0, 0))
    short = letters.shortened("beginning" + "x" * 200 + "end", 300)
    assert letters.width(short) <= 300
    assert short.startswith("beg")
    assert short.endswith("end")
    assert letters.shortened("short", 300) == "short"
