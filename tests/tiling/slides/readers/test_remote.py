"""OME-Zarr over a network, against a server of this process: the same bytes, faults, latency, and what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from wsss_toys import EVERYWHERE, ColourPredictor, colourful

import tiling.slides.readers.zarr_place as module
from tiling.address import address_of, is_address
from tiling.batch import find_jobs, prepare_output
from tiling.engine.drive import run
from tiling.errors import JobError, SlideError, StoreError
from tiling.slides import open_slide
from tiling.store import open_store

pytest.importorskip("aiohttp")
PIXELS = colourful(300, 400)


class Faults(SimpleHTTPRequestHandler):
    """Serves a folder; fails, waits or dies when told to."""

    fail_next = 0
    dead_after = 10**9
    delay = 0.0
    lock = threading.Lock()
    served = 0

    def do_GET(self) -> None:
        """Serve a file, or what the test wants instead."""
        kind = type(self)
        with kind.lock:
            kind.served += 1
            fails = kind.fail_next > 0
            kind.fail_next -= fails
        time.sleep(kind.delay)
        if fails or kind.served > kind.dead_after:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


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
    kind = type("Faults", (Faults,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(folder))) as http:
        kind.address = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield kind
        http.shutdown()
        thread.join()


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
