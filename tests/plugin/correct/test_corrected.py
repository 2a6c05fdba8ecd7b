from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.plugin.correct.corrected import (
    build_corrected,
    corrected_path,
    original_path,
    remove_corrected,
    repaint,
)
from napari_wsss.plugin.correct.regions import (
    Region,
    corrections_folder,
    read_regions,
    remove_regions,
    write_region,
)
from napari_wsss.plugin.results.result import difference_text, read_result
from napari_wsss.plugin.segment.request import RunRequest
from tiling.errors import DataError, StoreError
from tiling.geometry import Box
from tiling.store import content_digest, halve_labels, level_shapes, open_store, verify


def pyramid(labels: np.ndarray) -> list[np.ndarray]:
    levels = [labels.copy()]
    for _ in level_shapes(*labels.shape, smallest=8)[1:]:
        levels.append(halve_labels(levels[-1]))
    return levels


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.data(), st.integers(0, 2**31))
def test_a_repainted_pyramid_is_the_pyramid_of_the_repainted_labels(
    height: int, width: int, data: st.DataObject, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (height, width), np.uint8)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = Box(x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y)))
    painted = rng.integers(0, 5, (box.height, box.width), np.uint8)
    levels = pyramid(labels)
    repaint(levels, box, painted)
    labels[box.y : box.bottom, box.x : box.right] = painted
    for found, wanted in zip(levels, pyramid(labels), strict=True):
        assert np.array_equal(found, wanted)


@pytest.fixture
def finished(toy: Any, toy_bundle: Bundle, banded_slide: Path, tmp_path: Path) -> Path:
    """Four bands, each 200 px wide, 600 px high."""
    request = RunRequest(
        banded_slide,
        toy_bundle,
        tmp_path / "slide.zarr",
        None,
        None,
        None,
        Preferences(skip_background=False),
    )
    list(toy.events(request))
    return request.out


def test_the_corrected_store_is_whole_and_the_original_stays(finished: Path) -> None:
    original = open_store(finished)
    before = content_digest(finished)
    region = Region(Box(280, 290, 60, 40), np.full((40, 60), 3, np.uint8))
    store = build_corrected(original, [region])
    assert store.path == finished.with_name("slide-corrected.zarr") == corrected_path(finished)
    assert original_path(store.path) == finished
    assert verify(store.path).ok
    assert verify(finished).ok
    assert content_digest(finished) == before
    wanted = np.asarray(original.labels()[0]).copy()
    wanted[290:330, 280:340] = 3
    for level in store.labels():
        assert np.array_equal(np.asarray(level), wanted)
        wanted = halve_labels(wanted)
    pixel = (store.mpp / 1000) ** 2
    names = store.schema.names
    assert store.areas[names[2]] - original.areas[names[2]] == pytest.approx(40 * 60 * pixel)
    assert store.areas[names[1]] - original.areas[names[1]] == pytest.approx(-40 * 60 * pixel)
    assert sum(store.areas.values()) == pytest.approx(sum(original.areas.values()))
    # Again, from nothing but the original and the regions: the last one counts where they overlap.
    again = build_corrected(original, [region, Region(Box(280, 290, 60, 20), np.full((20, 60), 4, np.uint8))])
    assert again.areas[names[2]] - original.areas[names[2]] == pytest.approx(20 * 60 * pixel)
    assert again.areas[names[3]] - original.areas[names[3]] == pytest.approx(20 * 60 * pixel)
    assert verify(again.path).ok
    left = sorted(path.name for path in finished.parent.iterdir() if "zarr" in path.name)
    assert left == ["slide-corrected.zarr", "slide.zarr"]
    assert read_result(again.path).title == f"{read_result(finished).title}, corrected by hand"
    assert "by hand" in difference_text(again.run, original.run), (
        "a run would go on with the corrected result"
    )
    remove_corrected(finished)
    assert not again.path.exists()
    assert verify(finished).ok


def test_a_half_done_result_is_not_corrected(store_of: Callable[..., Path]) -> None:
    store = open_store(store_of(np.ones((64, 64), np.uint8)))
    with pytest.raises(StoreError, match="not complete"):
        build_corrected(store, [])


def test_regions_come_back_as_they_were_painted(finished: Path) -> None:
    store = open_store(finished)
    folder = corrections_folder(finished)
    assert read_regions(folder, store.schema) == []
    rng = np.random.default_rng(0)
    first = Region(
        Box(10, 20, 50, 30), rng.integers(0, 5, (30, 50), np.uint8), "KL", "2026-01-02T00:00:00+00:00"
    )
    second = Region(Box(5, 5, 8, 9), rng.integers(0, 5, (9, 8), np.uint8), "MM", "2026-01-01T00:00:00+00:00")
    for region in (first, second):
        write_region(folder, store, region)
    found = read_regions(folder, store.schema)
    assert [(r.box, r.reader, r.time) for r in found] == [(r.box, r.reader, r.time) for r in (second, first)]
    assert all(np.array_equal(a.labels, b.labels) for a, b in zip(found, (second, first), strict=True))
    (folder / "10_20.json").write_text("{}")
    with pytest.raises(DataError, match="10_20"):
        read_regions(folder, store.schema)
    remove_regions(folder)
    assert read_regions(folder, store.schema) == []


def test_a_region_whose_json_never_came_is_not_there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, folder = open_store(finished), corrections_folder(finished)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_wsss.plugin.correct.regions.write_json_atomic", die)
    with pytest.raises(KeyboardInterrupt):
        write_region(folder, store, Region(Box(0, 0, 4, 4), np.ones((4, 4), np.uint8)))
    assert read_regions(folder, store.schema) == []


def test_another_box_with_the_same_corner_takes_nothing_away(finished: Path) -> None:
    store, folder = open_store(finished), corrections_folder(finished)
    large, small = (Region(Box(0, 0, n, n), np.ones((n, n), np.uint8)) for n in (9, 4))
    write_region(folder, store, large)
    write_region(folder, store, small)
    write_region(folder, store, large)
    assert [r.box for r in read_regions(folder, store.schema)] == [small.box, large.box]
