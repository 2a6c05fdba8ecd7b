"""One picture of a result: the slide beside its tissue map, with legend, amounts and scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tiling.classes import ClassSchema
from tiling.export.amounts import Amount, amounts
from tiling.export.lettering import Lettering
from tiling.export.writing import export_file
from tiling.store import Store

__all__ = ["NOTICE", "overlay", "render_overview", "scale_bar_um", "write_overview"]

NOTICE = "Research use only, not for diagnosis."

_PANEL = 1200  # longer side of each of the two pictures, pixels
_MARGIN, _GAP = 60, 40
_INK, _GREY, _FRAME = (28, 32, 38), (104, 112, 122), (206, 211, 217)
_WIDE = 1.7  # slides wider than this are shown above their map, not beside it
_OPACITY = 0.55
_SWATCH, _LEGEND_LINE = 36, 58


def write_overview(store: Store, path: Path) -> None:
    """Write the overview picture of a store as PNG.

    Of the store only the overview and a coarse label level are read: memory does not grow with the slide.

    Raises
    ------
    ExportError
        When the store is not complete or the file cannot be written.
    """
    image = render_overview(store)
    with export_file(path) as file:
        image.save(file, "PNG", optimize=True, dpi=(200, 200))


def render_overview(store: Store) -> Image.Image:
    """Draw the overview picture of a store, RGB.

    Raises
    ------
    ExportError
        When the store is not complete.
    """
    slide = _slide_picture(store)
    tissue_map = slide.copy()
    colours = overlay(_coarse_labels(store, max(slide.size)), store.schema)
    smooth = colours.width > slide.width
    colours = colours.resize(slide.size, Image.Resampling.BOX if smooth else Image.Resampling.NEAREST)
    tissue_map.paste(colours, mask=colours.getchannel("A"))
    found = amounts(store)
    um_per_pixel = store.grid.width * store.mpp / slide.width
    model = store.run.get("model", {}).get("bundle", "")
    total = sum(amount.area_mm2 for amount in found)
    details = " · ".join(
        filter(None, [str(model), f"{store.mpp:g} µm per pixel", f"{_area(total)} of tissue"])
    )
    return _page(store.name, details, slide, tissue_map, found, um_per_pixel)


def overlay(labels: NDArray[np.uint8], schema: ClassSchema) -> Image.Image:
    """Colour store labels, half transparent with opaque borders; (h, w) uint8 to an RGBA image."""
    rgba = np.zeros((*labels.shape, 4), np.uint8)
    rgba[..., :3] = schema.palette[labels]
    rgba[..., 3] = np.where(labels > 0, round(255 * _OPACITY), 0)
    border = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        differs = np.diff(labels, axis=axis) != 0
        before, after = ((slice(None), slice(None, -1)), (slice(None), slice(1, None)))
        if axis == 0:
            before, after = before[::-1], after[::-1]
        border[before] |= differs
        border[after] |= differs
    rgba[border & (labels > 0), 3] = 255
    return Image.fromarray(rgba)


def scale_bar_um(um_per_pixel: float, width: int) -> float:
    """Return the longest of 1, 2 or 5 × 10ⁿ µm that is at most a quarter of ``width`` pixels."""
    longest = um_per_pixel * width / 4
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest)


def _slide_picture(store: Store) -> Image.Image:
    """Return the carrier image at panel size, from the coarsest level that is large enough."""
    levels: list[Any] = list(store.overview)
    fitting = [level for level in levels if max(level.shape[1:]) >= _PANEL] or levels[:1]
    pixels = np.moveaxis(np.asarray(fitting[-1][...]), 0, -1)
    height, width = pixels.shape[:2]
    factor = _PANEL / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)


def _coarse_labels(store: Store, side: int) -> NDArray[np.uint8]:
    """Return the coarsest label level with at least ``side`` pixels (the finest if none has)."""
    levels: list[Any] = list(store.labels())
    fitting = [level for level in levels if max(level.shape) >= side] or levels[:1]
    return np.asarray(fitting[-1][...], np.uint8)


_TITLE, _TEXT, _DIM, _SMALL = (
    Lettering(54, _INK),
    Lettering(34, _INK),
    Lettering(34, _GREY),
    Lettering(28, _GREY),
)


def _page(
    title: str,
    details: str,
    slide: Image.Image,
    tissue_map: Image.Image,
    found: Sequence[Amount],
    um_per_pixel: float,
) -> Image.Image:
    """Put pictures, title, scale bar, legend and notice on white."""
    stacked = slide.width > _WIDE * slide.height
    across = slide.width if stacked else 2 * slide.width + _GAP
    content = max(across, 1500)
    rows = _legend(found, content)
    top = _MARGIN + 150
    down = (2 * slide.height + _GAP) if stacked else slide.height
    bar_y = top + down + 36
    legend_y = bar_y + 84
    height = legend_y + len(rows) * _LEGEND_LINE + 24 + 40 + _MARGIN
    page = Image.new("RGB", (content + 2 * _MARGIN, height), "white")
    draw = ImageDraw.Draw(page)

    _TITLE.draw(draw, _MARGIN, _MARGIN + 46, _TITLE.shortened(title, content))
    _DIM.draw(draw, _MARGIN, _MARGIN + 108, _DIM.shortened(details, content))
    left = _MARGIN + (content - across) // 2
    second = (left, top + slide.height + _GAP) if stacked else (left + slide.width + _GAP, top)
    for picture, (x, y) in ((slide, (left, top)), (tissue_map, second)):
        page.paste(picture, (x, y))
        draw.rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=_FRAME)

    _scale_bar(draw, left, bar_y, um_per_pixel, slide.width)
    _draw_legend(draw, rows, _MARGIN, legend_y, content)
    _SMALL.draw(draw, _MARGIN, height - _MARGIN, NOTICE)
    return page


def _scale_bar(draw: ImageDraw.ImageDraw, x: int, y: int, um_per_pixel: float, width: int) -> None:
    length = scale_bar_um(um_per_pixel, width)
    pixels = round(length / um_per_pixel)
    draw.rectangle((x, y, x + pixels, y + 10), fill=_INK)
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    _TEXT.draw(draw, x + pixels + 20, y + 17, text)


def _legend(found: Sequence[Amount], width: int) -> list[list[Amount]]:
    """Spread the classes over as many columns as their texts allow, equally filled."""
    widest = max(sum(map(_TEXT.width, _texts(amount))) for amount in found)
    columns = max(1, min(len(found), int(width // (widest + _SWATCH + 50))))
    rows = -(-len(found) // columns)
    columns = -(-len(found) // rows)  # 5 classes in two rows are 3 + 2, not 4 + 1
    return [list(found[i : i + columns]) for i in range(0, len(found), columns)]


def _draw_legend(draw: ImageDraw.ImageDraw, rows: list[list[Amount]], x: int, y: int, width: int) -> None:
    step = width / len(rows[0])
    for i, row in enumerate(rows):
        for j, amount in enumerate(row):
            left, top = x + round(j * step), y + i * _LEGEND_LINE
            box = (left, top, left + _SWATCH, top + _SWATCH)
            draw.rounded_rectangle(box, 7, fill=amount.tissue.rgb, outline=_FRAME)
            name, numbers = _texts(amount)
            end = _TEXT.draw(draw, left + _SWATCH + 18, top + 30, name)
            _DIM.draw(draw, end, top + 30, numbers)


def _texts(amount: Amount) -> tuple[str, str]:
    return amount.tissue.name, f"   {amount.percent_of_tissue:.1f} %   {_area(amount.area_mm2)}"


def _area(mm2: float) -> str:
    """Write an area with three figures."""
    if 0 < mm2 < 0.01:
        return f"{mm2 * 1e6:,.0f} µm²"
    digits = 0 if mm2 >= 100 else 1 if mm2 >= 10 else 2
    return f"{mm2:.{digits}f} mm²"
