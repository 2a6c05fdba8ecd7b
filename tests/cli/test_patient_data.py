"""Whose slide it is stays in the slide: a marker in every field for patients reaches no log, receipt or export."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tifffile

from tiling.synthetic import SyntheticSlide

Call = Callable[..., Any]
MARKER = "Zyx-Doe-1950"

_APERIO = (
    "Patient",
    "PatientID",
    "Title",
    "Filename",
    "User",
    "ImageID",
    "ScanScope ID",
    "Barcode",
    "Comment",
)
_TEXT_TAGS = {
    269: "DocumentName",
    271: "Make",
    285: "PageName",
    315: "Artist",
    316: "HostComputer",
    33432: "Copyright",
}
_DICOM = [
    "PatientName",
    "PatientID",
    "PatientComments",
    "OtherPatientNames",
    "PatientAddress",
    "AccessionNumber",
    "StudyDescription",
    "StudyID",
    "SeriesDescription",
    "InstitutionName",
    "ReferringPhysicianName",
    "OperatorsName",
    "ContainerIdentifier",
    "ImageComments",
    "BarcodeValue",
    "LabelText",
    "ProtocolName",
    "RequestedProcedureDescription",
    "DeviceSerialNumber",
    "StationName",
]


def svs(path: Path) -> Path:
    """Write an SVS whose description, tags and second page name somebody."""
    pixels = SyntheticSlide(width=512, height=448, mpp=0.5, seed=3, region_um=60).render(0, 0, 512, 448)
    fields = "".join(f"|{name} = {MARKER}" for name in _APERIO)
    description = f"Aperio Image Library v11 \n512x448 [0,0 512x448] (64x64) JPEG/RGB Q=70|MPP = 0.5{fields}"
    extra = [(code, 2, 0, MARKER, True) for code in _TEXT_TAGS]
    options: dict[str, Any] = {
        "photometric": "rgb",
        "compression": "jpeg",
        "metadata": None,
        "extratags": extra,
    }
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(pixels, tile=(64, 64), description=description, **options)
        label = np.full((90, 80, 3), 200, np.uint8)
        tiff.write(
            label, description=f"Aperio {MARKER}\nlabel 80x90", subfiletype=1, rowsperstrip=90, **options
        )
    return path


def tif(path: Path) -> Path:
    """Write the same as a plain TIFF, whose second page is named after somebody."""
    return Path(shutil.move(svs(path.with_suffix(".svs")), path))


def dicom(folder: Path, shared: Path) -> Path:
    folder.mkdir()
    for file in (shared / "slides" / "cmu-1-small-region-dicom").glob("*.dcm"):
        data = pydicom.dcmread(file)
        for name in _DICOM:
            setattr(data, name, MARKER)
        data.SpecimenDescriptionSequence[0].SpecimenIdentifier = MARKER
        data.save_as(folder / file.name)
    return folder


def assert_nowhere(answer: Any, folder: Path) -> None:
    for text in (answer.out, answer.err):
        assert MARKER not in text
    for file in folder.rglob("*"):
        if file.is_file():
            assert MARKER.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("make", [svs, tif])
def test_of_an_svs(wsss: Call, bundle: Path, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / f"a.{make.__name__}")
    assert MARKER.encode() in path.read_bytes()
    for command in (["info", path], ["info", path, "--json"]):
        told = wsss(*command)
        assert_nowhere(told, tmp_path / "none")
        assert "thumbnail" in told.out  # that there is one, never what it shows
    out = tmp_path / "out"
    answer = wsss(
        "run", path, "--model", bundle, "--backend", "torch", "--out", out, "--export", "geojson,tiff,csv,png"
    )
    assert answer.code == 0, answer.err
    assert_nowhere(answer, out)


def test_of_a_slide_that_fails(wsss: Call, bundle: Path, tmp_path: Path) -> None:
    """Logs hold tracebacks: no value of a field may stand in one."""
    path = svs(tmp_path / "a.svs")
    path.write_bytes(path.read_bytes().replace(b"|MPP = 0.5", b"|MPP = 9.5"))
    answer = wsss("run", path, "--model", bundle, "--backend", "torch", "--out", tmp_path / "out")
    assert answer.code == 1
    assert list((tmp_path / "out").rglob("*.log"))
    assert_nowhere(answer, tmp_path / "out")


@pytest.mark.shared
def test_of_a_dicom_series(wsss: Call, bundle: Path, tmp_path: Path, shared_dir: Path) -> None:
    path = dicom(tmp_path / "case", shared_dir)
    assert_nowhere(wsss("info", path, "--json"), tmp_path / "none")
    out = tmp_path / "out"
    answer = wsss(
        "run",
        path,
        "--model",
        bundle,
        "--region",
        "200,200,300,300",
        "--out",
        out,
        "--export",
        "geojson,csv,png",
    )
    assert answer.code == 0, answer.err
    assert_nowhere(answer, out)
