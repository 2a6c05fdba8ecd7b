"""Small DICOM files: enough of a head to be sorted by, and JPEG frames where colours matter."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def write_dicom(
    path: Path,
    *,
    series: str = "1.2.3",
    sop_class: str = WHOLE_SLIDE,
    photometric: str = "RGB",
    frame: bytes | None = None,
) -> Path:
    """Write a file of one series, with a JPEG frame when one is given."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if frame is None else JPEGBaseline8Bit
    data.file_meta.MediaStorageSOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    data.SOPClassUID = sop_class
    data.SOPInstanceUID = "1.2.3.4"
    data.SeriesInstanceUID = series
    data.PhotometricInterpretation = photometric
    data.Rows = data.Columns = 8
    data.SamplesPerPixel = 3
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.PixelRepresentation = 0
    if frame is not None:
        data.PixelData = encapsulate([frame])
        data["PixelData"].VR = "OB"
    data.save_as(path, enforce_file_format=True)
    return path
