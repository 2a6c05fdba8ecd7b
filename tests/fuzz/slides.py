"""Slides that are damaged or lie: mutants of SVS, TIFF, OME-TIFF, DICOM, JPEG, PNG and OME-Zarr, the same for a seed.

A mutant is a name and a function that writes it into a folder and returns what to open.
"""

from __future__ import annotations

import io
import itertools
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from PIL import Image
from wsss_dicom import write_dicom
from wsss_mutations import BYTES, Build, Mutate, change_leaf, files_of

from tiling.errors import SlideError
from tiling.slides import open_slide

__all__ = ["mutants", "outcome", "prepare"]

_PIXELS = np.random.default_rng(0).integers(0, 256, (160, 192, 3)).astype(np.uint8)
_UUID = "urn:uuid:00000000-0000-0000-0000-000000000001"
_NUMBERS = (0, 1, 2, 7, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)


def prepare(intact: Path) -> None:
    """Write the intact files."""
    for kind, (suffix, data) in _files(intact).items():
        (intact / f"{kind}{suffix}").write_bytes(data)


def mutants(seed: int, intact: Path) -> Iterator[tuple[str, Build]]:
    """Yield mutants without end; two runs with the same seed yield the same ones."""
    chance = random.Random(seed)
    files = {
        p.name.partition(".")[0]: (p.name[p.name.index(".") :], p.read_bytes()) for p in files_of(intact)
    }
    for number in itertools.count():
        kind = chance.choice([*files, "zarr2", "zarr3"])
        own = random.Random(f"{seed} {number}")
        if kind.startswith("zarr"):
            how = chance.choice(list(_ZARR))
            yield f"{number:05} {kind} {how}", _zarr_mutant(own, int(kind[-1]), _ZARR[how])
        else:
            suffix, data = files[kind]
            fitting = {**BYTES, **(_TIFF if data[:2] in (b"II", b"MM") else {})}
            how = chance.choice(list(fitting))
            yield f"{number:05} {kind} {how}", _file_mutant(own, suffix, data, fitting[how])


def outcome(path: Path, intact: Path) -> str:
    """Open a slide and look at it; an error that is not ours escapes."""
    try:
        with open_slide(path) as slide:
            picture = slide.thumbnail(64)
            assert picture.dtype == np.uint8
            assert picture.shape[2] == 3
            slide.read(-5, -5, 40, 40)
            return "read"
    except SlideError as error:
        return "refused" if "\n" not in str(error) and str(error).endswith(".") else f"said {error}"


def _file_mutant(own: random.Random, suffix: str, data: bytes, mutate: Mutate) -> Build:
    mutated = bytes(mutate(own, bytearray(data)))

    def build(folder: Path) -> Path:
        path = folder / f"mutant{suffix}"
        path.write_bytes(mutated)
        return path

    return build


def _files(work: Path) -> dict[str, tuple[str, bytes]]:
    """Return the intact files: suffix and content."""
    aperio = "Aperio Image Library v11 \n192x160 [0,0 192x160] (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"
    tiled: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
    ome = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "UUID": _UUID}
    planes = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "UUID": _UUID}
    return {
        "svs": (".svs", _tiff({"compression": "jpeg", "description": aperio, **tiled})),
        "strips": (
            ".tif",
            _tiff({"photometric": "rgb", "rowsperstrip": 16, "compression": "zlib", "metadata": None}),
        ),
        "flat": (".tif", _tiff({"photometric": "rgb", "metadata": None, "resolution": (20_000, 20_000)})),
        "big": (".tf8", _tiff({"compression": "lzw", **tiled}, bigtiff=True)),
        "ome": (
            ".ome.tif",
            _tiff({"photometric": "rgb", "tile": (64, 64), "compression": "zlib", "metadata": ome}),
        ),
        "planes": (
            ".ome.tif",
            _tiff({"photometric": "minisblack", "metadata": planes}, pixels=_PIXELS.transpose(2, 0, 1)),
        ),
        "pyramid": (".tif", _tiff({"compression": "jpeg", **tiled}, levels=2)),
        "jpeg": (".jpg", _picture("JPEG")),
        "png": (".png", _picture("PNG")),
        "dicom": (".dcm", _dicom(work)),
    }


def _tiff(options: dict[str, Any], *, pixels: Any = _PIXELS, levels: int = 1, bigtiff: bool = False) -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, bigtiff=bigtiff, ome=bool(options.get("metadata"))) as tiff:
        for level in range(levels):
            step = 2**level
            tiff.write(
                pixels[::step, ::step] if levels > 1 else pixels, subfiletype=1 if level else None, **options
            )
    return stream.getvalue()


def _picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(_PIXELS).save(stream, kind, dpi=(50_800, 50_800))
    return stream.getvalue()


def _dicom(work: Path) -> bytes:
    path = work / "intact.dcm"
    data = write_dicom(path, frame=_picture("JPEG")).read_bytes()
    path.unlink()
    return data


# --- TIFF directories ---


def _directories(data: bytearray) -> list[tuple[int, int, int, bool]]:
    """Return place of the first entry, number of entries, place of the next pointer, and whether it is a BigTIFF."""
    big = data[2] == 43
    pointer, count, entry = ("<Q", "<Q", 20) if big else ("<I", "<H", 12)
    place, found = 8 if big else 4, []
    while len(found) < 9 and (offset := struct.unpack_from(pointer, data, place)[0]):
        tags = struct.unpack_from(count, data, offset)[0]
        first = offset + struct.calcsize(count)
        place = first + tags * entry
        found.append((first, tags, place, big))
    return found


