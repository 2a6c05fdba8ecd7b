"""Draw docs/img/method-field.jpg: a piece of CMU-1 with the gate by tile and by field, `crc-demo`.

python scripts/seams_figure.py ../shared/slides/cmu-1-small-region.svs
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from napari_wsss import load_bundle, open_slide, segment

REGION = (500, 900, 1100, 1100)
OUT = Path(__file__).resolve().parents[1] / "docs" / "img" / "method-field.jpg"


def main(path: Path) -> None:
    """Segment the piece both ways and put the overlays side by side."""
    bundle = load_bundle("crc-demo")
    colours = np.array([(255, 255, 255), *(c.rgb for c in bundle.schema.classes)], float)
    x, y, width, height = REGION
    pictures = []
    with open_slide(path) as slide, tempfile.TemporaryDirectory() as folder:
        mpp = slide.require_mpp()
        for mode in ("tile", "field"):
            found = segment(slide, bundle, Path(folder) / f"{mode}.zarr", region=REGION, gate_mode=mode)
            left, top = (round(v * mpp / bundle.mpp) for v in (x, y))
            right, bottom = (round(v * mpp / bundle.mpp) for v in (x + width, y + height))
            labels = np.asarray(found.labels[0])[top:bottom, left:right]
            pixels = slide.read(x, y, labels.shape[1], labels.shape[0], mpp=bundle.mpp)
            over = np.where(labels[..., None] > 0, 0.55 * pixels + 0.45 * colours[labels], pixels)
            pictures.append(Image.fromarray(over.astype(np.uint8)).resize((550, 550)))
    page = Image.new("RGB", (1110, 550), "white")
    for number, picture in enumerate(pictures):
        page.paste(picture, (560 * number, 0))
    page.save(OUT, quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
