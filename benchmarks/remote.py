"""What a network costs: one OME-Zarr from disk and over HTTP with latency, the same bytes, as a ratio of rates.

The server is a process of its own on this machine, so that its work and ours share the cores: what is left of the
rate is a lower bound. Both ways are run in turn, several times, with a predictor that does nothing, where reading is
all there is, and medians are compared.

    python benchmarks/remote.py --width 20000 --height 20000 --latency 0.02 --work /tmp/wsss-remote
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import zarr
from rows import Row, save

from tiling.engine import Prediction, run
from tiling.plan import RunOptions
from tiling.slides import open_slide
from tiling.store import open_store
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide

MPP, BATCH, CHUNK, PATTERN = 0.5, 16, 512, 2048

SERVER = """
import sys, time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

class Far(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(float(sys.argv[2]))
        super().do_GET()
    def log_message(self, *arguments):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 128

server = Server(("127.0.0.1", 0), partial(Far, directory=sys.argv[1]))
print(server.server_port, flush=True)
server.serve_forever()
"""


def make_slide(path: Path, width: int, height: int) -> None:
    """Write an OME-Zarr of width × height pixels whose tissue repeats, with levels of 1, 1/4 and 1/16."""
    if path.exists():
        return
    pattern = SyntheticSlide(PATTERN, PATTERN, seed=7).render(0, 0, PATTERN, PATTERN)
    partial = path.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    group = zarr.open_group(partial, mode="w", zarr_format=3)
    datasets = []
    for level, factor in enumerate((1, 4, 16)):
        piece = pattern[::factor, ::factor].transpose(2, 0, 1)
        wide, high, step = width // factor, height // factor, piece.shape[1]
        array = group.create_array(str(level), shape=(3, high, wide), chunks=(3, CHUNK, CHUNK), dtype="uint8")
        rows = np.tile(piece, (1, 1, -(-wide // step)))[:, :, :wide]
        for y in range(0, high, step):
            array[:, y : y + step] = rows[:, : min(step, high - y)]
        scale = {"type": "scale", "scale": [1, MPP * factor, MPP * factor]}
        datasets.append({"path": str(level), "coordinateTransformations": [scale]})
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    partial.rename(path)


class Nothing:
    """Says of every tile that it is of the first class."""

    tile, mpp = 224, MPP
    schema = SYNTHETIC_SCHEMA
    identity = {"bundle": "nothing"}  # noqa: RUF012
    thresholds = None

    def __init__(self) -> None:
        self.constant = np.zeros((BATCH, len(self.schema), self.tile, self.tile), np.float32)
        self.constant[:, 0] = 1

    def __call__(self, pixels: np.ndarray, cam_side: int | None = None) -> Prediction:
        """Return the first class everywhere."""
        n = len(pixels)
        return Prediction(self.constant[:n], self.constant[:n, :, 0, 0])


def timed(slide: str | Path, out: Path) -> tuple[float, int]:
    """Run over a slide; return seconds and tiles."""
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(exist_ok=True)
    started = time.perf_counter()
    with open_slide(slide) as opened:
        list(run(opened, Nothing(), out, RunOptions(mpp=MPP, tissue=None, batch_size=BATCH)))
    return time.perf_counter() - started, len(open_store(out).tiles()["x"])


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a result but those that name the slide's place."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(f.relative_to(folder)): f.read_bytes()
        for f in files
        if f.name not in ("run.json", "receipt.json")
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=20000)
    parser.add_argument("--height", type=int, default=20000)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds per request")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("/tmp/wsss-remote"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    slide = given.work / f"{given.width}x{given.height}.zarr"
    make_slide(slide, given.width, given.height)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(given.work), str(given.latency)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{int(server.stdout.readline())}/{slide.name}"
        times: dict[str, list[float]] = {"near": [], "far": []}
        for _ in range(given.repeats):
            for name, source in (("near", slide), ("far", address)):
                seconds, tiles = timed(source, given.work / name / "result.zarr")
                times[name].append(seconds)
                print(f"{name}: {seconds:.1f} s, {tiles / seconds:.0f} tiles/s", flush=True)
        server.terminate()
    same = contents(given.work / "near") == contents(given.work / "far")
    near, far = (statistics.median(times[name]) for name in times)
    row = Row(
        f"OME-Zarr of {given.width} × {given.height} px over HTTP, {1000 * given.latency:.0f} ms a request",
        f"{tiles / far:.0f} tiles/s",
        f"{tiles / near:.0f} tiles/s from disk",
        f"{near / far:.2f}; {'the same bytes' if same else 'OTHER BYTES'}",
        "≥ 0.5",
    )
    print(" | ".join((row.what, row.ours, row.compared, row.ratio)))
    save([row], given.json)


if __name__ == "__main__":
    main()