def _entry(own: random.Random, data: bytearray) -> tuple[int, bool]:
    first, tags, _, big = own.choice(_directories(data))
    return first + own.randrange(tags) * (20 if big else 12), big


def _lying_value(own: random.Random, data: bytearray) -> bytearray:
    place, big = _entry(own, data)
    struct.pack_into("<I", data, place + (12 if big else 8), own.choice(_NUMBERS))
    return data


def _lying_count(own: random.Random, data: bytearray) -> bytearray:
    place, _ = _entry(own, data)
    struct.pack_into("<I", data, place + 4, own.choice(_NUMBERS))
    return data


def _other_type(own: random.Random, data: bytearray) -> bytearray:
    place, _ = _entry(own, data)
    struct.pack_into("<H", data, place + 2, own.choice((0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 16, 18, 99)))
    return data


def _other_tag(own: random.Random, data: bytearray) -> bytearray:
    place, _ = _entry(own, data)
    tags = (254, 256, 257, 258, 259, 262, 270, 273, 277, 278, 320, 322, 330, 347)
    struct.pack_into("<H", data, place, own.choice(tags))
    return data


def _loop(own: random.Random, data: bytearray) -> bytearray:
    found = _directories(data)
    first, tags, place, big = own.choice(found)
    target = found[0][0] - (8 if big else 2)
    if own.random() < 0.5:
        struct.pack_into("<Q" if big else "<I", data, place, target)
    else:  # a SubIFD that is its own parent
        entry = first + own.randrange(tags) * (20 if big else 12)
        struct.pack_into("<HHQQ" if big else "<HHII", data, entry, 330, 16 if big else 4, 1, target)
    return data


def _many_directories(own: random.Random, data: bytearray) -> bytearray:
    first, _, _, big = _directories(data)[0]
    struct.pack_into(
        "<Q" if big else "<H", data, first - (8 if big else 2), own.choice((0, 1, 2**15, 2**16 - 1))
    )
    return data


_TIFF: dict[str, Mutate] = {
    "a value lies": _lying_value,
    "a count lies": _lying_count,
    "another type": _other_type,
    "another tag": _other_tag,
    "a loop": _loop,
    "number of tags lies": _many_directories,
}


# --- OME-Zarr ---


def _write_zarr(folder: Path, version: int) -> Path:
    path = folder / "mutant.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == 2 else 3)
    for level in range(2):
        step = 2**level
        group.create_array(
            str(level), data=_PIXELS[::step, ::step].transpose(2, 0, 1).copy(), chunks=(3, 64, 64)
        )
    axes = [
        {"name": "c", "type": "channel"},
        *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx"),
    ]
    datasets = [
        {
            "path": str(i),
            "coordinateTransformations": [{"type": "scale", "scale": [1, 0.5 * 2**i, 0.5 * 2**i]}],
        }
        for i in range(2)
    ]
    image = {"axes": axes, "datasets": datasets, "version": "0.4"}
    ome = {"multiscales": [image]}
    group.attrs.update(ome if version == 2 else {"ome": {"version": "0.5", **ome}})
    return path


def _zarr_mutant(own: random.Random, version: int, mutate: Callable[[random.Random, Path], None]) -> Build:
    def build(folder: Path) -> Path:
        path = _write_zarr(folder, version)
        mutate(own, path)
        return path

    return build


def _metadata_files(path: Path) -> list[Path]:
    names = ("zarr.json", ".zarray", ".zattrs", ".zgroup")
    return sorted(f for f in path.rglob("*") if f.name in names)


def _chunks(path: Path) -> list[Path]:
    return sorted(f for f in path.rglob("*") if f.is_file() and f not in _metadata_files(path))


def _odd_leaf(own: random.Random, path: Path) -> None:
    file = own.choice(_metadata_files(path))
    file.write_bytes(change_leaf(own, file.read_bytes()))


def _deep(own: random.Random, path: Path) -> None:
    depth = own.choice((100, 2_000, 100_000))
    own.choice(_metadata_files(path)).write_text('{"a":' * depth + "1" + "}" * depth)


def _bytes_of(own: random.Random, path: Path) -> None:
    file = own.choice(_metadata_files(path) + _chunks(path))
    mutate = own.choice(list(BYTES.values()))
    file.write_bytes(bytes(mutate(own, bytearray(file.read_bytes()))))


def _gone(own: random.Random, path: Path) -> None:
    own.choice(_metadata_files(path) + _chunks(path)).unlink()


def _no_file(own: random.Random, path: Path) -> None:
    file = own.choice(_metadata_files(path) + _chunks(path))
    file.unlink()
    kind = own.choice(("folder", "loop", "dangling"))
    if kind == "folder":
        file.mkdir()
    else:
        file.symlink_to(file.name if kind == "loop" else "nowhere")


def _no_level(own: random.Random, path: Path) -> None:
    shutil.rmtree(path / own.choice("01"))


_ZARR: dict[str, Callable[[random.Random, Path], None]] = {
    "an odd value": _odd_leaf,
    "deep": _deep,
    "bytes": _bytes_of,
    "a file is gone": _gone,
    "no ordinary file": _no_file,
    "a level is gone": _no_level,
}
