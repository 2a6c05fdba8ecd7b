"""Chunks written without zarr are what zarr would have written, appear whole, and never make a store again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings, strategies as st
from zarr.codecs import GzipCodec, ZstdCodec

from tiling.errors import StoreError
from tiling.store.chunks import ChunkFiles


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def make(folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], **how: Any) -> zarr.Array[Any]:
    group = zarr.create_group(folder, overwrite=True)
    how = {"dtype": "uint8", "compressors": ZstdCodec(level=0, checksum=True), **how}
    return group.create_array("a", shape=shape, chunks=chunks, **how)


@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    chunks=st.lists(st.integers(1, 5), min_size=3, max_size=3),
    kind=st.sampled_from([("uint8", 0), ("uint8", 7), ("float32", float("nan")), ("float64", 0.0)]),
    separator=st.sampled_from("./"),
    seed=st.integers(0, 99),
)
def test_files_are_those_that_zarr_writes(
    tmp_path_factory: pytest.TempPathFactory,
    shape: list[int],
    chunks: list[int],
    kind: tuple[str, float],
    separator: str,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("chunks")
    dtype, fill = kind
    values = np.random.default_rng(seed).integers(0, 2, shape).astype(dtype) * 7
    values[values == 0] = fill
    chunk = tuple(min(c, n) for c, n in zip(chunks, shape, strict=False))
    how = {
        "dtype": dtype,
        "fill_value": fill,
        "chunk_key_encoding": {"name": "default", "separator": separator},
    }
    theirs = make(folder / "theirs", tuple(shape), chunk, **how)
    theirs[...] = values
    ours = make(folder / "ours", tuple(shape), chunk, **how)
    writer = ChunkFiles(ours)
    for start in range(0, shape[0], chunk[0]):
        writer[start : start + chunk[0]] = values[start : start + chunk[0]]
    assert files(folder / "ours") == files(folder / "theirs")
    np.testing.assert_array_equal(zarr.open_array(folder / "ours" / "a")[...], values)


def test_a_chunk_that_has_become_empty_goes(tmp_path: Path) -> None:
    array = make(tmp_path, (4, 4), (2, 2))
    writer = ChunkFiles(array)
    writer[:] = np.eye(4, dtype=np.uint8)
    writer[:2] = np.zeros((2, 4), np.uint8)
    assert [p.name for p in (tmp_path / "a" / "c").rglob("*") if p.is_file()] == ["1"]
    np.testing.assert_array_equal(array[...], np.diag([0, 0, 1, 1]))


def test_parts_of_chunks_and_wrong_shapes_are_refused(tmp_path: Path) -> None:
    writer = ChunkFiles(make(tmp_path, (10, 10), (4, 4)))
    for key, shape in ((slice(1, 4), (3, 10)), (slice(0, 3), (3, 10)), (slice(0, 4), (4, 9))):
        with pytest.raises(ValueError, match="slice"):
            writer[key] = np.ones(shape, np.uint8)
    writer[8:10, 8:10] = np.ones((2, 2), np.uint8)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("gone", ["store", "store/a"])
@pytest.mark.parametrize("separator", "./")
def test_a_folder_that_was_taken_away_is_not_made_again(tmp_path: Path, gone: str, separator: str) -> None:
    names = {"name": "default", "separator": separator}
    writer = ChunkFiles(make(tmp_path / "store", (4, 4), (2, 2), chunk_key_encoding=names))
    writer[:2] = np.ones((2, 4), np.uint8)
    shutil.rmtree(tmp_path / gone)
    with pytest.raises(FileNotFoundError):
        writer[2:] = np.ones((2, 4), np.uint8)
    assert not (tmp_path / gone).exists()


def test_a_chunk_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = make(tmp_path, (2, 2), (2, 2))
    writer = ChunkFiles(array)
    writer[:] = np.ones((2, 2), np.uint8)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(OSError, match="No space"):
        writer[:] = np.full((2, 2), 2, np.uint8)
    monkeypatch.undo()
    assert (np.asarray(array[...]) == 1).all()
    assert not list(tmp_path.rglob("*.tmp"))


def test_other_ways_of_storing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="--restart"):
        ChunkFiles(make(tmp_path, (4,), (2,), compressors=GzipCodec()))
    with pytest.raises(StoreError, match="--restart"):
        ChunkFiles(zarr.create_array({}, shape=(4,), chunks=(2,), dtype="uint8"))
