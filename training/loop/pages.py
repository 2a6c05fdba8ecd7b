"""Pictures of a training run: pages of patches with label maps, and learning curves. Pure: arrays in, image out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tiling.classes import ClassSchema

__all__ = ["contact_sheet", "learning_curves", "overlay"]

_MARGIN = 6
_LINE = 14
_OPACITY = 0.45
_NO_SCORES = {"epoch", "loss", "lr", "seconds", "score"}


def overlay(image: NDArray[np.uint8], labels: NDArray[np.uint8], schema: ClassSchema) -> NDArray[np.uint8]:
    """Lay class colours over a patch.

    Parameters
    ----------
    image : (H, W, 3) uint8
    labels : (H, W) uint8
        Class *i* = *i*; C and above stays uncoloured.
    schema : ClassSchema

    Returns
    -------
    (H, W, 3) uint8
    """
    colours = np.array([c.rgb for c in schema.classes], np.float32)
    known = labels < len(schema)
    result = image.astype(np.float32)
    result[known] = (1 - _OPACITY) * result[known] + _OPACITY * colours[labels[known]]
    return np.rint(result).astype(np.uint8)


def contact_sheet(
    rows: Sequence[tuple[str, Mapping[str, NDArray[np.uint8]]]], schema: ClassSchema, title: str
) -> Image.Image:
    """Arrange pictures in rows with captions, and a legend of the classes.

    Parameters
    ----------
    rows : sequence of (caption, {column name: (H, W, 3) uint8})
        All rows have the same columns; pictures may differ in size.
    schema : ClassSchema
    title : str

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    columns = list(rows[0][1]) if rows else []
    widths = [max(pictures[c].shape[1] for _, pictures in rows) for c in columns]
    heights = [max(p.shape[0] for p in pictures.values()) for _, pictures in rows]
    legend = sum(24 + 7 * len(c.name) for c in schema.classes)
    width = max(sum(widths) + _MARGIN * (len(columns) + 1), legend + _MARGIN, 8 * len(title))
    height = 3 * _LINE + _MARGIN + sum(h + _LINE + _MARGIN for h in heights)
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, 1), title, fill="black")
    x = _MARGIN
    for tissue in schema.classes:
        draw.rectangle((x, _LINE + 2, x + 10, _LINE + 11), fill=tissue.rgb)
        draw.text((x + 14, _LINE), tissue.name, fill="black")
        x += 24 + 7 * len(tissue.name)
    y = 3 * _LINE
    x = _MARGIN
    for column, w in zip(columns, widths, strict=True):
        draw.text((x, y - _LINE), column, fill="black")
        x += w + _MARGIN
    for (caption, pictures), h in zip(rows, heights, strict=True):
        x = _MARGIN
        for column, w in zip(columns, widths, strict=True):
            page.paste(Image.fromarray(pictures[column]), (x, y))
            x += w + _MARGIN
        draw.text((_MARGIN, y + h), caption, fill="black")
        y += h + _LINE + _MARGIN
    return page


def learning_curves(rows: Sequence[Mapping[str, float]]) -> Image.Image:
    """Draw loss and learning rate above, every score below, over the epochs.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of a run's log; scores may be missing in some.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), dpi=100, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = [row["epoch"] for row in rows]
    above.plot(epochs, [row["loss"] for row in rows], color="black", marker=".", label="training loss")
    above.set_ylabel("loss")
    rates = above.twinx()
    rates.plot(epochs, [row["lr"] for row in rows], color="tab:gray", linestyle=":")
    rates.set_ylabel("learning rate", color="tab:gray")
    names = [n for n in dict.fromkeys(n for row in rows for n in row) if n not in _NO_SCORES]
    for name in names:
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        below.plot(*zip(*points, strict=True), marker=".", label=name)
    if names:
        below.legend(loc="best", fontsize="small")
    below.set_ylim(0, 1)
    below.set_ylabel("score on val")
    below.set_xlabel("epoch")
    below.xaxis.get_major_locator().set_params(integer=True)
    below.grid(alpha=0.3)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    return Image.fromarray(np.ascontiguousarray(pixels))
