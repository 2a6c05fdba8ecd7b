"""DICOM series as scanners and archives write them: read right, said, or refused; never the wrong layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wsss_dicom_slides import write_dicom_slide as write_dicom

from tiling.errors import SlideError
from tiling.slides import open_slide

Y, X = np.mgrid[:200, :300]
PIXELS = np.stack([X * 255 // 300, Y * 255 // 200, (X + Y) % 256 // 2 + 100], 2).astype(np.uint8)


def read(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    with open_slide(path) as slide:
        assert (slide.dimensions, slide.mpp) == ((300, 200), 0.5)
        return slide.read(0, 0, 300, 200).astype(int), slide.warnings


@pytest.mark.parametrize("sparse", [False, True], ids=["full", "sparse"])
@pytest.mark.parametrize("parts", [1, 3], ids=["one file", "concatenation"])
def test_every_organisation_is_the_same_picture(tmp_path: Path, sparse: bool, parts: int) -> None:
    folder = write_dicom(tmp_path / "case", PIXELS, sparse=sparse, parts=parts)
    for path in (folder, folder / "0.dcm"):
        pixels, warnings = read(path)
        assert np.abs(pixels - PIXELS).mean() < 1
        assert warnings == ()


def test_tiles_that_are_left_out_were_not_scanned(tmp_path: Path) -> None:
    pixels, _ = read(write_dicom(tmp_path / "case", PIXELS, sparse=True, missing={(1, 2)}))
    expected = PIXELS.copy()
    expected[64:128, 128:192] = 255
    assert np.abs(pixels - expected).mean() < 1


def test_of_optical_paths_in_order_the_first_is_read_and_it_is_said(tmp_path: Path) -> None:
    pixels, warnings = read(write_dicom(tmp_path / "case", PIXELS, paths=2))
    assert np.abs(pixels - PIXELS).mean() < 1
    (warning,) = warnings
    assert "2 pictures on top of each other" in warning


def test_focal_planes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="FocalPlanes"):
        open_slide(write_dicom(tmp_path / "case", PIXELS, planes=3))


@pytest.mark.parametrize("layers", [{"paths": 2}, {"planes": 3}, {"paths": 2, "parts": 2}])
def test_layers_without_an_order_are_refused(tmp_path: Path, layers: dict[str, Any]) -> None:
    """The last one was read, without a word."""
    folder = write_dicom(tmp_path / "case", PIXELS, sparse=True, **layers)
    with pytest.raises(SlideError, match=r"on top of each other .*TILED_SPARSE"):
        open_slide(folder)
