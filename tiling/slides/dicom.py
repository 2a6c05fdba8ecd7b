"""What the head of a DICOM file says: its series, and whether its colours are told right.

A folder may hold several series, other slides and files without a suffix; OpenSlide is asked only once it is known
which files belong together.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DicomHead", "dicom_head", "dicom_series", "jpeg_is_ycbcr", "may_be_dicom"]

_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_JPEG_SYNTAXES = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})
_FOCAL_PLANES = 0x00480303
_FRAMES_LOOKED_AT = 1 << 16


@dataclass(frozen=True)
class DicomHead:
    """The few facts of a DICOM file by which it is sorted.

    Attributes
    ----------
    series : str
        SeriesInstanceUID; empty when the file does not tell.
    is_slide : bool
        Whether it is a whole-slide image rather than an annotation, a report or a scan of a patient.
    photometric, syntax : str
        PhotometricInterpretation and TransferSyntaxUID.
    layers : int
        Pictures on top of each other: optical paths times focal planes.
    sparse : bool
        Whether each frame says itself where it lies (``TILED_SPARSE``): then nothing orders the layers.
    """

    series: str = ""
    is_slide: bool = True
    photometric: str = ""
    syntax: str = ""
    layers: int = 1
    sparse: bool = False


def may_be_dicom(path: Path) -> bool:
    """Say whether a file is worth opening as DICOM: by its suffix, or without one that means anything by its start.

    DICOM exports name files by number or UID, so ``IM0001`` and ``1.2.840.99`` count as names without suffix.
    """
    suffix = path.suffix.casefold()
    if suffix in _SUFFIXES:
        return True
    return not suffix.strip(".0123456789") and starts_like_dicom(path)


def starts_like_dicom(path: Path) -> bool:
    """Say whether ``DICM`` stands where DICOM wants it; False for what cannot be read or is no regular file."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def dicom_head(path: Path) -> DicomHead:
    """Read the head of a DICOM file; one that cannot be understood tells nothing and counts as a slide.

    Nothing after the number of focal planes is read, so that the millions of frame descriptions of a large slide
    cost nothing.
    """
    from pydicom.filereader import read_partial

    if not starts_like_dicom(path):
        return DicomHead()
    try:
        with path.open("rb") as stream:
            data = read_partial(stream, stop_when=lambda tag, vr, length: tag > _FOCAL_PLANES)
        kind = data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID") or _WHOLE_SLIDE
        return DicomHead(
            series=str(data.get("SeriesInstanceUID", "")),
            is_slide=str(kind) == _WHOLE_SLIDE,
            photometric=str(data.get("PhotometricInterpretation", "")),
            syntax=str(data.file_meta.get("TransferSyntaxUID", "")),
            layers=_layers(data),
            sparse=str(data.get("DimensionOrganizationType", "")) == "TILED_SPARSE",
        )
    except Exception:  # noqa: BLE001  pydicom raises whatever a damaged file makes of its parsing
        return DicomHead()


def _layers(data: Any) -> int:
    """Return how many pictures a file holds of the same place: as it says, or as its frames are too many for one."""
    paths = max(int(data.get("NumberOfOpticalPaths") or 1), len(data.get("OpticalPathSequence") or ()))
    planes = int(data.get("TotalPixelMatrixFocalPlanes") or 1)
    sides = (
        (data.get("TotalPixelMatrixColumns"), data.get("Columns")),
        (data.get("TotalPixelMatrixRows"), data.get("Rows")),
    )
    tiles: int = math.prod(math.ceil(whole / part) for whole, part in sides if whole and part)
    return max(paths * planes, math.ceil(int(data.get("NumberOfFrames") or 1) / tiles))


def dicom_series(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Group DICOM files by series; what is no whole-slide image is left out.

    Returns
    -------
    dict of str to list of Path
        In the order given. Files that do not tell their series stand together under the empty string.
    """
    groups: dict[str, list[Path]] = {}
    for file in files:
        head = dicom_head(file)
        if head.is_slide:
            groups.setdefault(head.series, []).append(file)
    return groups


def jpeg_is_ycbcr(path: Path) -> bool:
    """Say whether a file that calls its pixels RGB holds JPEGs that are, by JPEG's own rules, YCbCr.

    Those rules are what decoders go by where nobody tells them: Adobe's marker, else the numbers of the components.
    """
    head = dicom_head(path)
    if head.photometric != "RGB" or head.syntax not in _JPEG_SYNTAXES:
        return False
    try:
        components, transform = _jpeg_head(_first_frame(path))
    except (OSError, ValueError, struct.error, IndexError):
        return False
    if len(components) != 3:
        return False
    return components == (1, 2, 3) if transform is None else transform == 1


def _first_frame(path: Path) -> bytes:
    """Return the start of the first encapsulated frame."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff")
        if start < 0:
            raise ValueError("no encapsulated pixels")
        place = start + 12
        (table,) = struct.unpack_from("<I", data, place + 4)  # the offset table is an item of its own
        place += 8 + table
        (length,) = struct.unpack_from("<I", data, place + 4)
        return data[place + 8 : place + 8 + min(length, _FRAMES_LOOKED_AT)]


def _jpeg_head(data: bytes) -> tuple[tuple[int, ...], int | None]:
    """Return the component numbers of a JPEG, and the transform of its Adobe marker where it has one."""
    transform: int | None = None
    place = 2
    while data[place] == 0xFF:
        marker = data[place + 1]
        (length,) = struct.unpack_from(">H", data, place + 2)
        body = data[place + 4 : place + 2 + length]
        if marker == 0xEE and body[:5] == b"Adobe":
            transform = body[11]
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return tuple(body[6 + 3 * i] for i in range(body[5])), transform
        place += 2 + length
    raise ValueError("no frame header")
