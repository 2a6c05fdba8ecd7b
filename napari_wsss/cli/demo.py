"""`wsss-tile demo`: the whole way on a sample slide with known truth, and a score."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from napari_wsss.cli.border import answer, answer_json, before_work, tell
from napari_wsss.cli.export import files_beside, write_exports
from napari_wsss.cli.progress import make_display
from napari_wsss.pipeline import make_predictor, segment_events
from tiling.batch import SlideJob, SlideOutcome, Status, prepare_output
from tiling.engine import Finished
from tiling.store import open_store
from tiling.synthetic import DEMO, score_labels, write_slide

__all__ = ["run_demo"]

MODEL = "synthetic-demo"


def run_demo(out: Path, as_json: bool) -> int:
    """Make, segment, score and export the sample slide; print where everything is."""
    with before_work():
        prepare_output(out)
        predictor = make_predictor(MODEL)
    slide, path = out / "sample.tif", out / "sample.zarr"
    start = time.perf_counter()
    tell(f"Painting a sample slide of {DEMO.width} × {DEMO.height} px …")
    write_slide(slide, DEMO)
    tell(f"Segmenting it with the embedded model {MODEL} …")
    job = SlideJob("sample", slide)
    with make_display(1) as display, closing(segment_events(slide, predictor, path, resume=False)) as events:
        for event in events:
            display.event(job, event)
            if isinstance(event, Finished):
                outcome = SlideOutcome("sample", slide, Status(event.status), event.tiles, event.seconds)
                display.finished(outcome)
    store = open_store(path)
    scores = score_labels(store.labels()[0], store.scale, DEMO)
    targets = files_beside(path, ("png", "geojson"))
    for file in write_exports(store, targets.items()):
        tell(f"Wrote {file}")
    facts: dict[str, Any] = {
        "miou": round(scores.miou, 4),
        "iou": {n: round(value, 4) for n, value in zip(store.schema.names, scores.iou, strict=True)},
        "slide": str(slide),
        "store": str(path),
        "overview": str(targets["png"]),
        "geojson": str(targets["geojson"]),
        "open": f"napari --plugin napari-wsss {slide} {path}",
        "seconds": round(time.perf_counter() - start, 1),
        "notice": "Research use only, not for diagnosis.",
    }
    if as_json:
        answer_json(facts)
    else:
        for line in _lines(facts):
            answer(line)
    return 0


def _lines(facts: dict[str, Any]) -> list[str]:
    each = ", ".join(f"{name} {value:.3f}" for name, value in facts["iou"].items())
    return [
        f"mIoU {facts['miou']:.3f} against the known truth ({each})",
        f"Slide     {facts['slide']}",
        f"Store     {facts['store']}",
        f"Overview  {facts['overview']}",
        f"GeoJSON   {facts['geojson']}  (for QuPath)",
        f"Look at it:  {facts['open']}",
        facts["notice"],
    ]
