"""SIGKILL at random moments, resume each time: the same bytes, and no committed row is computed twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from wsss_toys import ColourPredictor, colourful, tree_bytes

from tiling.engine.drive import run
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.receipt import read_receipt, verify

SUPPORT = Path(__file__).resolve().parents[2] / "support"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_thirty_kills_change_nothing(tmp_path: Path) -> None:
    sys.path.insert(0, str(SUPPORT))
    from kill_zygote import OPTIONS, THRESHOLDS

    kills = finished = 0
    for seed in range(40):
        folder = tmp_path / str(seed)
        folder.mkdir()
        path = os.pathsep.join((str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        subprocess.run(
            [sys.executable, str(SUPPORT / "kill_zygote.py"), str(folder), "12", str(seed)],
            check=True,
            env=environment,
            timeout=300,
        )
        report = json.loads((folder / "report.json").read_text())
        assert report["exit"] == 0
        committed_before = 0
        for attempt in report["attempts"]:
            kills += attempt["killed"] and not attempt["finished"]
            if attempt["finished"]:
                break
            rows = {row for row, _ in attempt["computed"]}
            # Nothing committed is computed again …
            assert all(row >= committed_before for row in rows)
            # … and of the rows that were complete when the kill came, at most one was not committed yet.
            tiles = {row: sum(len(c) for r, c in attempt["computed"] if r == row) for row in rows}
            complete = [row for row, count in tiles.items() if count == max(tiles.values())]
            assert sum(row >= attempt["committed"] for row in complete if row != max(rows)) <= 1
            committed_before = attempt["committed"]
        finished += 1
        if kills >= 30:
            break
    assert kills >= 30

    reference = tmp_path / "whole" / "a.zarr"
    with Slide(ArrayReader(colourful(700, 420), mpp=0.5)) as slide:
        list(run(slide, ColourPredictor(32, thresholds=THRESHOLDS), reference, OPTIONS))
    expected = tree_bytes(reference)
    receipt = read_receipt(reference)
    assert receipt is not None
    for seed in range(finished):
        out = tmp_path / str(seed) / "a.zarr"
        assert verify(out).ok
        assert tree_bytes(out) == expected
        other = read_receipt(out)
        assert other is not None
        assert other["content_digest"] == receipt["content_digest"]
