"""The page of one slide: pictures, areas, doubtful tiles, the model and everything that decided the result."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageDraw

from tiling.batch.report_style import STYLE
from tiling.export import OWN_EXPORTS, areas_table, image_tag, other_exports, slide_and_classes
from tiling.store import DOUBTS, Store
from tiling.untrusted import printable

__all__ = ["slide_page"]

_PICTURE = 900
_OUTLINE = (0, 150, 60)
_DOUBT_COLOURS = {"blur": "#1e88e5", "pen": "#d81b60", "fold": "#f9a825", "bubble": "#6d4c41"}


def slide_page(store: Store, zoom: str = "") -> bytes:
    """Return the HTML page of a finished store, with a link to its zoomable one; everything from files is escaped."""
    receipt = store.receipt or {}
    name = html.escape(printable(store.name))
    body = [
        f'<p class="no-print"><a href="../index.html">All slides</a></p><h1>{name}</h1>',
        f'<p class="soft">{html.escape(str(receipt.get("status", "")))} · labels of {store.mpp:g} µm per pixel · '
        "Research use only, not for diagnosis.</p>",
        *(f'<p class="bad">{html.escape(str(warning))}</p>' for warning in receipt.get("warnings", [])),
        *(
            (f'<p class="no-print"><a href="{quote(zoom)}">Zoom into slide and classes</a></p>',)
            if zoom
            else ()
        ),
        f'<div class="pictures">{"".join(_figures(store))}</div>',
        "<h2>Areas</h2>",
        f'<div class="wide">{areas_table(store)}</div>',
        "<h2>Doubtful tiles</h2>",
        _doubts(receipt.get("counters", {})),
        *_exports(store),
        *(
            f"<h2>{title}</h2>{_facts(receipt.get(key, {}))}"
            for title, key in (
                ("Model", "model"),
                ("Tissue", "tissue"),
                ("Slide", "slide"),
                ("Resolution", "resolution"),
                ("Parameters", "parameters"),
                ("Versions", "versions"),
                ("Timings", "timings"),
            )
        ),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{name}</title><style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )
    return page.encode("utf-8", "replace")


def _figures(store: Store) -> Iterator[str]:
    """Yield the slide, its classes, and the outline of what has a class with the doubtful tiles."""
    slide, classes = slide_and_classes(store, _PICTURE)
    labels = next((a for a in reversed(store.labels()) if max(a.shape) >= _PICTURE), store.labels()[0])
    mask = Image.fromarray((np.asarray(labels[...]) > 0).view(np.uint8))
    doubtful = _with_doubts(store, slide, np.asarray(mask.resize(slide.size, Image.Resampling.NEAREST)) > 0)
    for picture, caption in (
        (slide, "Slide"),
        (classes, "Classes"),
        (doubtful, "Outline of what has a class; doubtful tiles are framed"),
    ):
        yield f"<figure>{image_tag(picture, caption)}<figcaption>{caption}</figcaption></figure>"


def _with_doubts(store: Store, slide: Image.Image, tissue: np.ndarray[Any, Any]) -> Image.Image:
    """Draw the outline of tissue and a frame around every doubtful tile."""
    pixels = np.asarray(slide).copy()
    edge = np.zeros(tissue.shape, bool)
    edge[:, 1:] |= tissue[:, 1:] != tissue[:, :-1]
    edge[1:] |= tissue[1:] != tissue[:-1]
    pixels[edge] = _OUTLINE
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    table, grid = store.tiles(), store.grid
    across, down = slide.width / grid.width, slide.height / grid.height
    for name, flag in DOUBTS.items():
        for i in np.flatnonzero(table["flags"] & flag).tolist():
            row, column = divmod(i, grid.columns)
            box = grid.tile_box(row, column)
            right, bottom = min(box.right, grid.width), min(box.bottom, grid.height)
            corners = (box.x * across, box.y * down, right * across - 1, bottom * down - 1)
            if corners[2] > corners[0] and corners[3] > corners[1]:
                draw.rectangle(corners, outline=_DOUBT_COLOURS[name])
    return picture


def _doubts(counters: Mapping[str, Any]) -> str:
    found = counters.get("doubts", {})
    parts = [
        f'<span class="swatch" style="background:{_DOUBT_COLOURS[name]}"></span>{name} {int(found.get(name, 0)):,}'
        for name in DOUBTS
    ]
    return f"<p>{' · '.join(parts)} of {int(counters.get('tiles', 0)):,} tiles. Nothing was dropped.</p>"


def _exports(store: Store) -> Iterator[str]:
    """Yield links to the exports that lie beside the store."""
    stem = store.path.name.removesuffix(".zarr")
    endings = (*OWN_EXPORTS.values(), ".tiles.csv", *(export.ending for export in other_exports().values()))
    found = [f"{stem}{end}" for end in endings if (store.path.parent / f"{stem}{end}").is_file()]
    if found:
        links = " · ".join(
            f'<a href="../{quote(os.fsencode(file))}">{html.escape(printable(file))}</a>' for file in found
        )
        yield f"<h2>Exports</h2><p>{links}</p>"


def _facts(facts: Any) -> str:
    """Return what the receipt says as terms and definitions."""
    if not isinstance(facts, Mapping) or not facts:
        return '<p class="soft">–</p>'
    lines = (
        f"<dt>{html.escape(str(key))}</dt><dd>{html.escape(_text(value))}</dd>"
        for key, value in facts.items()
    )
    return f"<dl>{''.join(lines)}</dl>"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
