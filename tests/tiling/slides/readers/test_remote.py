"""OME-Zarr over a network, against a server of this process: the same bytes, faults, latency, and what is refused."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import fsspec.implementations.memory
import numpy as np
import pytest
import zarr
from fsspec.registry import _registry as registered
from wsss_far import Faults, serving
from wsss_toys import EVERYWHERE, ColourPredictor, colourful

import tiling.far as module
from tiling.address import address_of, is_address
from tiling.batch import find_jobs, prepare_output
from tiling.engine.drive import run
from tiling.errors import JobError, SlideError, StoreError
from tiling.slides import open_slide
from tiling.slides.level import Level
from tiling.slides.readers.segments import FAR_CACHE_BYTES
from tiling.store import open_store

pytest.importorskip("aiohttp")
PIXELS = colourful(300, 400)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Faults]]:
    monkeypatch.setattr(module, "_PAUSES", (0.01, 0.01))
    folder = tmp_path / "served"
    group = zarr.open_group(folder / "a.zarr", mode="w")
    group.create_array("0", data=PIXELS.transpose(2, 0, 1).copy(), chunks=(3, 64, 64))
    axes = [{"name": "c"}, *({"name": n, "unit": "micrometer"} for n in "yx")]
    scale = {"type": "scale", "scale": [1, 0.5, 0.5]}
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    with serving(folder) as kind:
        yield kind


def test_addresses() -> None:
    assert is_address("https://host/a.zarr")
    assert is_address(Path("s3://bucket/a.zarr"))
    assert address_of(Path("HTTPS://host/a.zarr/")) == "https://host/a.zarr"
    assert not is_address("C:/slides/a.zarr")
    assert not is_address("httpd/a.zarr")


def test_the_same_bytes_as_from_disk(server: Any, tmp_path: Path) -> None:
    [job] = find_jobs([server.address + "/a.zarr"])
    assert job.slide_id == "a"
    with open_slide(job.path) as far, open_slide(tmp_path / "served" / "a.zarr") as near:
        assert (far.dimensions, far.mpp) == (near.dimensions, near.mpp) == ((400, 300), 0.5)
        np.testing.assert_array_equal(far.read(13, 7, 300, 250), near.read(13, 7, 300, 250))
        assert far.identity["quick_hash"] != near.identity["quick_hash"]
        assert len(far.identity["quick_hash"]) == 64


def test_a_busy_server_is_asked_again(server: Any) -> None:
    with open_slide(server.address + "/a.zarr") as slide:
        server.fail_next = 2
        np.testing.assert_array_equal(slide.read(0, 0, 64, 64), PIXELS[:64, :64])


def test_all_pieces_of_a_region_are_asked_for_at_once(server: Any) -> None:
    """The server answers none of the six before the last has been asked for."""
    server.meeting = threading.Barrier(6)
    with open_slide(server.address + "/a.zarr") as slide:
        np.testing.assert_array_equal(slide.read(10, 10, 170, 100), PIXELS[10:110, 10:180])


def test_no_piece_is_asked_for_twice(server: Any) -> None:
    server.delay = 0.01
    with open_slide(server.address + "/a.zarr") as slide, ThreadPoolExecutor(4) as readers:
        regions = list(readers.map(lambda _: slide.read(0, 0, 400, 300), range(8)))
        assert all(np.array_equal(region, PIXELS) for region in regions)
    assert len(server.pieces) == 35
    assert set(server.pieces.values()) == {1}


def test_a_slide_from_afar_keeps_two_rows_of_pieces(server: Any) -> None:
    """Neighbouring tile rows share pieces, and each costs a way through the network: the memory formula knows."""
    with open_slide(server.address + "/a.zarr") as slide:
        reader: Any = slide._reader
        near = reader.held_bytes
        reader.levels = (Level(102_400, 50_000, 1.0, (512, 512)),)
        reader.read_from_afar()
        assert reader.cache.capacity == 2 * 3 * 102_400 * 512
        assert reader.held_bytes > reader.cache.capacity > near
        reader.levels = (Level(4_000_000, 50_000, 1.0, (512, 512)),)
        reader.read_from_afar()
        assert reader.cache.capacity == FAR_CACHE_BYTES


class Bucket(fsspec.implementations.memory.MemoryFileSystem):
    """What s3fs would be: files behind ``s3://``, here in memory."""

    protocol = "s3"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + str(path).removeprefix("s3://").strip("/")


def test_a_bucket_is_read_like_a_folder(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registered, "s3", Bucket)
    folder = tmp_path / "served" / "a.zarr"
    for file in folder.rglob("*"):
        if file.is_file():
            Bucket().pipe_file(f"s3://bucket/a.zarr/{file.relative_to(folder)}", file.read_bytes())
    with open_slide("s3://bucket/a.zarr") as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 400, 300), PIXELS)
    with pytest.raises(SlideError, match="is no OME-Zarr"):
        open_slide("s3://bucket/b.zarr")


def test_a_bucket_without_s3fs_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SlideError, match=r"s3://bucket/a\.zarr needs the package s3fs"):
        open_slide("s3://bucket/a.zarr")


def test_latency_is_hidden_by_reading_ahead(server: Any, tmp_path: Path) -> None:
    """35 chunks of 20 ms each, one after the other, would take 0.7 s and more."""
    server.delay = 0.02
    with open_slide(server.address + "/a.zarr") as slide:
        list(run(slide, ColourPredictor(32), tmp_path / "a.zarr", EVERYWHERE))
    assert open_store(tmp_path / "a.zarr").areas


def test_a_server_that_dies_leaves_a_store_that_can_be_resumed(server: Any, tmp_path: Path) -> None:
    with open_slide(server.address + "/a.zarr") as slide:
        list(run(slide, ColourPredictor(32), tmp_path / "whole.zarr", EVERYWHERE))
    with open_slide(server.address + "/a.zarr") as slide:
        server.dead_after = server.served + 12
        with pytest.raises(SlideError, match="cannot be read"):
            list(run(slide, ColourPredictor(32), tmp_path / "part.zarr", EVERYWHERE))
    server.dead_after = 10**9
    with open_slide(server.address + "/a.zarr") as slide:
        list(run(slide, ColourPredictor(32), tmp_path / "part.zarr", EVERYWHERE))
    got, expected = (np.asarray(open_store(tmp_path / f"{n}.zarr").labels()[0]) for n in ("part", "whole"))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("path", ["/gone.zarr", "/a.zarr/0", "/a.zarr?token=1"])
def test_other_addresses_are_one_sentence(server: Any, path: str) -> None:
    with pytest.raises(SlideError) as failure:
        open_slide(server.address + path)
    assert "\n" not in str(failure.value)
    assert "token=1" not in str(failure.value)


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSES", ())
    with pytest.raises(SlideError, match="cannot be reached"):
        open_slide("http://127.0.0.1:9/a.zarr")


def test_results_are_not_written_to_an_address(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"s3://bucket/out is an address.*copy the folder"):
        prepare_output(Path("s3://bucket/out"))


def test_a_manifest_may_name_addresses(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("slide_id,path\na,https://host/x.zarr\n")
    [job] = find_jobs([tmp_path / "list.csv"])
    assert address_of(job.path) == "https://host/x.zarr"
    with pytest.raises(JobError):
        find_jobs(["https://host/x.zarr", "https://other/x.zarr"])
