"""A report as PDF: one page, printed by Qt from the report's HTML."""

from __future__ import annotations

import re

from qtpy.QtCore import QBuffer, QMarginsF, QRectF
from qtpy.QtGui import QGuiApplication, QPageLayout, QPageSize, QPainter, QPdfWriter, QTextDocument

__all__ = ["can_print", "pdf_of"]

DPI = 96
MARGIN = 14.0  # mm
STYLE = """
body { font-family: sans-serif; font-size: 9pt; color: #222; }
h1 { font-size: 15pt; } h2 { font-size: 11pt; }
.soft { color: #666; } .bad { color: #b00020; }
td, th { padding: 1px 12px 1px 0; } th { text-align: left; } .number { text-align: right; }
dl { font-size: 7pt; }
"""

_SWATCH = re.compile(r'<span class="swatch" style="[^"]*background:([^";]*)"></span>')
_FIGURES = re.compile(r'<div class="pictures">(.*?)</div>', re.DOTALL)
_FIGURE = re.compile(r'<figure><img src="(.*?)" alt="[^"]*"><figcaption>(.*?)</figcaption></figure>')
_DEFINITION = re.compile(r"<dt>(.*?)</dt><dd>(.*?)</dd>", re.DOTALL)
_SECTION = re.compile(r"<h2>([^<]*)</h2><dl>(.*?)</dl>", re.DOTALL)
_LONG_WORD = re.compile(r"[^\s<>&;]{24}(?=[^\s<>&;])")
_ON_SCREEN = re.compile(r'<p class="no-print">.*?</p>|<style>.*?</style>', re.DOTALL)


def can_print() -> bool:
    """Whether there is a program with a window: Qt has no letters without one, and would end the process."""
    return QGuiApplication.instance() is not None


def pdf_of(page: str, title: str) -> bytes:
    """Return a report as PDF, on one A4 page however much it says.

    Parameters
    ----------
    page : str
        As :func:`tiling.batch.slide_page` makes it.
    title : str
    """
    buffer = QBuffer()
    buffer.open(QBuffer.OpenModeFlag.WriteOnly)
    writer = QPdfWriter(buffer)
    writer.setTitle(title)
    writer.setResolution(DPI)
    writer.setPageSize(QPageSize(QPageSize.PageSizeId.A4))
    writer.setPageMargins(QMarginsF(MARGIN, MARGIN, MARGIN, MARGIN), QPageLayout.Unit.Millimeter)
    painter = QPainter(writer)
    try:
        width, height = writer.width(), writer.height()
        document = QTextDocument()
        layout = document.documentLayout()
        if layout is not None:
            layout.setPaintDevice(writer)
        document.setDefaultStyleSheet(STYLE)
        document.setDocumentMargin(0)
        document.setHtml(_for_qt(page, width))
        document.setTextWidth(width)
        shrink = min(1.0, height / document.size().height())
        if shrink < 1:  # narrower lines of smaller letters: laid out as wide as the page is then
            document.setTextWidth(width / shrink)
            shrink = min(shrink, height / document.size().height())
        painter.scale(shrink, shrink)
        document.drawContents(painter, QRectF(0, 0, width / shrink, height / shrink))
    finally:
        painter.end()
    return bytes(buffer.data().data())


def _for_qt(page: str, width: int) -> str:
    """Rewrite what Qt's rich text cannot lay out: figures side by side, swatches, definition lists."""

    def row(match: re.Match[str]) -> str:
        figures = _FIGURE.findall(match[1])
        each = width // max(1, len(figures)) - 8
        cells = "".join(
            f'<td valign="top" width="{each}"><img src="{source}" width="{each}"><br>{caption}</td>'
            for source, caption in figures
        )
        return f'<table width="100%"><tr>{cells}</tr></table>'

    page = _ON_SCREEN.sub("", page)
    page = _FIGURES.sub(row, page)
    page = _SWATCH.sub(r'<span style="color:\1">&#9632; </span>', page)
    cells = [f'<td valign="top" width="{width // 2}">{_facts(*each)}</td>' for each in _SECTION.findall(page)]
    rows = "".join(f"<tr>{''.join(cells[i : i + 2])}</tr>" for i in range(0, len(cells), 2))
    return _SECTION.sub("", page).replace("</body>", f"<table>{rows}</table></body>")


def _facts(title: str, definitions: str) -> str:
    definitions = _LONG_WORD.sub("\\g<0>&#8203;", definitions)
    lines = _DEFINITION.sub(
        r'<b style="font-size:7pt">\1</b> <span style="font-size:7pt">\2</span><br>', definitions
    )
    return f"<h2>{title}</h2><p>{lines}</p>"
