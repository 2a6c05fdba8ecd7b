"""A night's batch: 40 slides, one white, five broken in five ways, alone and on two workers of which one is killed."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from wsss_browser import needs_browser, running_browser

from tiling.store.receipt import content_digest, verify
from tiling.synthetic import SyntheticSlide

Call = Callable[..., Any]
BROKEN = {"depth", "garbage", "middle", "nompp", "truncated"}


def write(path: Path, pixels: NDArray[np.uint8 | np.uint16], mpp: float | None = 0.5) -> None:
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp,) * 2, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(64, 64), compression="zlib", photometric="rgb", **resolution)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("forty")
    synthetic = SyntheticSlide(width=2048, height=512, mpp=0.5, seed=5, region_um=60)
    plane, truth = synthetic.render(0, 0, 2048, 512), synthetic.truth(0, 0, 2048, 512)
    starts = [x for x in range(0, 2048 - 300, 8) if (truth[:, x : x + 300] > 0).mean() > 0.6]
    for i in range(34):
        x = starts[i * len(starts) // 34]
        write(path / f"slide{i:02}.tif", plane[:, x : x + 300])
    plane = plane[:, starts[0] :]
    write(path / "white.tif", np.full((512, 300, 3), 248, np.uint8))
    write(path / "nompp.tif", plane[:, :300], None)
    write(path / "depth.tif", plane[:, :300].astype(np.uint16) * 257)
    (path / "garbage.tif").write_bytes(np.random.default_rng(0).bytes(5000))
    write(path / "truncated.tif", plane[:, :300])
    data = (path / "truncated.tif").read_bytes()
    (path / "truncated.tif").write_bytes(data[: len(data) // 3])
    write(path / "middle.tif", plane[:, :300])
    with tifffile.TiffFile(path / "middle.tif") as tiff:
        page: Any = tiff.pages.first
        at, length = page.dataoffsets[25], page.databytecounts[25]
    with (path / "middle.tif").open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * length)
    return path


def statuses(out: Path) -> dict[str, str]:
    with (out / "summary.csv").open(newline="") as file:
        return {row["slide_id"]: row["status"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("alone")


@pytest.mark.slow
def test_forty_slides(wsss: Call, folder: Path, bundle: Path, alone: Path) -> None:
    command = ["run", folder, "--model", bundle, "--out", alone, "--overlap", 0]
    answer = wsss(*command)
    assert answer.code == 1
    found = statuses(alone)
    assert Counter(found.values()) == {"done": 34, "empty": 1, "failed": 5}
    assert {name for name, status in found.items() if status == "failed"} == BROKEN
    assert found["white"] == "empty"
    assert all(words in answer.err for words in ("34 done", "5 failed", "1 empty"))
    for name in BROKEN:
        (line,) = [line for line in answer.err.splitlines() if f" {name}: failed." in line]
        assert str(folder / f"{name}.tif") in line
        assert "Traceback" not in line

    untouched = (alone / "slide00.zarr" / "receipt.json").stat().st_mtime_ns
    again = wsss(*command)
    assert again.code == 1
    assert Counter(statuses(alone).values()) == {"cached": 34, "empty": 1, "failed": 5}
    assert (alone / "slide00.zarr" / "receipt.json").stat().st_mtime_ns == untouched
    (alone / "slide07.zarr" / "run.json").write_text("{}")  # a store that is not what its receipt says
    assert wsss("run", folder / "slide07.tif", "--model", bundle, "--out", alone, "--overlap", 0).code == 1


@pytest.mark.slow
@needs_browser
def test_the_report_of_the_night_by_clicks(wsss: Call, folder: Path, bundle: Path, alone: Path) -> None:
    """What `run` itself wrote, from ``file://``: all are listed, the broken ones found, a slide opened."""
    if not (alone / "index.html").is_file():  # the test above has it
        wsss("run", folder, "--model", bundle, "--out", alone, "--overlap", 0)
    answer = wsss("report", alone, "--zoom")
    assert (answer.code, answer.out.strip()) == (0, str(alone / "index.html"))
    assert "slide12: pictures to zoom into" in answer.err
    with running_browser() as browser:
        browser.open(alone / "index.html")
        assert len(browser.names()) == 40
        browser.click("button[data-status=failed]")
        assert set(browser.names()) >= BROKEN
        browser.click("button[data-status=empty]")
        assert browser.names() == ["white"]
        browser.click("button[data-status='']")
        browser.type("#search", "slide12")
        assert browser.names() == ["slide12"]
        browser.click("#rows td.name a")
        assert browser.run("return document.querySelector('h1').textContent") == "slide12"
        assert browser.run("return [...document.images].filter(i => i.naturalWidth > 0).length") == 3
        assert browser.run("return document.querySelectorAll('a[href$=\"slide12.zoom.html\"]').length") == 1
        browser.click("a[href$='index.html']")
        assert len(browser.names()) == 40


@pytest.mark.slow
def test_forty_slides_on_two_workers_of_which_one_is_killed(
    wsss: Call, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    psutil = pytest.importorskip("psutil")
    pytest.importorskip("distributed")
    out = tmp_path / "out"
    options = ["--model", bundle, "--overlap", 0.5, "--no-gate"]
    command = [sys.executable, "-m", "napari_wsss.cli", "run", folder, "--out", out, *options, "--workers", 2]
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    while not (out / "summary.csv").exists() or len(statuses(out)) < 15:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    workers = [
        p for p in psutil.Process(process.pid).children(recursive=True) if "spawn_main" in str(p.cmdline())
    ]
    assert len(workers) == 2
    workers[0].kill()
    _, err = process.communicate(timeout=1200)
    assert process.returncode == 1, err
    counts = Counter(statuses(out).values())
    # The one that was killed may have finished a slide without having told: the other finds it complete.
    assert (counts["done"] + counts.pop("cached", 0), counts["empty"], counts["failed"]) == (34, 1, 5)
    assert {name for name, status in statuses(out).items() if status == "failed"} == BROKEN
    assert all(verify(store).ok for store in out.glob("*.zarr") if statuses(out)[store.stem] != "failed")
    # The same bytes as without workers; two slides stand for all.
    for name in ("slide00", "slide33"):
        wsss("run", folder / f"{name}.tif", "--out", tmp_path / "plain", *options)
        assert content_digest(tmp_path / "plain" / f"{name}.zarr") == content_digest(out / f"{name}.zarr")
