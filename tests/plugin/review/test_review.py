from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.common.person import person
from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.plugin.review.doubt import disagreement, most_of, review_entries, side_by_side
from napari_wsss.plugin.review.presenter import Reviewer
from napari_wsss.plugin.review.verdicts import verdict_path
from napari_wsss.plugin.segment.request import RunRequest
from napari_wsss.plugin.view.layers import slide_layer, store_layers
from napari_wsss.plugin.view.marker import MARKER
from napari_wsss.project import new_project
from tiling.slides import open_slide
from tiling.store.layout import FLAG_BLUR, FLAG_FOLD, FLAG_PEN, FLAG_PREDICTED
from tiling.store.reader import Store, open_store


@pytest.fixture
def store(toy: Any, toy_bundle: Bundle, banded_slide: Path, tmp_path: Path) -> Store:
    request = RunRequest(
        banded_slide, toy_bundle, tmp_path / "a.zarr", None, None, None, Preferences(skip_background=False)
    )
    list(toy.events(request))
    return open_store(request.out)


@pytest.fixture
def viewer(store: Store, banded_slide: Path) -> Any:
    from napari.components import ViewerModel

    viewer = ViewerModel()
    data, arguments, _ = slide_layer(open_slide(banded_slide))
    viewer.add_image(data, **arguments)
    data, arguments, _ = store_layers(store)[1]
    viewer.add_labels(data, **arguments)
    return viewer


@pytest.fixture
def reviewer(viewer: Any) -> Reviewer:
    made = Reviewer(viewer)
    made.follow_layers()
    settle(made)
    return made


def settle(reviewer: Reviewer) -> None:
    if reviewer._job is not None:
        assert reviewer._job.wait(60)
    reviewer.poll()


def with_tiles(store: Store, **columns: np.ndarray) -> Store:
    """Pretend another tile table."""
    table = {**store.tiles(), **columns}
    store.tiles = lambda: table  # type: ignore[method-assign]
    return store


def doubtful(store: Store, *places: tuple[int, int], value: float = 0.2) -> Store:
    """Pretend that the model is sure but for some tiles."""
    confidence = np.ones(store.grid.rows * store.grid.columns, np.float32)
    for row, column in places:
        confidence[row * store.grid.columns + column] = value
    return with_tiles(store, confidence=confidence)


def middle(store: Store, row: int, column: int) -> tuple[float, float]:
    box = store.grid.tile_box(row, column)
    return box.y + box.height / 2, box.x + box.width / 2


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ((0.0, 1.0, 0.0), "stroma 100 %"),
        ((0.004, 0.996, 0.0), "stroma 100 %"),
        ((0.3, 0.6, 0.1), "stroma 60 %, fat 30 %"),
        ((0.0, 0.0, 0.0), "fat 0 %"),
        ((1.0,), "fat 100 %"),
    ],
)
def test_a_class_that_is_not_there_is_not_a_reason(shares: tuple[float, ...], words: str) -> None:
    assert most_of(("fat", "stroma", "tumour")[: len(shares)], np.array(shares)) == words


def test_disagreement_compares_presence_with_area() -> None:
    presence = np.array([[0.9, 0.9, 0.1, 0.1]], np.float32)
    shares = np.array([[0.5, 0.0, 0.0, 0.05]], np.float32)
    np.testing.assert_allclose(disagreement(presence, shares), [[0.1, 0.9, 0.1, 0.4]], atol=1e-6)


def test_the_most_doubtful_come_first_and_lie_where_the_doubt_is(store: Store) -> None:
    lattice = side_by_side(store.grid)
    assert lattice.stride == lattice.tile
    entries = review_entries(doubtful(store, (3, 4)), "uncertain", limit=3)
    y, x = (i * lattice.tile + lattice.tile / 2 for i in (entries[0].row, entries[0].column))
    doubt_y, doubt_x = middle(store, 3, 4)
    assert abs(y - doubt_y) <= lattice.tile / 2
    assert abs(x - doubt_x) <= lattice.tile / 2
    assert entries[0].score == pytest.approx(0.8, abs=0.01)
    assert entries[0].score > entries[1].score
    assert len(entries) == 3


