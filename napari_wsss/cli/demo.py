"""`wsss-tile demo`: the whole way on a sample slide with known truth, and a score."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.cli.border import answer, answer_json, before_work, tell
from napari_wsss.cli.export import files_beside, write_exports
from napari_wsss.cli.progress import make_display
from napari_wsss.pipeline import make_predictor, segment_events
from tiling.batch import SlideJob, SlideOutcome, Status, prepare_output
from tiling.classes import store_to_reference
from tiling.confusion import Scores, confusion, scores_of
from tiling.engine import Finished
from tiling.store import Store, open_store
from tiling.synthetic import DEMO, SyntheticSlide, write_slide

__all__ = ["run_demo", "score"]

MODEL = "synthetic-demo"
_LINES = 512  # label lines compared at a time: the truth of the whole slide is never in memory


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
    scores = score(store, DEMO)
    targets = files_beside(path, ("png", "geojson"))
    for file in write_exports(store, targets):
        tell(f"Wrote {file}")
    facts: dict[str, Any] = {
        "miou": round(scores.miou, 4),
        "iou": {n: round(value, 4) for n, value in zip(store.schema.names, scores.iou, strict=True)},
        "slide": str(slide),
        "store": str(path),
        "overview": str(targets.png),
        "geojson": str(targets.geojson),
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


def score(store: Store, truth: SyntheticSlide) -> Scores:
    """Compare labels with the truth, block by block, over the pixels that are tissue in truth.

    Parameters
    ----------
    store : Store
        Made from a slide painted from ``truth``.
    truth : SyntheticSlide

    Returns
    -------
    Scores
        Tissue that got no label counts as missed.
    """
    classes = len(store.schema)
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for found, true in _blocks(store, truth):
        tissue = true > 0
        true, found = (store_to_reference(labels[tissue], classes) for labels in (true, found))
        matrix += confusion(true, found, classes + 1)
    return scores_of(matrix, classes)


def _blocks(store: Store, truth: SyntheticSlide) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield label lines and the truth at the centres of their pixels."""
    labels: Any = store.labels()[0]
    height, width = labels.shape
    columns = _centres(0, width, store.scale, truth.width)
    for first in range(0, height, _LINES):
        lines = _centres(first, min(first + _LINES, height), store.scale, truth.height)
        top, bottom = int(lines[0]), int(lines[-1]) + 1
        true = truth.truth(0, top, truth.width, bottom - top)
        yield np.asarray(labels[first : first + _LINES]), true[np.ix_(lines - top, columns)]


def _centres(first: int, last: int, scale: float, extent: int) -> NDArray[np.int64]:
    """Return the level-0 pixel under the centre of each label pixel."""
    at = np.floor((np.arange(first, last) + 0.5) * scale)
    return np.asarray(np.minimum(at, extent - 1), np.int64)


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
