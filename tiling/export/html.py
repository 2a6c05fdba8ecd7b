"""A result as HTML that stands alone: its pictures as data, its areas as a table, all text of files escaped."""

from __future__ import annotations

import base64
import html
import io

import numpy as np
from PIL import Image

from tiling.export.amounts import amounts
from tiling.export.overview import NOTICE, overlay
from tiling.store import Store

__all__ = ["areas_table", "image_tag", "slide_and_classes", "store_card"]

_SIDE = 420


def slide_and_classes(store: Store, side: int) -> tuple[Image.Image, Image.Image]:
    """Return the slide, and the slide with its classes over it, with at most ``side`` pixels on the longer side.

    Of the store only the coarsest levels that are large enough are read.
    """
    level = next((a for a in reversed(store.overview) if max(a.shape) >= side), store.overview[0])
    slide = Image.fromarray(np.ascontiguousarray(np.moveaxis(np.asarray(level[...]), 0, -1)))
    slide.thumbnail((side, side))
    labels = next((a for a in reversed(store.labels()) if max(a.shape) >= side), store.labels()[0])
    colours = overlay(np.asarray(labels[...]), store.schema).resize(slide.size, Image.Resampling.NEAREST)
    classes = slide.copy()
    classes.paste(colours, mask=colours.getchannel("A"))
    return slide, classes


def image_tag(picture: Image.Image, alt: str) -> str:
    """Return an ``<img>`` that holds its picture as JPEG."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=82, optimize=True)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(alt)}">'


def areas_table(store: Store) -> str:
    """Return mm² and per cent of every class as a ``<table>``.

    Raises
    ------
    ExportError
        When the store is not complete.
    """
    lines = "".join(
        '<tr><td><span class="swatch" style="display:inline-block;width:.8em;height:.8em;margin-right:.4em;'
        f'background:{html.escape(amount.tissue.color)}"></span>{html.escape(amount.tissue.name)}</td>'
        f'<td class="number">{amount.area_mm2:,.3f}</td><td class="number">{amount.percent_of_tissue:.1f}</td></tr>'
        for amount in amounts(store)
    )
    head = '<tr><th>Class</th><th class="number">mm²</th><th class="number">% of tissue</th></tr>'
    return f"<table>{head}{lines}</table>"


def store_card(store: Store, status: str) -> str:
    """Return a finished result as a notebook shows it: the slide, its classes and its areas."""
    pictures = "".join(
        image_tag(picture, alt)
        for picture, alt in zip(slide_and_classes(store, _SIDE), ("Slide", "Classes"), strict=True)
    )
    facts = " · ".join(map(html.escape, (status, f"{store.mpp:g} µm per pixel", NOTICE)))
    return (
        f"<div><p><b>{html.escape(store.name)}</b> · {facts}</p>"
        f'<div style="display:flex;flex-wrap:wrap;gap:8px">{pictures}</div>{areas_table(store)}</div>'
    )
