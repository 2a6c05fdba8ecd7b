"""Which zarr codecs may decode an array: those that compress bytes, whatever else is installed.

A codec is named by the file, and zarr runs any that is registered: with numcodecs' ``pickle`` an image runs code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import zarr

from tiling.errors import WsssError

__all__ = ["ALLOWED_CODECS", "refuse_unknown_codecs"]

_BYTES = {"blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd", "delta", "shuffle", "packbits"}
_CHECKSUMS = {"adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"}
_ZARR_3 = {"bytes", "transpose", "sharding_indexed"}
_PICTURES = {
    f"imagecodecs_{name}"
    for name in (
        "avif", "blosc", "blosc2", "brotli", "deflate", "delta", "heif", "htj2k", "jpeg", "jpeg2k", "jpegls", "jpegxl",
        "jpegxr", "lerc", "ljpeg", "lz4", "lz4f", "lzw", "packbits", "png", "qoi", "tiff", "webp", "xor", "zlib",
        "zstd",
    )
}  # fmt: skip

ALLOWED_CODECS = frozenset(_BYTES | _CHECKSUMS | _ZARR_3 | _PICTURES)
"""Names of codecs, without the ``numcodecs.`` that version 3 puts before some."""


def refuse_unknown_codecs(
    path: Path, array: zarr.Array[Any], error: type[WsssError], advice: str = "export it again with zstd"
) -> None:
    """Raise unless every codec of an array is known to do nothing but decompress bytes.

    Parameters
    ----------
    path : Path
        For the message.
    array : zarr.Array
        As it was opened; nothing of it was decoded yet.
    error : type of WsssError
        What to raise.
    advice : str
        What to do, for the message.
    """
    unknown = sorted({name for name in _codecs(array.metadata.to_dict()) if name not in ALLOWED_CODECS})
    if unknown:
        raise error(
            f"{path} is stored with the codec {', '.join(map(repr, unknown))}, which is not among those that only "
            f"decompress and could run code; {advice}."
        )


def _codecs(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of all codecs of an array, those inside of shards, too."""
    for codec in (metadata.get("compressor"), *(metadata.get("filters") or ())):
        if codec is not None:
            yield str(codec.get("id"))
    yield from _version_3(metadata.get("codecs") or ())


def _version_3(codecs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for codec in codecs:
        yield str(codec.get("name")).removeprefix("numcodecs.")
        inside = codec.get("configuration") or {}
        for part in ("codecs", "index_codecs"):
            yield from _version_3(inside.get(part) or ())
