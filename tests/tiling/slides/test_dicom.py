"""DICOM heads: which files are one slide, and JPEGs whose colours go by another name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from wsss_dicom import write_dicom

from tiling.slides.dicom import DicomHead, dicom_head, dicom_series, jpeg_is_ycbcr, may_be_dicom


def jpeg(mode: str = "RGB", *, keep_rgb: bool = False) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).convert(mode).save(stream, "JPEG", keep_rgb=keep_rgb)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["a.dcm", "A.DCM", "IM0001", "1.2.840.99", "00000123", "b.dicom"])
def test_dicom_is_known_by_suffix_or_start(tmp_path: Path, name: str) -> None:
    assert may_be_dicom(write_dicom(tmp_path / name))


@pytest.mark.parametrize("name", ["README", "1.2", "a.svs", "x.txt"])
def test_other_files_are_not(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\0" * 200)
    assert not may_be_dicom(tmp_path / name)
    assert not may_be_dicom(tmp_path / "gone")


def test_series_stand_together_and_no_slides_are_left_out(tmp_path: Path) -> None:
    a, b, c = (write_dicom(tmp_path / n, series=s) for n, s in (("a", "1"), ("b", "2"), ("c", "1")))
    write_dicom(tmp_path / "ct", series="3", sop_class="1.2.840.10008.5.1.4.1.1.2")
    index = pydicom.dcmread(write_dicom(tmp_path / "DICOMDIR", sop_class="1.2.840.10008.1.3.10"))
    del index.SOPClassUID, index.SeriesInstanceUID
    index.save_as(tmp_path / "DICOMDIR")
    (tmp_path / "d.dcm").touch()
    files = sorted(tmp_path.iterdir())
    assert dicom_series(files) == {"1": [a, c], "2": [b], "": [tmp_path / "d.dcm"]}


@pytest.mark.parametrize(
    ("frame", "photometric", "wrong"),
    [
        (jpeg(), "RGB", True),
        (jpeg(), "YBR_FULL_422", False),
        (jpeg(keep_rgb=True), "RGB", False),
        (jpeg("L"), "RGB", False),
        (jpeg("CMYK"), "RGB", False),
        (b"\xff\xd8\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0\x01" + jpeg()[2:], "RGB", True),
        (b"\xff\xd8\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0\x00" + jpeg()[2:], "RGB", False),
        (b"no jpeg", "RGB", False),
    ],
)
def test_colours_by_jpegs_own_rules(tmp_path: Path, frame: bytes, photometric: str, wrong: bool) -> None:
    assert jpeg_is_ycbcr(write_dicom(tmp_path / "a.dcm", photometric=photometric, frame=frame)) is wrong


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_heads_tell_nothing_and_raise_nothing(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(write_dicom(tmp_path / "a.dcm", frame=jpeg()).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path / "b.dcm"
    path.write_bytes(whole[:cut])
    assert isinstance(dicom_head(path), DicomHead)
    assert jpeg_is_ycbcr(path) in (True, False)
