"""Small DICOM whole-slide images of every organisation that scanners and archives write."""

from __future__ import annotations

import io
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit, generate_uid

__all__ = ["write_dicom_slide"]

_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def write_dicom_slide(
    folder: Path,
    pixels: NDArray[np.uint8],
    *,
    tile: int = 64,
    parts: int = 1,
    sparse: bool = False,
    paths: int = 1,
    planes: int = 1,
    missing: Collection[tuple[int, int]] = (),
) -> Path:
    """Write one level of half a micrometre per pixel.

    Parameters
    ----------
    folder : Path
    pixels : (h, w, 3) uint8
        Shown by the first optical path and focal plane; the others show its negative.
    tile : int
    parts : int
        Files over which the frames are spread (a concatenation).
    sparse : bool
        Whether each frame says where it lies (``TILED_SPARSE``).
    paths, planes : int
        Optical paths and focal planes.
    missing : collection of (row, column)
        Tiles that are left out; only where sparse.
    """
    folder.mkdir(parents=True)
    height, width = pixels.shape[:2]
    rows, columns = math.ceil(height / tile), math.ceil(width / tile)
    whole = np.full((rows * tile, columns * tile, 3), 255, np.uint8)
    whole[:height, :width] = pixels
    frames = [
        (layer // planes, row, column, _jpeg(whole if layer == 0 else 255 - whole, row, column, tile))
        for layer in range(paths * planes)
        for row in range(rows)
        for column in range(columns)
        if (row, column) not in missing
    ]
    common = {
        "SOPClassUID": _WHOLE_SLIDE,
        "Modality": "SM",
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "Rows": tile,
        "Columns": tile,
        "TotalPixelMatrixRows": height,
        "TotalPixelMatrixColumns": width,
        "SamplesPerPixel": 3,
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PhotometricInterpretation": "YBR_FULL_422",
        "LossyImageCompression": "01",
        "ImagedVolumeWidth": width / 2000,
        "ImagedVolumeHeight": height / 2000,
        "ImagedVolumeDepth": 1,
        "VolumetricProperties": "VOLUME",
        "SpecimenLabelInImage": "NO",
        "ImageOrientationSlide": [0, -1, 0, -1, 0, 0],
        "DimensionOrganizationType": "TILED_SPARSE" if sparse else "TILED_FULL",
        "OpticalPathSequence": Sequence([_item(OpticalPathIdentifier=str(i)) for i in range(paths)]),
        "TotalPixelMatrixOriginSequence": Sequence(
            [_item(XOffsetInSlideCoordinateSystem=0, YOffsetInSlideCoordinateSystem=0)]
        ),
        "SharedFunctionalGroupsSequence": Sequence(
            [_item(PixelMeasuresSequence=Sequence([_item(PixelSpacing=[0.0005, 0.0005], SliceThickness=1)]))]
        ),
    }
    if not sparse:  # where frames are in order, their order needs these
        common |= {"NumberOfOpticalPaths": paths, "TotalPixelMatrixFocalPlanes": planes}
    concatenation, each = generate_uid(), math.ceil(len(frames) / parts)
    for part in range(parts):
        here = frames[part * each : (part + 1) * each]
        data = _item(
            **common, SOPInstanceUID=generate_uid(), InstanceNumber=part + 1, NumberOfFrames=len(here)
        )
        if parts > 1:
            data.ConcatenationUID = data.SOPInstanceUIDOfConcatenationSource = concatenation
            data.InConcatenationNumber, data.InConcatenationTotalNumber = part + 1, parts
            data.ConcatenationFrameOffsetNumber = part * each
        if sparse:
            places = [_place(path, row, column, tile) for path, row, column, _ in here]
            data.PerFrameFunctionalGroupsSequence = Sequence(places)
        data.file_meta = FileMetaDataset()
        data.file_meta.MediaStorageSOPClassUID = _WHOLE_SLIDE
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        data.PixelData = encapsulate([frame for *_, frame in here])
        data["PixelData"].is_undefined_length = True
        data.save_as(folder / f"{part}.dcm", enforce_file_format=True)
    return folder


def _item(**values: Any) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def _place(path: int, row: int, column: int, tile: int) -> Dataset:
    position = _item(
        ColumnPositionInTotalImagePixelMatrix=column * tile + 1,
        RowPositionInTotalImagePixelMatrix=row * tile + 1,
        XOffsetInSlideCoordinateSystem=0,
        YOffsetInSlideCoordinateSystem=0,
        ZOffsetInSlideCoordinateSystem=0,
    )
    return _item(
        PlanePositionSlideSequence=Sequence([position]),
        OpticalPathIdentificationSequence=Sequence([_item(OpticalPathIdentifier=str(path))]),
    )


def _jpeg(whole: NDArray[np.uint8], row: int, column: int, tile: int) -> bytes:
    part = whole[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
    stream = io.BytesIO()
    Image.fromarray(part).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()
