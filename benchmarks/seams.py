"""How much of a result is paved with tiles: class borders on the favourite phases of the tile grid, over chance.

A border between two tissue classes lies at some phase of the tile grid (its place modulo the stride). Where tiles leave
no trace all phases are alike, and 8 of 168 hold 4.8 % of the borders. Counted are borders between neighbouring pixels
of two classes (0, no label, is no class), in both directions; the 8 fullest phases of each are the favourites. Choosing
the fullest favours them a little even by chance, so 1.1 to 1.3 is what a map without tiles gives.

    python benchmarks/seams.py --gate-mode field tile
    python benchmarks/seams.py --slide her2st-c2.jpg 0.69 --model crc-demo
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rows import Row, save

FAVOURITES = 8
SHARED = Path(__file__).resolve().parents[2] / "shared" / "slides"
SECTIONS = (("her2st-b4.jpg", 0.69), ("her2st-c2.jpg", 0.69))


@dataclass(frozen=True)
class Seams:
    """Class borders by phase, one histogram of ``stride`` phases per direction (x, y)."""

    phases: tuple[NDArray[np.int64], NDArray[np.int64]]

    @property
    def share(self) -> float:
        """Share of all borders on the favourite phases of their direction."""
        total = sum(int(p.sum()) for p in self.phases)
        best = sum(int(np.sort(p)[-FAVOURITES:].sum()) for p in self.phases)
        return best / total if total else float("nan")

    @property
    def ratio(self) -> float:
        """The share over that of chance."""
        return self.share / (FAVOURITES / len(self.phases[0]))


def count_borders(labels: NDArray[np.uint8], stride: int) -> Seams:
    """Count the borders between tissue classes.

    Parameters
    ----------
    labels : (height, width) uint8
        Store labels; tile columns and rows begin at multiples of ``stride``.
    stride : int
        Distance between neighbouring tiles in pixels.
    """
    found = []
    for axis in (1, 0):
        lines = np.moveaxis(labels, axis, 0)
        before, after = lines[:-1], lines[1:]
        borders = np.count_nonzero((before != after) & (before > 0) & (after > 0), axis=1)
        found.append(np.bincount(np.arange(1, len(lines)) % stride, borders, stride).astype(np.int64))
    return Seams((found[0], found[1]))


def seams_of(slide: Any, model: Any, folder: Path, **options: Any) -> Seams:
    """Segment a slide as ``wsss-tile run`` does and count."""
    from napari_wsss import segment

    result = segment(slide, model, folder / "slide.zarr", resume=False, **options)
    overlap = options.get("overlap", 0.25)
    tile = model.tile
    stride = max(1, round(tile * (1 - overlap)))
    return count_borders(np.asarray(result.labels[0]), stride)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--slide", nargs=2, action="append", metavar=("FILE", "MPP"), help="in place of the three"
    )
    parser.add_argument("--model", default="crc-demo")
    parser.add_argument("--gate-mode", nargs="+", default=["field", "tile", "off"], help="field, tile, off")
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--json", type=Path, help="write the rows of the table")
    arguments = parser.parse_args(argv)

    from napari_wsss import load_bundle, open_slide
    from tiling.synthetic import DEMO, write_slide

    model = load_bundle(arguments.model)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = [(SHARED / file, mpp) for file, mpp in arguments.slide or SECTIONS]
        if not arguments.slide:
            write_slide(folder / "synthetic.tif", DEMO)
            chosen.append((folder / "synthetic.tif", DEMO.mpp))
        for path, mpp in chosen:
            if not path.exists():
                rows.append(Row(f"seams, {path.name}", "not measured: the slide is not here", "", ""))
                continue
            for mode in arguments.gate_mode:
                options: dict[str, Any] = {"gate": False} if mode == "off" else {"gate_mode": mode}
                with open_slide(path, mpp=float(mpp)) as slide:
                    found = seams_of(slide, model, folder, overlap=arguments.overlap, **options)
                rows.append(
                    Row(
                        f"class borders on {FAVOURITES} of {len(found.phases[0])} phases, {path.stem}, gate {mode}",
                        f"{found.share:.1%}",
                        f"chance: {FAVOURITES / len(found.phases[0]):.1%}",
                        f"{found.ratio:.2f}",
                        "≤ 1.3" if mode == "field" else "",
                    )
                )
                print(
                    " | ".join((rows[-1].what, rows[-1].ours, rows[-1].compared, rows[-1].ratio)), flush=True
                )
    save(rows, arguments.json)


if __name__ == "__main__":
    main()