def test_glass_is_left_out(store: Store) -> None:
    """Fault 13: of the 30 most doubtful tiles 29 were mostly glass."""
    levels = [np.asarray(level).copy() for level in store.labels()]
    for level in levels:
        level[:, level.shape[1] // 2 :] = 0
    store.labels = lambda name="tissue": levels  # type: ignore[method-assign, assignment, misc]
    confidence = np.ones(store.grid.rows * store.grid.columns, np.float32).reshape(store.grid.rows, -1)
    confidence[:, store.grid.columns // 2 :] = 0.1  # all doubt is on glass
    entries = review_entries(with_tiles(store, confidence=confidence.ravel()), "uncertain")
    half = store.grid.width / 2
    assert entries
    assert all(e.column * store.grid.tile < half for e in entries)
    assert all(e.tissue >= 0.3 for e in entries)


def test_doubts_about_the_picture_are_named_and_have_an_order_of_their_own(store: Store) -> None:
    flags = (store.tiles()["flags"] & FLAG_PREDICTED).reshape(store.grid.rows, -1)
    flags[3, 4] |= FLAG_BLUR | FLAG_FOLD
    flags[0, 0] |= FLAG_PEN
    marked = with_tiles(doubtful(store, (3, 4)), flags=flags.ravel())
    first, *rest = review_entries(marked, "artefacts")
    assert first.reason.startswith("Out of focus, a fold. ")
    assert rest
    assert all(entry.reason.startswith(("Out of focus, a fold. ", "Pen. ")) for entry in rest)
    assert review_entries(marked, "uncertain", limit=1)[0].reason == first.reason
    everywhere = review_entries(marked, "disagreement", limit=10_000)
    assert len(everywhere) == len(review_entries(store, "disagreement", limit=10_000))  # nothing is hidden


def test_neighbours_of_a_doubtful_tile_wait(store: Store) -> None:
    lattice = side_by_side(store.grid)
    confidence = np.full(store.grid.rows * store.grid.columns, 0.5, np.float32)
    entries = review_entries(with_tiles(store, confidence=confidence), "uncertain", limit=6)
    for i, a in enumerate(entries):
        assert all(max(abs(a.row - b.row), abs(a.column - b.column)) > 1 for b in entries[:i])
    everything = review_entries(store, "uncertain", limit=10_000)
    # The one in the corner hangs over two edges of the slide and shows nothing on four fifths of its picture.
    most = lattice.rows * lattice.columns - 1
    assert len({(e.row, e.column) for e in everything}) == len(everything) == most


def test_the_classes_of_an_entry_are_those_of_the_picture(store: Store) -> None:
    for entry in review_entries(store, "uncertain", limit=40):
        tile = store.grid.tile
        labels = np.asarray(store.labels()[0])[entry.row * tile : (entry.row + 1) * tile]
        counts = np.bincount(labels[:, entry.column * tile : (entry.column + 1) * tile].ravel(), minlength=5)[
            1:
        ]
        wanted = {n for n, c in zip(store.schema.names, counts, strict=True) if c > 0.25 * counts.sum()}
        unwanted = {n for n, c in zip(store.schema.names, counts, strict=True) if c < 0.05 * counts.sum()}
        assert wanted <= set(entry.classes)
        assert not unwanted & set(entry.classes)


def test_the_reason_names_the_class(store: Store) -> None:
    table = store.tiles()
    presence = np.clip(table["shares"] / 0.1, 0, 1)
    presence[:] = np.clip(table["shares"] / 0.1, 0, 1)
    presence[7, 3] = 1 - presence[7, 3]
    entries = review_entries(with_tiles(store, presence=presence), "disagreement", limit=1)
    assert store.schema.names[3] in entries[0].reason
    assert "stage" not in entries[0].reason


def test_tiles_that_were_not_run_are_left_out(store: Store) -> None:
    flags = np.zeros(store.grid.rows * store.grid.columns, np.uint8)
    assert review_entries(with_tiles(store, flags=flags), "uncertain") == []
    assert review_entries(with_tiles(store, flags=flags), "disagreement") == []
    flags[:] = FLAG_PREDICTED
    assert review_entries(with_tiles(store, flags=flags), "disagreement")


def test_going_to_a_tile(reviewer: Reviewer, viewer: Any, store: Store) -> None:
    assert reviewer.entries
    assert reviewer.go_to(len(reviewer.entries)) is None
    entry = reviewer.go_to(2)
    assert entry is not None
    tile = store.grid.tile
    center = (entry.row * tile + tile / 2 - 0.5, entry.column * tile + tile / 2 - 0.5)
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], viewer.layers[1].data_to_world(center))
    np.testing.assert_allclose(viewer.layers[MARKER].data[0].mean(0), center)
    reviewer.go_to(0)
    assert [layer.name for layer in viewer.layers].count(MARKER) == 1
    del viewer.layers[1]
    reviewer.follow_layers()
    assert reviewer.entries == []
    assert reviewer.go_to(0) is None
    assert not reviewer.right()


