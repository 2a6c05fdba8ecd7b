"""From new slides to a trained and retrained model on the command line alone, each better than the one before.

Better is: on a slide that nobody labelled, against its truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_projects import held

from napari_wsss.project import open_project
from tiling.confusion import confusion, scores_of
from tiling.store import open_store
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide, write_slide

SLIDES = {
    "one": SyntheticSlide(width=1792, height=1568, mpp=0.5, seed=3, region_um=400),
    "two": SyntheticSlide(width=1792, height=1568, mpp=0.5, seed=8, region_um=400),
}
UNSEEN = SyntheticSlide(width=1792, height=1568, mpp=0.5, seed=21, region_um=400)
EPOCHS = 4

pytestmark = pytest.mark.slow


def told(project: Path, rows: list[dict[str, Any]], slide_id: str) -> list[str]:
    """Return what one who knows the truth says about suggested tiles, as options."""
    says = []
    with open_project(project, write=False) as opened:
        for row in rows:
            if row["slide_id"] == slide_id:
                tile = opened.tile_at(slide_id, row["x"] + 1, row["y"] + 1)
                assert tile is not None
                names = "+".join(sorted(held(SLIDES[slide_id], tile)))
                says += [f"--set={row['x'] + 1},{row['y'] + 1}={names}"] * bool(names)
    return says


def region(slide: SyntheticSlide, x: int, y: int, side: int, step: int) -> dict[str, Any]:
    """Return strips that say what a region truly holds, as a person draws areas in QuPath."""
    features = []
    truth = slide.truth(x, y, side, side)[step // 2 :: step, step // 2 :: step]
    for row, labels in enumerate(truth):
        starts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
        for start, end in pairwise(starts):
            if labels[start]:
                left, right = x + start * step, x + end * step
                top, bottom = y + row * step, y + (row + 1) * step
                ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
                kind = {"classification": {"name": SYNTHETIC_SCHEMA.names[labels[start] - 1]}}
                geometry = {"type": "Polygon", "coordinates": [ring]}
                features.append({"type": "Feature", "geometry": geometry, "properties": kind})
    return {"type": "FeatureCollection", "features": features}


def test_the_story_from_slides_to_a_retrained_model(wsss: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    paths = {name: tmp_path / f"{name}.tif" for name in (*SLIDES, "unseen")}
    for name, path in paths.items():
        write_slide(path, SLIDES.get(name, UNSEEN))
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SYNTHETIC_SCHEMA.to_dict()))
    project = tmp_path / "liver.wsss"

    def ok(*words: object) -> Any:
        answer = wsss("project", words[0], project, *words[1:])
        assert answer.code == 0, answer.err
        return answer

    def score(model: str) -> float:
        """Run a model on the slide that nobody labelled, and compare with the truth."""
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        ran = wsss("run", paths["unseen"], "--model", model, "--out", out, "--backend", "torch")
        assert ran.code == 0, ran.err
        labels = np.asarray(open_store(out / "unseen.zarr").labels()[0][:])
        truth = UNSEEN.truth(0, 0, UNSEEN.width, UNSEEN.height)
        judged = (truth > 0) & (labels > 0)
        assert judged.sum() > 0.9 * (truth > 0).sum()
        return scores_of(confusion(truth[judged] - 1, labels[judged] - 1, 4)).miou

    def answer_questions(count: int) -> None:
        rows = ok("labels", "--suggest", count, "--json").json
        for slide_id in SLIDES:
            if says := told(project, rows, slide_id):
                ok("labels", slide_id, *says, "--reader", "KL")

    ok("new", "--schema", schema, "--tile", 224, "--encoder", "synthetic-demo")
    for name in SLIDES:
        ok("add", paths[name], "--case", f"P-{name}")
    ok("prepare", "--backend", "torch")
    answer_questions(12)
    quick = score(ok("fit", "--json").json["model"])
    answer_questions(12)
    answer_questions(12)
    trained = score(ok("train", "--name", "first", "--epochs", EPOCHS, "--device", "cpu").out.strip())

    # A region is drawn: it judges the next model, its tiles teach it, and more questions are answered.
    drawn = tmp_path / "region.geojson"
    drawn.write_text(json.dumps(region(SLIDES["two"], 448, 448, 448, 4)))
    assert "Kept the region as" in ok("labels", "two", "--correct", drawn, "--reader", "KL").err
    assert (
        "Labelled" in ok("labels", "two", "--import", drawn, "--min-annotated", "0.8", "--reader", "KL").err
    )
    answer_questions(24)
    again = score(ok("train", "--name", "second", "--epochs", EPOCHS, "--device", "cpu").out.strip())
    scores = (quick, trained, again)
    assert quick < trained < again, scores
    assert again >= 0.80, scores
    assert list(ok("status", "--json").json["models"]) == ["quick", "first", "second"]
