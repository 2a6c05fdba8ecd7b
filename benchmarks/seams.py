"""How much of a result is paved with tiles: class borders on the favourite phases of the tile grid, over chance.

A border between two tissue classes lies at some phase of the tile grid (its place modulo the stride). Where tiles leave
no trace all phases are alike, and 8 of 168 hold 4.8 % of the borders. Counted are borders between neighbouring pixels
of two classes (0, no label, is no class), in both directions; the 8 fullest phases of each are the favourites. Choosing
the fullest favours them even by chance, the more the fewer borders a map has. How much, the same map says: counted
modulo strides that no tile has, of about the same size, it gives 1.1 to 1.3.

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
OTHER_STRIDES = (0.89, 0.9, 0.93, 0.97, 1.03, 1.07, 1.1, 1.13)  # parts of the stride
SHARED = Path(__file__).resolve().parents[2] / "shared" / "slides"
SECTIONS = (("her2st-b4.jpg", 0.69), ("her2st-c2.jpg", 0.69))


@dataclass(frozen=True)
class Seams:
    """Class borders by place, one number per line of pixels for both directions (x, y)."""

    borders: tuple[NDArray[np.int64], NDArray[np.int64]]
    stride: int

    @property
    def share(self) -> float:
        """Share of all borders on the favourite phases of their direction."""
        return self._share(self.stride)

    @property
    def ratio(self) -> float:
        """The share over that of chance."""
        return self.share * self.stride / FAVOURITES

    @property
    def ratio_without_tiles(self) -> float:
        """The same for strides that no tile has, their median: what this map has by chance."""
        strides = [round(self.stride * part) for part in OTHER_STRIDES]
        return float(np.median([self._share(stride) * stride / FAVOURITES for stride in strides]))

    def _share(self, stride: int) -> float:
        total = sum(int(lines.sum()) for lines in self.borders)
        phases = [np.bincount(np.arange(1, len(b) + 1) % stride, b, stride) for b in self.borders]
        best = sum(np.sort(p)[-FAVOURITES:].sum() for p in phases)
        return float(best / total) if total else float("nan")


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
        found.append(np.count_nonzero((before != after) & (before > 0) & (after > 0), axis=1))
    return Seams((found[0], found[1]), stride)


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
                        f"class borders on {FAVOURITES} of {found.stride} phases, {path.stem}, gate {mode}",
                        f"{found.share:.1%}",
                        f"chance: {FAVOURITES / found.stride:.1%}; by other strides {found.ratio_without_tiles:.2f}",
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