def test_pictures_are_those_of_the_tiles(reviewer: Reviewer) -> None:
    assert set(reviewer.pictures) == set(reviewer.strip.tiles)
    for entry, pixels in reviewer.pictures.items():
        assert pixels.shape == (160, 160, 3)
        band = int(np.median(pixels[:40, :40]) // 64)  # the tile may hang over the slide's edge
        assert reviewer.class_names[band] in entry.classes


def test_right_wrong_and_class_k_are_kept_and_taken_back(reviewer: Reviewer, store: Store) -> None:
    first, second, third = reviewer.strip.tiles[:3]
    assert reviewer.right()
    assert reviewer.wrong()
    assert reviewer.is_class(3)
    assert not reviewer.is_class(9)
    assert reviewer.said == {first: first.classes, second: (), third: (reviewer.class_names[3],)}
    assert reviewer.strip.turn == 3
    lines = verdict_path(store.path).read_text().splitlines()[1:]
    assert [line.split(",")[6] for line in lines[1:]] == ["0 0 0 0", "0 0 0 1"]
    assert all(",review," in line for line in lines)
    assert reviewer.undo()
    assert reviewer.said == {first: first.classes, second: ()}
    assert reviewer.strip.current == third
    assert len(verdict_path(store.path).read_text().splitlines()) == 5, "what was said stays in the log"
    for _ in range(10):
        reviewer.right()
    settle(reviewer)
    assert reviewer.strip.tiles == tuple(reviewer.entries[12:24]), "twelve answered: the next twelve"
    assert reviewer.undo()
    settle(reviewer)
    assert reviewer.strip.tiles == tuple(reviewer.entries[:12])


def test_decisions_become_tile_labels_of_the_open_project(
    viewer: Any, store: Store, banded_slide: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "p.wsss"
    with new_project(folder, store.schema, tile=64, mpp=2.0, encoder="synthetic-demo") as project:
        project.add(banded_slide)
        told: list[int] = []
        reviewer = Reviewer(viewer, project=lambda: project, on_labels=lambda: told.append(1))
        reviewer.follow_layers()
        settle(reviewer)
        assert all(e.row < project.grid("banded").rows for e in reviewer.entries)
        entry = reviewer.strip.current
        assert entry is not None
        assert reviewer.is_class(1)
        (label,) = project.labels()
        assert label.tile.place == (entry.row, entry.column)
        assert label.classes == (store.schema.names[1],)
        assert label.source == "review"
        assert label.reader == person(), "the same reader as in Teach: what one person says last counts"

        # Undo takes this answer back, not what was labelled elsewhere meanwhile; what was said before counts again.
        tile, other = label.tile, project.tile_of("banded", 0, 0)
        project.label_tiles([tile], [store.schema.names[2]], person())
        reviewer.go(0)
        assert reviewer.is_class(3)
        project.label_tiles([other], [store.schema.names[0]], person())
        assert reviewer.undo()
        assert {label.tile: label.classes for label in project.labels()} == {
            tile: (store.schema.names[2],),
            other: (store.schema.names[0],),
        }
        assert reviewer.said[entry] == (store.schema.names[1],)
        assert len(told) == 3


def test_what_was_said_is_shown_in_the_next_session(reviewer: Reviewer, viewer: Any, store: Store) -> None:
    entries = list(reviewer.entries)
    for _ in range(13):
        assert reviewer.right()
    assert reviewer.wrong()
    assert reviewer.undo()
    assert reviewer.is_class(2)
    said = dict(reviewer.said)
    settle(reviewer)

    again = Reviewer(viewer)
    again.follow_layers()
    settle(again)
    assert again.said == said
    assert "14 looked at" in again.notice
    assert again.strip.tiles == tuple(entries[12:24]), "begins with the twelve of which some are open"
    assert again.strip.turn == 2
    for left in range(13, -1, -1):
        assert again.undo()
        assert len(again.said) == left
    assert not again.undo()
    assert again.strip.current == entries[0]
    settle(again)

    # Another order, another list: the answers stay with their tiles.
    assert again.right()
    again.sort("disagreement")
    place = entries[0].row, entries[0].column
    assert [(e.row, e.column, said) for e, said in again.said.items()] == [(*place, entries[0].classes)]
    settle(again)
