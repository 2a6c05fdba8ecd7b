"""The zoomable page of one slide: the slide and its classes as small pictures of every scale, shown by OpenSeadragon.

Nothing of it needs a server: the pictures lie in folders, their addresses are computed in the page, and the viewer
(``vendored/``, with its licence) is copied beside them. They are made only when asked for.
"""

from __future__ import annotations

import html
import io
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.batch.report_index import script_data
from tiling.batch.report_style import STYLE
from tiling.errors import WsssError
from tiling.files import replacing
from tiling.slides import open_slide
from tiling.store import Store
from tiling.untrusted import printable

__all__ = ["ZOOM", "copy_viewer", "write_zoom"]

ZOOM = ".zoom.html"
"""Ending of the page; its pictures lie in ``<slide_id>.tiles``."""

TILE = 512
MOST_PIXELS = 256 << 20
"""Pixels of the finest scale at most, about a thousand pictures: larger slides begin at a coarser one."""

_VIEWER = ("openseadragon.min.js", "openseadragon-LICENSE.txt")

Read = Callable[[int, int, int, int, int], Image.Image]
"""Picture of columns x … x + width and rows y … y + height at a scale that is 2ᵏ times as coarse as the finest."""


@dataclass(frozen=True)
class _Scales:
    """The finest scale and how many coarser ones follow, each half as fine, until one picture shows all.

    Attributes
    ----------
    mpp : float
        µm per pixel of the finest.
    width, height : int
        Its size in pixels.
    """

    mpp: float
    width: int
    height: int

    @classmethod
    def of(cls, store: Store) -> _Scales:
        mpp, width, height = store.mpp, store.grid.width, store.grid.height
        while width * height > MOST_PIXELS:
            mpp, width, height = 2 * mpp, -(-width // 2), -(-height // 2)
        return cls(mpp, width, height)

    @property
    def coarser(self) -> int:
        return max(0, math.ceil(math.log2(max(self.width, self.height) / TILE)))

    def size(self, steps: int) -> tuple[int, int]:
        """Return (width, height) of the scale that is ``steps`` times half as fine."""
        return -(-self.width >> steps), -(-self.height >> steps)


def copy_viewer(folder: Path) -> None:
    """Put OpenSeadragon and its licence beside the pages, once."""
    for name in _VIEWER:
        content = files("tiling.batch").joinpath("vendored", name).read_bytes()
        if not (folder / name).is_file() or (folder / name).read_bytes() != content:
            with replacing(folder / name) as file:
                file.write(content)


def write_zoom(store: Store, slide: str, folder: Path, stem: str) -> None:
    """Write the pictures of a store, and last the page that shows them.

    Parameters
    ----------
    store : Store
    slide : str
        Where the slide lies; when it cannot be opened, or is another one now, the store's own overview is shown.
    folder : Path
        The report's.
    stem : str
        Name of page and pictures; printable.
    """
    scales = _Scales.of(store)
    tiles = folder / f"{stem}.tiles"
    shutil.rmtree(tiles, ignore_errors=True)
    with _picture_of(store, slide, scales) as (read, note):
        _write(tiles / "slide", scales, read, "JPEG", quality=82)
    _write(tiles / "classes", scales, _classes_of(store, scales), "PNG", transparency=0)
    with replacing(folder / f"{stem}{ZOOM}") as file:
        file.write(_page(store, scales, stem, note))


def _write(folder: Path, scales: _Scales, read: Read, kind: str, **options: Any) -> None:
    """Write every picture of every scale as ``<level>/<column>_<row>``; level 0 is the coarsest."""
    for steps in range(scales.coarser + 1):
        level = folder / str(scales.coarser - steps)
        level.mkdir(parents=True)
        width, height = scales.size(steps)
        for y in range(0, height, TILE):
            for x in range(0, width, TILE):
                picture = read(steps, x, y, min(TILE, width - x), min(TILE, height - y))
                suffix = "jpg" if kind == "JPEG" else "png"
                stream = io.BytesIO()
                picture.save(stream, kind, **options)
                (level / f"{x // TILE}_{y // TILE}.{suffix}").write_bytes(stream.getvalue())


@contextmanager
def _picture_of(store: Store, path: str, scales: _Scales) -> Iterator[tuple[Read, str]]:
    """Give what reads the slide, and what to say when it is not the slide itself."""
    try:
        slide = open_slide(path, mpp=store.slide_mpp)
    except WsssError:
        yield (
            _overview_of(store, scales),
            "The slide is not where it was; this is the overview of the result.",
        )
        return
    with slide:
        known: Any = store.run.get("slide") or {}
        if slide.identity["quick_hash"] != known.get("quick_hash"):
            yield (
                _overview_of(store, scales),
                "Another slide lies there now; this is the overview of the result.",
            )
            return
        left, top = store.origin
        step = scales.mpp / store.slide_mpp

        def read(steps: int, x: int, y: int, width: int, height: int) -> Image.Image:
            factor = step * 2**steps
            pixels = slide.read(left + x * factor, top + y * factor, width, height, mpp=scales.mpp * 2**steps)
            return Image.fromarray(pixels)

        yield read, ""


def _overview_of(store: Store, scales: _Scales) -> Read:
    """Return what enlarges the store's overview."""
    pixels = np.ascontiguousarray(np.moveaxis(np.asarray(store.overview[0][...]), 0, -1))
    whole = Image.fromarray(pixels)

    def read(steps: int, x: int, y: int, width: int, height: int) -> Image.Image:
        full = scales.size(steps)
        across, down = whole.width / full[0], whole.height / full[1]
        box = (x * across, y * down, (x + width) * across, (y + height) * down)
        return whole.resize((width, height), Image.Resampling.BILINEAR, box)

    return read


def _classes_of(store: Store, scales: _Scales) -> Read:
    """Return what reads the labels, nearest pixel, with the colours of their classes."""
    levels = store.labels()
    palette = store.schema.palette.tobytes()

    def read(steps: int, x: int, y: int, width: int, height: int) -> Image.Image:
        factor = scales.mpp * 2**steps / store.mpp
        level = min(len(levels) - 1, max(0, int(math.log2(factor))))
        array: Any = levels[level]
        rows, columns = (
            np.minimum(((np.arange(first, first + count) + 0.5) * factor / 2**level).astype(int), size - 1)
            for first, count, size in zip((y, x), (height, width), array.shape, strict=True)
        )
        part: NDArray[np.uint8] = np.asarray(array[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        labels = np.ascontiguousarray(part[rows - rows[0]][:, columns - columns[0]])
        picture = Image.frombytes("P", (width, height), labels.tobytes())
        picture.putpalette(palette)
        return picture

    return read


_SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent);
const by = id => document.getElementById(id);
const source = (kind, suffix) => ({
  width: data.width, height: data.height, tileSize: data.tile, tileOverlap: 0, minLevel: 0, maxLevel: data.levels,
  getTileUrl: (level, x, y) => `${encodeURIComponent(data.tiles)}/${kind}/${level}/${x}_${y}.${suffix}`,
});
const viewer = OpenSeadragon({
  element: by('viewer'), drawer: 'canvas', showNavigationControl: false, showNavigator: true, maxZoomPixelRatio: 4,
  tileSources: [source('slide', 'jpg'), source('classes', 'png')], gestureSettingsMouse: {clickToZoom: false},
});
const classes = () => viewer.world.getItemAt(1);
const see = () => { if (classes()) classes().setOpacity(+by('opacity').value / 100); };
by('opacity').addEventListener('input', see);
viewer.addHandler('open', see);
by('in').addEventListener('click', () => { viewer.viewport.zoomBy(2); viewer.viewport.applyConstraints(); });
by('out').addEventListener('click', () => { viewer.viewport.zoomBy(0.5); viewer.viewport.applyConstraints(); });
by('home').addEventListener('click', () => viewer.viewport.goHome());
function bar() {
  const um = data.mpp * data.width / (viewer.viewport.getZoom(true) * viewer.container.clientWidth);
  const most = um * 160, power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map(n => n * power).find(n => n <= most);
  by('bar').style.width = `${length / um}px`;
  by('length').textContent = length >= 1000 ? `${length / 1000} mm` : `${+length.toPrecision(1)} µm`;
}
viewer.addHandler('animation', bar);
viewer.addHandler('open', bar);
viewer.addHandler('resize', bar);
"""

_LOOK = """
body { max-width: none; }
#viewer { height: min(78vh, 60rem); background: #fff; border: 1px solid var(--line); border-radius: 4px; }
#bar { height: 6px; border: 1px solid var(--ink); border-top: 0; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
"""


def _page(store: Store, scales: _Scales, stem: str, note: str) -> bytes:
    """Return the page; everything from files is escaped."""
    name = html.escape(printable(store.name))
    data = {
        "tiles": f"{stem}.tiles",
        "tile": TILE,
        "levels": scales.coarser,
        "width": scales.width,
        "height": scales.height,
        "mpp": scales.mpp,
    }
    legend = "".join(
        f'<span><span class="swatch" style="background:{html.escape(c.color)}"></span>{html.escape(c.name)}</span>'
        for c in store.schema.classes
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' file: data:; "
        "style-src 'unsafe-inline'; script-src 'self' file: 'unsafe-inline'\">"
        f"<title>{name}</title><style>{STYLE}{_LOOK}</style></head><body>"
        f'<p><a href="{quote(stem)}.html">All about {name}</a></p><h1>{name}</h1>'
        f'<p class="soft">Up to {scales.mpp:g} µm per pixel · Research use only, not for diagnosis.</p>'
        f"{f'<p class=bad>{html.escape(note)}</p>' if note else ''}"
        '<div class="bar"><button id="in">Closer</button><button id="out">Farther</button>'
        '<button id="home">All of it</button><label>Classes <input id="opacity" type="range" value="45"></label>'
        '<span><span id="length"></span><div id="bar"></div></span></div>'
        f'<div id="viewer"></div><p class="legend">{legend}</p>'
        f'<script id="data" type="application/json">{script_data(data)}</script>'
        f'<script src="{_VIEWER[0]}"></script><script>{_SCRIPT}</script></body></html>\n'
    )
    return page.encode("utf-8", "replace")
