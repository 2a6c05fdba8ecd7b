"""Painted regions become masks to judge by; two readers' labels are merged, compared, and never lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image
from toy_projects import SMALL

from napari_wsss.project import Project
from napari_wsss.project.agreement import kappa
from napari_wsss.project.data_set import write_data_set
from tiling.errors import LabelError, ProjectError
from tiling.geometry import Box

Make = Callable[..., Project]


def two_that_teach(project: Project) -> None:
    """Every third region judges."""
    for x in (500, 600):
        project.correct("small", Box(x, 500, 10, 10), np.ones((10, 10), np.uint8))


def test_a_painted_region_becomes_a_validation_mask(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    for column in range(10):
        project.label("small", 64 * column + 5, 200, {"Tumour"})
    box = Box(128, 64, 160, 96)
    truth = SMALL.truth(box.x, box.y, box.width, box.height)
    truth[:20] = 0  # not painted
    two_that_teach(project)
    project.correct("small", box, truth, reader="KL")
    (known,) = (c for c in project.corrections("small") if not c.teaches)
    assert (known.mask == truth).all()
    assert (known.box, known.mpp, known.reader) == (box, 0.5, "KL")

    folder, _ = write_data_set(project)
    (mask,) = (folder / "val" / "mask").iterdir()
    (image,) = (folder / "val" / "img").iterdir()
    found = np.asarray(Image.open(mask))
    assert found.shape == truth.shape
    assert (found == np.where(truth > 0, truth - 1, 4)).all()
    pixels = np.asarray(Image.open(image)).astype(int)
    assert np.abs(pixels - SMALL.render(box.x, box.y, box.width, box.height)).mean() < 8  # JPEG in the slide


def test_a_small_painting_is_shown_in_its_surroundings(make: Make, slides: dict[str, Path]) -> None:
    project = make(slides["small"])
    for column in range(10):
        project.label("small", 64 * column + 5, 200, {"Tumour"})
    two_that_teach(project)
    project.correct("small", Box(128, 64, 20, 10), np.full((5, 10), 2, np.uint8))
    folder, _ = write_data_set(project)
    (mask,) = (folder / "val" / "mask").iterdir()
    found = np.asarray(Image.open(mask))
    assert found.shape == (64, 64)
    assert (found[:10, :20] == 1).all()
    assert (found == 1).sum() == 200


@pytest.mark.parametrize(
    ("box", "mask", "said"),
    [
        (Box(0, 0, 10, 10), np.full((10, 10), 9, np.uint8), "holds label 9"),
        (Box(890, 0, 20, 10), np.zeros((10, 20), np.uint8), "does not lie on the slide"),
        (Box(0, 0, 20, 10), np.zeros((20, 20), np.uint8), "another shape"),
        (Box(0, 0, 20, 10), np.zeros((10, 20), np.int64), "uint8 mask"),
    ],
)
def test_what_is_no_correction_is_refused(
    make: Make, slides: dict[str, Path], box: Box, mask: np.ndarray, said: str
) -> None:
    project = make(slides["small"])
    with pytest.raises(LabelError, match=said):
        project.correct("small", box, mask)
    assert project.corrections("small") == []


def test_two_readers_are_merged(make: Make, slides: dict[str, Path]) -> None:
    ours = make(slides["small"], name="ours")
    theirs = make(slides["small"], name="theirs")
    for column in range(6):
        ours.label("small", 64 * column + 5, 200, {"Tumour"} if column < 3 else {"Stroma"}, reader="KL")
        theirs.label("small", 64 * column + 5, 200, {"Tumour"} if column < 2 else {"Stroma"}, reader="MM")
    theirs.label("small", 5, 400, {"Necrosis"}, reader="MM")
    report = ours.merge(theirs)
    assert (report.tiles, report.added, len(report.conflicts)) == (6, 7, 1)
    assert report.conflicts[0].first == ("Tumour",)
    assert report.conflicts[0].second == ("Stroma",)
    assert report.kappa["Tumour"] == pytest.approx(2 / 3)
    assert report.kappa["Necrosis"] is None
    assert len(ours.labels()) == 13
    assert {label.reader for label in ours.labels()} == {"KL", "MM"}
    again = ours.merge(theirs.folder)
    assert (again.added, again.tiles, len(again.conflicts)) == (0, 6, 1)
    assert len(theirs.labels()) == 7


def test_readers_of_one_name_are_told_apart(make: Make, slides: dict[str, Path]) -> None:
    ours, theirs = make(slides["small"], name="ours"), make(slides["small"], name="theirs")
    ours.label("small", 5, 5, {"Tumour"}, reader="KL")
    theirs.label("small", 5, 5, {"Stroma"}, reader="KL")
    assert len(ours.merge(theirs).conflicts) == 1
    assert ours.merge(theirs).added == 0
    assert {label.reader for label in ours.labels()} == {"KL", "KL (theirs)"}


def test_projects_without_a_common_slide_are_not_merged(make: Make, slides: dict[str, Path]) -> None:
    ours, theirs = make(slides["small"], name="ours"), make(slides["other"], name="theirs")
    with pytest.raises(ProjectError, match="no slide in common"):
        ours.merge(theirs)


pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


@given(pairs)
def test_kappa_is_symmetric_and_bounded(said: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in said], [b for _, b in said]
    value = kappa(first, second)
    assert value == kappa(second, first)
    if value is not None:
        assert -1 - 1e-9 <= value <= 1 + 1e-9
        assert (value > 1 - 1e-9) == (first == second)
    else:
        assert first == second
        assert len(set(first)) == 1


def test_kappa_of_a_known_table() -> None:
    """Both yes 20, only the first 5, only the second 10, both no 15: 0.4 by hand."""
    said = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert kappa([a for a, _ in said], [b for _, b in said]) == pytest.approx(0.4)
