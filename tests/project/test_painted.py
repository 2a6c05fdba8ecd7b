"""Two of three painted regions teach, every third judges, and no pixel does both."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given, settings, strategies as st
from PIL import Image
from toy_projects import SMALL, held

from napari_wsss.project import Correction, Project
from napari_wsss.project.data_set import PAINTED, write_data_set
from napari_wsss.project.painted import JUDGED, said_of, teaches_next, windows_of
from napari_wsss.project.sketch import MASKS, sketch_of, write_sketch
from tiling.geometry import Box

Make = Callable[..., Project]

boxes = st.builds(
    Box,
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(1, 40),
    st.integers(1, 40),
)


def region(box: Box, label: int, number: int, teaches: bool) -> Correction:
    mask = np.full((box.height, box.width), label, np.uint8)
    return Correction("a", box, 0.5, "KL", f"2026-11-26T06:00:{number:02}", mask, teaches)


def given_roles(where: list[Box]) -> list[tuple[str, Box, bool]]:
    roles: list[tuple[str, Box, bool]] = []
    for box in where:
        roles.append(("a", box, teaches_next(roles, "a", box)))
    return roles


def test_two_teach_and_the_third_judges() -> None:
    apart = [Box(100 * i, 0, 50, 50) for i in range(7)]
    assert [teaches for *_, teaches in given_roles(apart)] == [True, True, False, True, True, False, True]
    again = given_roles([*apart[:3], Box(210, 10, 50, 50), Box(10, 10, 5, 5)])
    assert [teaches for *_, teaches in again[3:]] == [False, True], "as what lies beneath"
    assert teaches_next([("a", Box(0, 0, 9, 9), False)], "b", Box(0, 0, 9, 9))


@given(st.lists(boxes, min_size=1, max_size=9))
def test_nothing_is_both_taught_and_judged(where: list[Box]) -> None:
    known = [region(box, 1 + i % 4, i, teaches) for i, (_, box, teaches) in enumerate(given_roles(where))]
    said = said_of(known, 0, 0, (110, 110), 1.0)
    expected = np.zeros_like(said)
    for each in known:
        part = (slice(each.box.y, each.box.bottom), slice(each.box.x, each.box.right))
        expected[part] = np.where(expected[part] == JUDGED, JUDGED, each.mask) if each.teaches else JUDGED
    assert (said == expected).all()
    assert said_of(known[::-1], 3, 5, (40, 30), 1.0).tolist() == expected[5:45, 3:33].tolist()


@given(boxes, st.floats(1, 70))
@settings(deadline=None)
def test_windows_cover_a_region(box: Box, side: float) -> None:
    corners = list(windows_of(box, side))
    assert len(corners) <= 200
    if len(corners) == 200:
        return
    for start, length, found in (
        (box.x, box.width, sorted({x for x, _ in corners})),
        (box.y, box.height, sorted({y for _, y in corners})),
    ):
        assert found[0] == start
        assert found[-1] + side >= start + length - 1e-6
        assert all(after - before <= side / 2 + 1e-6 for before, after in pairwise(found))


def test_a_region_teaches_its_exact_pixels(make: Make, slides: dict[str, Path], tmp_path: Path) -> None:
    project = make(slides["small"])
    for row in range(3):
        for column in range(6):
            tile = project.tile_of("small", row, column)
            if names := held(SMALL, tile):
                project.label("small", *tile.middle, names)
    list(project.prepare("small", backend="torch"))
    places = [Box(100, 70, 130, 96), Box(400, 300, 100, 100), Box(330, 90, 90, 70)]
    for box in places:
        project.correct("small", box, SMALL.truth(box.x, box.y, box.width, box.height))
    assert sorted((c.box.x, c.teaches) for c in project.corrections("small")) == [
        (100, True),
        (330, False),
        (400, True),
    ]
    # Painted over again, partly: one image to judge on more, and no pixel in two of them.
    project.correct("small", Box(400, 100, 40, 40), np.full((40, 40), 2, np.uint8))
    data, _ = write_data_set(project)
    judged = [np.asarray(Image.open(p)) for p in (data / "val" / "mask").iterdir()]
    seen = SMALL.truth(places[2].x, places[2].y, 90, 70)
    seen[10:50, 70:] = 0  # what lies under the later one
    assert sum(int((mask < 4).sum()) for mask in judged) == (seen > 0).sum() + 40 * 40
    painted = sorted(p.name for p in (data / PAINTED).iterdir())
    assert len(painted) > 12
    write_sketch(project, sketch_of(project, project._features), data, tmp_path / "s")

    truth = np.zeros((SMALL.height + 200, SMALL.width + 200), np.uint8)
    for box in places[:2]:
        where = (slice(box.y, box.bottom), slice(box.x, box.right))
        truth[where] = SMALL.truth(box.x, box.y, box.width, box.height)
    for path in sorted((tmp_path / "s" / MASKS / "PM_sketch").iterdir()):
        x, y = (int(v) for v in path.name.partition("[")[0].split("-")[1:])
        mask = np.asarray(Image.open(path))
        here = truth[y : y + 64, x : x + 64]
        if path.name in painted:
            assert (mask == np.where(here > 0, here - 1, 4)).all()
        else:  # a labelled tile: what is painted in it, or nothing where that contradicts its label
            said = (mask < 4) & (here > 0)
            assert (mask[said] == here[said] - 1).all()
        for box in (places[2], Box(400, 100, 40, 40)):
            lines = slice(max(0, box.y - y), max(0, box.bottom - y))
            columns = slice(max(0, box.x - x), max(0, box.right - x))
            assert (mask[lines, columns] == 4).all(), "nothing is learned where models are judged"
