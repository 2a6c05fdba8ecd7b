"""Names that slides really have: spaces, umlauts, brackets, dashes, emoji … each is found, opened and told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tiling.batch import find_jobs
from tiling.slides import open_slide

NAMES = [
    "a b",
    " leading",
    "trailing ",
    "dots.in.the.name",
    ".hidden",
    "-dash",
    "--out",
    "ümlaut ß",
    "u\u0308mlaut",
    "切片",
    "срез",
    "شريحة",
    "😀",
    "a'b",
    "a,b",
    "a;b",
    "a=b+c",
    "a&b",
    "[1 0 1]",
    "{x}",
    "50%",
    "%20",
    "#1",
    "~",
    "$HOME",
    "!x",
    "(2)",
    "a@b",
    "NUL",
    "x" * 200,
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_slides_of_any_name_are_found_and_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.tif"
    pixels = np.full((32, 40, 3), 90, np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", resolution=(20_000, 20_000), resolutionunit=3)
    if not name.startswith("."):
        (found,) = find_jobs([tmp_path])
        assert found.path == path
    (job,) = find_jobs([str(path)])
    assert (job.slide_id, job.path) == (name, path)
    with open_slide(job.path) as slide:
        assert slide.mpp == 0.5
        assert slide.read(0, 0, 40, 32).max() == 90
        assert json.loads(json.dumps(slide.identity))["name"] == path.name


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["a*b", "a?b", 'a"b', "a<b>", "a:b", "a\\b", "a|b", "a\nb", "a\tb"])
def test_what_other_systems_cannot_name_is_read_here(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.tif"
    tifffile.imwrite(path, np.zeros((32, 40, 3), np.uint8), photometric="rgb")
    (job,) = find_jobs([tmp_path])
    with open_slide(job.path, mpp=0.5) as slide:
        assert slide.dimensions == (40, 32)
