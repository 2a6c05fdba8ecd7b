"""Chunks written without zarr are what zarr would have written, appear whole, and never make a store again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings, strategies as st
from zarr.codecs import BytesCodec, GzipCodec, ZstdCodec

from tiling.errors import StoreError
from tiling.store.chunks import ChunkFiles, StoredArray, read_here


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


slices = st.one_of(
    st.builds(slice, *[st.one_of(st.none(), st.integers(-15, 15))] * 2, st.sampled_from([None, 1])),
    st.builds(slice, st.just(None), st.just(None), st.just(2)),
    st.just(0),
)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    chunks=st.lists(st.integers(1, 5), min_size=3, max_size=3),
    kind=st.sampled_from([("uint8", 0), ("uint8", 7), ("float32", float("nan")), (">u2", 0)]),
    separator=st.sampled_from("./"),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_what_is_read_here_is_what_zarr_reads(
    tmp_path_factory: pytest.TempPathFactory,
    shape: list[int],
    chunks: list[int],
    kind: tuple[str, float],
    separator: str,
    seed: int,
    data: st.DataObject,
) -> None:
    dtype, fill = kind
    values = np.random.default_rng(seed).integers(0, 2, shape).astype(dtype) * 7
    values[values == 0] = fill
    array = make(
        tmp_path_factory.mktemp("read"),
        tuple(shape),
        tuple(min(c, n) for c, n in zip(chunks, shape, strict=False)),
        dtype=dtype,
        fill_value=fill,
        chunk_key_encoding={"name": "default", "separator": separator},
    )
    array[: shape[0] // 2 + 1] = values[: shape[0] // 2 + 1]  # the rest has no files
    here = read_here(array)
    assert isinstance(here, StoredArray)
    assert (here.shape, here.chunks, here.ndim, here.size) == (
        array.shape,
        array.chunks,
        array.ndim,
        array.size,
    )
    assert here.dtype == array.dtype
    key = tuple(data.draw(st.lists(slices, min_size=1, max_size=len(shape))))
    for asked in (key, key[0], ...):
        np.testing.assert_array_equal(here[asked], np.asarray(array[asked]))
    np.testing.assert_array_equal(np.asarray(here), np.asarray(array))
    assert np.asarray(here, dtype=np.float64).dtype == np.float64
    assert len(here) == shape[0]


def test_no_thread_of_zarr_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = make(tmp_path / "z", (8, 8), (4, 4))
    array[:4] = 3
    here = read_here(array)
    monkeypatch.setattr(zarr.Array, "__getitem__", None)
    monkeypatch.setattr("zarr.core.sync.sync", None)
    assert here[:, 2:6].tolist() == [[3] * 4] * 4 + [[0] * 4] * 4


def test_chunks_that_are_damaged_are_no_labels(tmp_path: Path) -> None:
    array = make(tmp_path / "z", (8, 8), (4, 4))
    array[...] = 3
    files = sorted((tmp_path / "z" / "a" / "c").rglob("*"))
    chunk = next(file for file in files if file.is_file())
    other = make(tmp_path / "y", (3, 3), (3, 3))
    other[...] = 5
    for content in (b"no zstd", chunk.read_bytes()[:-3], (tmp_path / "y/a/c/0/0").read_bytes()):
        chunk.write_bytes(content)
        with pytest.raises((RuntimeError, ValueError)):
            read_here(array)[:]


def test_what_is_stored_in_another_way_is_left_to_zarr(tmp_path: Path) -> None:
    other_bytes = {"dtype": "uint16", "serializer": BytesCodec(endian="big")}
    ways = ({"compressors": GzipCodec()}, {"compressors": None}, {"shards": (8, 8)}, other_bytes)
    for number, how in enumerate(ways):
        array = make(tmp_path / str(number), (8, 8), (4, 4), **how)
        assert read_here(array) is array
        with pytest.raises(StoreError, match="zarr alone"):
            StoredArray(array)
        with pytest.raises(StoreError, match="does not write"):
            ChunkFiles(array)
    plain = np.zeros((3, 3))
    assert read_here(plain) is plain
