from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_wsss.plugin.files.exporting import export_store
from tiling.store.reader import open_store
from tiling.synthetic import SYNTHETIC_SCHEMA


@pytest.fixture
def store(toy: Any, toy_bundle: Any, banded_slide: Path, tmp_path: Path) -> Path:
    from napari_wsss.plugin.common.preferences import Preferences
    from napari_wsss.plugin.segment.request import RunRequest

    out = tmp_path / "out" / "banded.zarr"
    preferences = Preferences(skip_background=False)
    list(toy.events(RunRequest(banded_slide, toy_bundle, out, None, None, None, preferences)))
    return out


@pytest.mark.gui
def test_the_report_is_one_page_with_pictures_and_colours(store: Path, tmp_path: Path, qapp: Any) -> None:
    """Written in another thread, as the panel does."""
    path, failed = tmp_path / "a.report.pdf", []

    def write() -> None:
        try:
            export_store(open_store(store), path)
        except Exception as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join(300)
    assert not failed
    content = path.read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) == 1
    assert len(re.findall(rb"/Subtype\s*/Image", content)) >= 3, "slide, classes, outline"
    pixels = drawn(path)
    assert (pixels < 128).any(-1).mean() > 0.02, "text and pictures"
    for tissue in SYNTHETIC_SCHEMA.classes:
        assert (abs(pixels - np.array(tissue.rgb)) < 12).all(-1).sum() > 8, f"the swatch of {tissue.name}"
    # Nothing is cut: the margins are white all around.
    height, width = pixels.shape[:2]
    for edge in (
        pixels[: height // 40],
        pixels[-height // 40 :],
        pixels[:, : width // 30],
        pixels[:, -width // 30 :],
    ):
        assert (edge > 250).all()


def drawn(path: Path) -> np.ndarray:
    """The first page as Qt draws it, (h, w, 3)."""
    QtPdf = pytest.importorskip("qtpy.QtPdf")
    from qtpy.QtCore import QSize
    from qtpy.QtGui import QImage

    document = QtPdf.QPdfDocument(None)
    document.load(str(path))
    page = document.render(0, QSize(1240, 1754))
    white = QImage(page.size(), QImage.Format.Format_RGB888)
    white.fill(0xFFFFFFFF)
    from qtpy.QtGui import QPainter

    painter = QPainter(white)
    painter.drawImage(0, 0, page)
    painter.end()
    document.close()
    bits = white.constBits()
    data = bits.asstring(white.sizeInBytes()) if hasattr(bits, "asstring") else bytes(bits)
    lines = np.frombuffer(data, np.uint8).reshape(white.height(), white.bytesPerLine())
    return lines[:, : 3 * white.width()].reshape(white.height(), white.width(), 3).astype(int)


def test_without_a_window_it_is_refused(store: Path, tmp_path: Path) -> None:
    """In a process of its own: Qt would end this one."""
    program = f"""
from napari_wsss.plugin.files.exporting import export_store
from tiling.errors import ExportError
from tiling.store import open_store
try:
    export_store(open_store({str(store)!r}), {str(tmp_path / "a.report.pdf")!r})
except ExportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "as HTML" in done.stdout
    assert not (tmp_path / "a.report.pdf").exists()
