from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.teach.draft import DraftClass, edited
from napari_wsss.plugin.teach.presenter import Teacher, open_project_of, teacher_for
from napari_wsss.plugin.view import SlideKey, show_only, slide_of
from napari_wsss.project import open_project
from napari_wsss.project.data_set import write_data_set
from tiling.errors import DataError
from tiling.synthetic import SYNTHETIC_SCHEMA

NAMES = SYNTHETIC_SCHEMA.names
Settled = Callable[[Teacher], None]
TILE = 64


def hover(teacher: Teacher, row: int, column: int) -> None:
    teacher._hovered((column + 0.5) * TILE, (row + 0.5) * TILE)


def teach_all(teacher: Teacher, settled: Settled) -> None:
    for index, column in enumerate((1, 5, 8, 12)):
        for row in (2, 8):
            hover(teacher, row, column)
            assert teacher.key(index)
    settled(teacher)


def shown(teacher: Teacher) -> np.ndarray:
    layer = teacher.canvas.shown("map")
    assert layer is not None
    return np.asarray(layer.data)


def test_a_user_without_a_home_is_offered_a_folder(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``docker run --user`` has it: neither HOME nor a line in passwd."""

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.setattr(teacher, "open_slides", list)
    assert teacher.suggested_folder().parent == Path.cwd()


def test_the_map_follows_the_labels(teacher: Teacher, settled: Settled, threads_before: None) -> None:
    assert teacher.canvas.shown("map") is None
    teach_all(teacher, settled)
    labels = shown(teacher)
    assert labels.shape == (24, 32)
    truth = np.array([min(3, c * 4 // 14) + 1 for c in range(14)]).repeat(2)
    assert (labels[:, :28] == truth).mean() > 0.97
    assert not labels[:, 28:].any(), "glass got a class"
    layer = teacher.canvas.shown("map")
    slide = teacher.work.slide_layer()
    assert layer is not None
    assert slide is not None
    # Corners on corners: half a map pixel inside the slide's corner.
    np.testing.assert_allclose(layer.data_to_world((-0.5, -0.5)), slide.data_to_world((-0.5, -0.5)))
    hover(teacher, 0, 0)
    teacher.key(3)
    settled(teacher)
    assert teacher.canvas.shown("map") is layer, "the map was added anew instead of drawn anew"


def test_a_tile_may_hold_several_classes_and_shift_takes_one_away(teacher: Teacher) -> None:
    hover(teacher, 3, 3)
    tile = teacher.labelling.tile
    assert tile is not None
    assert tile.place == (3, 3)
    teacher.key(0)
    teacher.key(1)
    assert teacher.work.held(tile) == NAMES[:2]
    teacher.key(0, shift=True)
    assert teacher.work.held(tile) == (NAMES[1],)
    assert not teacher.key(1), "saying the same again is a decision"
    teacher.key(1, shift=True)
    assert teacher.work.held(tile) == ()
    assert teacher.work.labels() == []
    assert not teacher.key(7), "a key without a class"
    points = teacher.canvas.shown("labels")
    assert points is None or not len(points.data)


def test_undo_has_no_end_and_reaches_into_earlier_sessions(
    teacher: Teacher, folder: Path, viewer: Any, settled: Settled
) -> None:
    states = []
    for index in range(4):
        states.append({label.tile.place: label.classes for label in teacher.work.labels()})
        hover(teacher, index, index)
        teacher.key(index)
    teacher.close()
    again = Teacher(viewer)
    again.work.reader = "KL"
    assert again.open_project(folder)
    hover(again, 9, 9)
    again.key(0)
    assert again.undo()
    for state in reversed(states):
        assert again.undo()
        assert {label.tile.place: label.classes for label in again.work.labels()} == state
    assert not again.undo()
    assert "nothing of yours" in again.work.notice
    settled(again)
    again.close()


def test_what_a_person_should_know_of_the_labels(teacher: Teacher, settled: Settled, folder: Path) -> None:
    assert teacher.sketching.note == ""
    hover(teacher, 1, 1)
    teacher.key(0)
    settled(teacher)
    assert NAMES[3] in teacher.sketching.note
    assert "never shows it" in teacher.sketching.note
    # Somebody else says something else of the same tile: it counts for neither.
    assert teacher.labelling.tile is not None
    assert teacher.work.project is not None
    teacher.work.project.label_tiles([teacher.labelling.tile], [NAMES[2]], "MM")
    hover(teacher, 2, 2)
    teacher.key(1)
    settled(teacher)
    assert "contradict" in teacher.sketching.note
    assert "KL" in teacher.sketching.note


def test_a_click_says_what_the_key_said_last(teacher: Teacher) -> None:
    hover(teacher, 1, 1)
    teacher.key(2)
    teacher._clicked(7 * TILE + 3, 4 * TILE + 3, False, False)
    assert {label.tile.place: label.classes for label in teacher.work.labels()} == {
        (1, 1): (NAMES[2],),
        (4, 7): (NAMES[2],),
    }
    teacher._clicked(7 * TILE + 3, 4 * TILE + 3, True, False)
    assert [label.tile.place for label in teacher.work.labels()] == [(1, 1)]


def test_a_rectangle_is_all_only_one_class_on_tissue_alone(teacher: Teacher, settled: Settled) -> None:
    hover(teacher, 3, 12)
    teacher.key(0)
    outline = [
        (11.0 * TILE, 2.0 * TILE),
        (16.0 * TILE, 2.0 * TILE),
        (16.0 * TILE, 5.0 * TILE),
        (11.0 * TILE, 5.0 * TILE),
    ]
    teacher._drawn(outline, False)
    places = {tile.place for tile in teacher.labelling.selection}
    assert places == {(r, c) for r in range(2, 5) for c in range(11, 14)}, "glass was selected"
    assert len(teacher.canvas.shown("selection").data) == 9  # type: ignore[union-attr]
    assert teacher.key(3)
    assert {label.classes for label in teacher.work.labels()} == {(NAMES[3],)}
    assert len(teacher.work.labels()) == 9
    assert {label.source for label in teacher.work.labels()} == {"rectangle"}
    assert teacher.labelling.selection == ()
    assert teacher.canvas.shown("selection") is None
    assert teacher.undo()
    assert {label.tile.place: label.classes for label in teacher.work.labels()} == {(3, 12): (NAMES[0],)}
    settled(teacher)


def test_control_and_shift_in_a_selection_and_one_undo_for_all(teacher: Teacher) -> None:
    hover(teacher, 0, 0)
    teacher.key(0)
    teacher._drawn([(0.0, 0.0), (3.0 * TILE, 0.0), (3.0 * TILE, 1.0 * TILE), (0.0, 1.0 * TILE)], False)
    assert teacher.key(1, control=True)
    held = {label.tile.place: label.classes for label in teacher.work.labels()}
    assert held == {(0, 0): NAMES[:2], (0, 1): (NAMES[1],), (0, 2): (NAMES[1],)}
    assert len(teacher.labelling.selection) == 3, "Control keeps the selection for another class"
    assert teacher.key(1, shift=True)
    assert {label.tile.place: label.classes for label in teacher.work.labels()} == {(0, 0): (NAMES[0],)}
    assert teacher.undo()
    assert {label.tile.place: label.classes for label in teacher.work.labels()} == held, (
        "one gesture, one undo"
    )
    teacher.escape()
    assert teacher.labelling.selection == ()


def test_the_strip_asks_and_answers(teacher: Teacher, settled: Settled) -> None:
    teach_all(teacher, settled)
    teacher.next()
    settled(teacher)
    strip = teacher.asking.strip
    assert len(strip.tiles) == 12
    assert teacher.asking.is_asking
    assert set(teacher.asking.pictures) == set(strip.tiles)
    assert teacher.asking.pictures[strip.tiles[0]].shape == (160, 160, 3)  # type: ignore[union-attr]
    first = strip.tiles[0]
    assert first.slide_id == teacher.work.slide_id, "the view did not go to the slide of the tile"
    assert teacher.key(1, control=True)
    assert teacher.asking.strip.current == first, "Control stays: the tile holds more"
    assert teacher.key(2)
    assert teacher.work.held(first) == (NAMES[1], NAMES[2])
    assert teacher.asking.strip.turn == 1
    answers = teacher.sketching.answers
    assert set(answers) == set(strip.tiles)
    assert teacher.asking.agree()
    assert all(teacher.work.held(tile) == answers[tile] for tile in strip.tiles[1:])
    settled(teacher)
    assert teacher.asking.strip.tiles != strip.tiles, "all are answered: others are asked"
    assert not set(teacher.asking.strip.tiles) & set(strip.tiles)
    teacher.undo()
    assert [teacher.work.held(tile) for tile in strip.tiles[1:]] == [()] * 11
    settled(teacher)


def test_a_nudge_of_the_mouse_does_not_take_the_keys_from_the_strip(
    teacher: Teacher, settled: Settled
) -> None:
    class Event:
        def __init__(self, x: float, y: float) -> None:
            self.pos, self.position = (x, y), (y, x)

    teach_all(teacher, settled)
    teacher.mouse._moved(None, Event(300, 300))
    assert teacher.labelling.tile is not None
    teacher.next()
    settled(teacher)
    for nudge in (300, 302, 310):
        teacher.mouse._moved(None, Event(nudge, 300))
    assert teacher.asking.is_asking
    teacher.mouse._moved(None, Event(360, 300))
    assert not teacher.asking.is_asking


def test_test_tiles_never_train(teacher: Teacher, settled: Settled) -> None:
    teach_all(teacher, settled)
    before = len(teacher.sketching.head.taught.labels)  # type: ignore[union-attr]
    teacher.asking.sort("test")
    settled(teacher)
    assert set(teacher.sketching.answers) >= set(teacher.asking.strip.tiles)
    assert teacher.asking.suggested == {}, "the map must not help to label what it is tested on"
    assert not teacher.asking.agree()
    assert "yours to judge" in teacher.work.notice
    tested = {tile.place for tile in teacher.asking.strip.tiles if tile.slide_id == "a"}
    teacher.asking.go(0)
    for _ in range(12):
        teacher.key(0)
    settled(teacher)
    head = teacher.sketching.head
    assert head is not None
    assert len(head.taught.labels) == before
    assert len(head.tested.labels) == 12
    # Nor does one that is labelled on the slide, and nobody is asked about it in another order.
    for place in tested:
        hover(teacher, *place)
        teacher.key(1)
    for order in ("telling", "random"):
        teacher.asking.sort(order)  # type: ignore[arg-type]
        settled(teacher)
        assert not {tile.place for tile in teacher.asking.strip.tiles if tile.slide_id == "a"} & tested
    assert len(teacher.sketching.head.taught.labels) == before  # type: ignore[union-attr]
    data, manifest = write_data_set(teacher.work.project)  # type: ignore[arg-type]
    assert len(list((data / "train").glob("*.png"))) == before
    assert sum(test for *_, test in manifest["labels"]) == 12


def test_two_slides_one_head_and_the_numbers_follow(teacher: Teacher, settled: Settled) -> None:
    teach_all(teacher, settled)
    assert teacher.counts("a") == [2, 2, 2, 2]
    assert teacher.choose_slide("b")
    settled(teacher)
    assert teacher.counts("b") == [0, 0, 0, 0]
    assert teacher.counts() == [2, 2, 2, 2]
    truth = np.array([min(3, c * 4 // 14) + 1 for c in range(14)]).repeat(2)
    assert (shown(teacher)[:, :28] == truth).mean() > 0.95
    assert [(line.slide_id, line.case, line.labels, line.prepared) for line in teacher.slides()] == [
        ("a", "P0", 8, 1.0),
        ("b", "P1", 0, 1.0),
    ]
    assert teacher.set_case("b", "P0")
    assert [line.case for line in teacher.slides()] == ["P0", "P0"]


def test_the_last_label_taken_back_takes_the_map_away(teacher: Teacher, settled: Settled) -> None:
    hover(teacher, 0, 0)
    teacher.key(0)
    settled(teacher)
    assert teacher.canvas.shown("map") is not None
    teacher.undo()
    settled(teacher)
    assert teacher.canvas.shown("map") is None
    assert teacher.sketching.head is None


def test_a_stale_map_is_never_drawn(
    teacher: Teacher, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach_all(teacher, settled)
    hover(teacher, 5, 5)
    teacher.key(0)
    teacher.choose_slide("b")
    settled(teacher)
    layer = teacher.canvas.shown("map")
    assert layer is not None
    assert teacher.canvas.slide is teacher.work.slide_layer()
    slide = teacher.work.slide_layer()
    assert slide is not None
    assert slide.name == "b.tif"


def test_the_map_makes_room_for_a_result(teacher: Teacher, settled: Settled, viewer: Any) -> None:
    teach_all(teacher, settled)
    layer = teacher.canvas.shown("map")
    assert layer is not None
    viewer.add_labels(np.ones((4, 4), np.uint8), name="mine")
    assert layer.visible
    viewer.add_labels(np.ones((4, 4), np.uint8), metadata={"wsss": {"kind": "store"}})
    assert not layer.visible
    teacher.canvas.toggle_map()
    assert layer.visible


def test_a_stroke_of_a_brush_labels_no_tile(teacher: Teacher, viewer: Any) -> None:
    """A short stroke in Correct is a click as well: it must not become a label."""

    class Event:
        type, button, modifiers, handled = "mouse_press", 1, (), False
        pos, position = (300, 300), (300, 300)

    def click() -> None:
        teacher.mouse._moved(None, Event())
        for _ in teacher.mouse._pressed(None, Event()):
            pass

    painting = viewer.add_labels(np.ones((900, 900), np.uint8))
    for mode in ("paint", "erase", "fill", "polygon", "pick", "transform"):
        painting.mode = mode
        click()
        assert teacher.work.labels() == [], mode
        assert teacher.labelling.tile is None, mode
    drawing = viewer.add_shapes(ndim=2)
    for mode in ("select", "direct", "add_rectangle", "add_path", "vertex_insert"):
        drawing.mode = mode
        click()
        assert teacher.work.labels() == [], mode
    viewer.layers.selection.active = painting
    painting.mode = "pan_zoom"
    click()
    assert len(teacher.work.labels()) == 1


def test_what_was_hidden_does_not_come_back_with_its_slide(
    teacher: Teacher, settled: Settled, viewer: Any
) -> None:
    """Another panel shows another slide for a moment, and Teach is left meanwhile: its outline stays away."""
    teach_all(teacher, settled)
    here = slide_of(teacher.work.slide_layer())
    teacher.labelling.hover(*teacher.work.project.tile_of("a", 3, 3).middle)
    outline, drawn = teacher.canvas.shown("tile"), teacher.canvas.shown("map")
    assert outline.visible
    show_only(viewer, SlideKey("another", 1, 1, ""))
    assert not outline.visible
    assert not drawn.visible
    teacher.listen(False)
    show_only(viewer, here)
    assert not outline.visible
    assert drawn.visible
    show_only(viewer, SlideKey("another", 1, 1, ""))
    teacher.canvas.set_map_visible(False)
    show_only(viewer, here)
    assert not drawn.visible


def test_layers_deleted_by_hand_come_back(teacher: Teacher, settled: Settled, viewer: Any) -> None:
    teach_all(teacher, settled)
    for kind in ("map", "labels", "tile"):
        viewer.layers.remove(teacher.canvas.shown(kind))
    hover(teacher, 4, 4)
    teacher.key(1)
    settled(teacher)
    assert all(teacher.canvas.shown(kind) is not None for kind in ("map", "labels", "tile"))


def test_the_second_window_reads_and_says_so(teacher: Teacher, folder: Path) -> None:
    from napari.components import ViewerModel

    other = Teacher(ViewerModel())
    assert other.open_project(folder)
    assert not other.work.can_write
    assert other.work.project is not None
    assert "not changed" in other.work.project.notice
    hover(other, 0, 0)
    assert not other.key(0)
    assert other.work.problem
    assert not (folder / "labels" / "a.csv").exists()
    hover(teacher, 0, 0)
    assert teacher.key(0)
    other.close()


def test_every_key_is_on_disk_before_the_next(teacher: Teacher, folder: Path) -> None:
    for index in range(4):
        hover(teacher, index, 2)
        teacher.key(index)
        assert len((folder / "labels" / "a.csv").read_text().splitlines()) == index + 2
    with open_project(folder, write=False) as reading:
        assert len(reading.labels()) == 4
    assert 0 <= teacher.minutes() < 1


def test_a_slide_that_has_gone_is_one_sentence(teacher: Teacher, slides: Any) -> None:
    slides[1].path.rename(slides[1].path.with_suffix(".away"))
    assert not teacher.choose_slide("b")
    assert "put it back" in teacher.work.problem
    assert teacher.work.slide_id == "a"


def test_nothing_works_without_a_project_and_nothing_breaks(viewer: Any, tmp_path: Path) -> None:
    teacher = Teacher(viewer)
    teacher.listen(True)
    teacher.key(0)
    teacher.next()
    teacher.undo()
    teacher.escape()
    teacher.asking.agree()
    assert teacher.slides() == []
    assert teacher.counts() == []
    assert not teacher.preparing.begin()
    assert not teacher.making.quick()
    assert not teacher.making.train()
    assert not teacher.open_project(tmp_path)
    assert "no project" in teacher.work.problem
    teacher.close()


def test_one_teacher_per_viewer(viewer: Any) -> None:
    assert open_project_of(viewer) is None
    teacher = teacher_for(viewer)
    assert teacher_for(viewer) is teacher
    teacher.close()
    assert teacher_for(viewer) is not teacher


def test_the_curve_of_the_score_comes_back_with_the_project(
    teacher: Teacher, folder: Path, viewer: Any, settled: Settled
) -> None:
    for row in range(7):
        for index, column in enumerate((1, 5, 8, 12)):
            hover(teacher, row, column)
            assert teacher.key(index)
        settled(teacher)
    curve = teacher.sketching.history
    assert [point[0] for point in curve] == [20, 24, 28], (
        "nothing is said of fewer than five tiles of a class"
    )
    assert curve[-1][1] > 0.9
    teacher.close()
    again = Teacher(viewer)
    again.work.reader = "KL"
    assert again.open_project(folder)
    assert again.sketching.history == curve
    # Labels that are taken back take their points with them.
    for _ in range(5):
        assert again.undo()
    settled(again)
    assert [point[0] for point in again.sketching.history] == [20, 23]
    again.close()
    file = folder / "features" / "score.json"
    file.write_text('{"points": [[1, 2]]}')  # a cache: damaged is as good as gone
    assert again.open_project(folder)
    settled(again)
    assert [point[0] for point in again.sketching.history] == [23]
    again.close()


def test_classes_change_while_there_are_labels(
    teacher: Teacher, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach_all(teacher, settled)
    old = teacher.work.project.schema  # type: ignore[union-attr]
    drafts = [DraftClass(c.name, c.color) for c in old.classes]
    drafts[0] = DraftClass("Invasive front", "#00ff00")
    schema = edited(old, [*drafts, DraftClass("Foam cells", "#112233")])
    monkeypatch.setattr(type(teacher.making), "is_busy", True)
    assert not teacher.change_classes(schema)
    assert "being made" in teacher.work.problem
    monkeypatch.undo()
    assert teacher.change_classes(schema)
    settled(teacher)
    assert teacher.counts() == [2, 2, 2, 2, 0]
    assert "Foam cells" in teacher.sketching.note
    points = teacher.canvas.shown("labels")
    assert points is not None
    assert sum(np.allclose(color, (0, 1, 0, 1)) for color in points.face_color) == 2
    layer = teacher.canvas.shown("map")
    assert layer is not None
    np.testing.assert_allclose(layer.get_color(1)[:3], (0, 1, 0), atol=0.01)
    assert (shown(teacher)[:, :4] == 1).all()
    hover(teacher, 9, 9)
    assert teacher.key(4)
    assert not teacher.change_classes(edited(schema, drafts))
    assert "Foam cells cannot be removed: 1 label" in teacher.work.problem
    assert teacher.undo()
    assert teacher.change_classes(edited(schema, drafts))
    settled(teacher)
    assert teacher.counts() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("names", "said"),
    [(["A", "", "C"], "Class 2 has no name"), (["A", "a"], "Two classes"), (["A"], "at least two")],
)
def test_classes_that_cannot_be(names: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        edited(SYNTHETIC_SCHEMA, [DraftClass(name, "#123456") for name in names])


def test_a_renamed_class_keeps_its_abbreviation_unless_another_is_called_so() -> None:
    first, second = SYNTHETIC_SCHEMA.classes[:2]
    made = edited(SYNTHETIC_SCHEMA, [DraftClass("Something", "#123456"), DraftClass("Other", "#654321")])
    assert [c.abbreviation for c in made.classes] == [first.abbreviation, second.abbreviation]
    called = first.abbreviation.title()
    made = edited(SYNTHETIC_SCHEMA, [DraftClass("Something", "#123456"), DraftClass(called, "#654321")])
    assert [c.name for c in made.classes] == ["Something", called]
    assert made.classes[0].abbreviation == "SOM"


def test_the_outline_is_seen_at_every_zoom(teacher: Teacher, viewer: Any) -> None:
    for zoom in (0.02, 0.2, 1.0, 8.0):
        viewer.scene.camera.zoom = zoom
        hover(teacher, 3, 3)
        hover(teacher, 4, 4)
        layer = teacher.canvas.shown("tile")
        assert layer is not None
        assert layer.edge_width[0] * zoom * layer.scale[-1] >= 1.6, "thinner than it can be seen"
        np.testing.assert_allclose(
            layer.data_to_world((31.5, 31.5)),
            teacher.work.slide_layer().data_to_world((287.5, 287.5)),  # type: ignore[union-attr]
        )


def test_a_project_looks_as_its_encoder_does(viewer: Any, tmp_path: Path, small_bundle: Bundle) -> None:
    teacher = Teacher(viewer)
    assert small_bundle.mpp == 1.0
    assert teacher.new_project(
        tmp_path / "a.wsss", SYNTHETIC_SCHEMA, tile_um=112, encoder=str(small_bundle.path)
    ), teacher.work.problem
    project = teacher.work.project
    assert project is not None
    assert (project.mpp, project.tile) == (1.0, 112)
    assert not teacher.new_project(
        tmp_path / "b.wsss", SYNTHETIC_SCHEMA, tile_um=20, encoder=str(small_bundle.path)
    )
    assert "choose 32 to 2048 µm" in teacher.work.problem
    assert not (tmp_path / "b.wsss").exists()
    assert teacher.new_project(tmp_path / "c.wsss", SYNTHETIC_SCHEMA, tile_um=112, encoder="synthetic-demo")
    assert teacher.work.project is not None
    assert (teacher.work.project.mpp, teacher.work.project.tile) == (0.5, 224)
    teacher.close()
