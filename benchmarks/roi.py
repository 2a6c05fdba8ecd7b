"""What a region of interest of many polygons adds to a run over a large slide, as a ratio measured in one run.

The slide is 100,000 px wide and high at 0.5 µm, its canvas the same. All that the polygons cost is measured in full:
their edges sorted, tiles chosen, and every line of every tile row drawn. It is compared with reading alone, the
cheapest part of a run: tiles of a generated JPEG slide are read by two threads, and the time of one is multiplied by
the tiles that the region leaves. A network makes the share smaller still.

    python benchmarks/roi.py --polygons 10000 --vertices 100
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tiling.annotations import Place
from tiling.geometry import Box
from tiling.grid import TileGrid, select_tiles
from tiling.plan import Roi, read_roi
from tiling.slides import open_slide
from tiling.synthetic import SyntheticSlide, write_slide

SIDE, MPP, TILE, OVERVIEW = 100_000, 0.5, 224, 2048


def blobs(count: int, vertices: int) -> dict[str, object]:
    """Return round-ish polygons all over the slide, a third of it covered."""
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    radius = SIDE * np.sqrt(0.4 / (np.pi * count))
    features = []
    for centre in rng.uniform(0, SIDE, (count, 2)):
        around = radius * (1 + 0.2 * np.sin(3 * angle + rng.uniform(0, 6)))
        ring = np.stack([np.cos(angle), np.sin(angle)], 1) * around[:, None] + centre
        ring = np.round([*ring, ring[0]], 2).tolist()
        features.append(
            {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        )
    return {"type": "FeatureCollection", "features": features}


def cost_of(roi: Roi, grid: TileGrid) -> tuple[float, int]:
    """Return the seconds that a region costs a whole run, and the tiles that it leaves."""
    start = time.perf_counter()
    tiles = int(select_tiles(grid, roi.coarse(grid, (OVERVIEW, OVERVIEW))).sum())
    for row in range(grid.rows):
        roi.lines(grid, *grid.finished_lines(row))
    return time.perf_counter() - start, tiles


def seconds_per_tile(folder: Path, tiles: int = 400) -> float:
    """Return the seconds to read and decode a tile, by two threads."""
    path = folder / "slide.tif"
    write_slide(path, SyntheticSlide(4096, 4096, seed=7))
    places = np.random.default_rng(1).integers(0, 4096 - TILE, (tiles, 2)).tolist()
    with open_slide(path) as slide, ThreadPoolExecutor(2) as pool:
        start = time.perf_counter()
        list(pool.map(lambda place: slide.read(*place, TILE, TILE, MPP), places))
        return (time.perf_counter() - start) / tiles


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--polygons", type=int, default=10_000)
    parser.add_argument("--vertices", type=int, default=100, help="corners of each")
    options = parser.parse_args()
    grid = TileGrid.cover(Box(0, 0, SIDE, SIDE), MPP, MPP, TILE, 0.25)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "roi.geojson"
        file.write_text(json.dumps(blobs(options.polygons, options.vertices)))
        start = time.perf_counter()
        roi = read_roi(file, Place())
        parsing = time.perf_counter() - start
        drawing, tiles = cost_of(roi, grid)
        reading = tiles * seconds_per_tile(Path(folder))
    figures = {
        "polygons": options.polygons,
        "vertices": options.polygons * options.vertices,
        "tiles": tiles,
        "file_seconds": round(parsing, 2),
        "drawing_seconds": round(drawing, 2),
        "reading_seconds": round(reading, 1),
        "added_to_reading": round((parsing + drawing) / reading, 4),
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
