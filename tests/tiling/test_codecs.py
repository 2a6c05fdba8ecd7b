"""The allow-list of zarr codecs, whatever the installed zarr and numcodecs would run by themselves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numcodecs
import pytest
import zarr

from tiling.codecs import refuse_unknown_codecs
from tiling.errors import SlideError


def array(**metadata: Any) -> Any:
    """Return what stands for an open array: only its metadata are asked."""
    return SimpleNamespace(metadata=SimpleNamespace(to_dict=lambda: metadata))


def sharded(*inside: str) -> dict[str, Any]:
    codecs = [{"name": name} for name in inside]
    shard = {"codecs": codecs, "index_codecs": [{"name": "bytes"}, {"name": "crc32c"}]}
    return {"name": "sharding_indexed", "configuration": shard}


@pytest.mark.parametrize(
    "metadata",
    [
        {"compressor": {"id": "pickle"}},
        {"compressor": {"id": "zstd"}, "filters": [{"id": "delta"}, {"id": "pickle"}]},
        {"compressor": {"id": "json2"}},
        {"compressor": {"id": "msgpack2"}},
        {"compressor": {}},
        {"codecs": [{"name": "bytes"}, {"name": "numcodecs.pickle"}]},
        {"codecs": [sharded("bytes", "numcodecs.pickle")]},
        {"codecs": [sharded("bytes")["configuration"] | {"name": "somebodys.own"}]},
    ],
)
def test_codecs_that_could_do_more_than_decompress(metadata: dict[str, Any]) -> None:
    with pytest.raises(SlideError, match=r"a\.zarr is stored with the codec"):
        refuse_unknown_codecs(Path("a.zarr"), array(**metadata), SlideError)


@pytest.mark.parametrize(
    "metadata",
    [
        {"compressor": None, "filters": None},
        {"compressor": {"id": "blosc"}, "filters": [{"id": "delta"}]},
        {"compressor": {"id": "imagecodecs_jpeg2k"}},
        {"codecs": [{"name": "bytes"}, {"name": "zstd"}]},
        {"codecs": [{"name": "numcodecs.zlib"}]},
        {"codecs": [sharded("bytes", "blosc")]},
    ],
)
def test_codecs_that_only_decompress(metadata: dict[str, Any]) -> None:
    refuse_unknown_codecs(Path("a.zarr"), array(**metadata), SlideError)


def test_what_zarr_itself_writes_passes(tmp_path: Path) -> None:
    for version, compressor in ((2, numcodecs.Zlib()), (3, zarr.codecs.BloscCodec())):
        group = zarr.open_group(tmp_path / str(version), mode="w", zarr_format=version)  # type: ignore[arg-type]
        made = group.create_array("0", shape=(8, 8), chunks=(4, 4), dtype="uint8", compressors=compressor)
        refuse_unknown_codecs(tmp_path, made, SlideError)
