"""A pathologist's evening: an unknown slide, a model of it, a better one. Real mouse, real keys, a real window.

WSSS_PICTURES=DIR keeps how the window looks at every step.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from teach_hands import Hands, new_project_by_hand

from napari_wsss.plugin.segment import session_for
from napari_wsss.project import DEFAULT_ENCODER
from napari_wsss.project.recipe import Recipe, recipe_for
from tiling.geometry import Box
from tiling.store import open_store
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide, write_slide

pytestmark = [pytest.mark.gui, pytest.mark.slow]

NAMES = SYNTHETIC_SCHEMA.names
FIRST = SyntheticSlide(width=2304, height=1792, mpp=0.5, seed=29, region_um=400)
SECOND = SyntheticSlide(width=1792, height=1568, mpp=0.5, seed=28, region_um=400)
TILE_UM = 112
BRUSH_UM = 16
STROKES = 12
NOWHERE = Box(0, 0, 0, 0)
PATCHES = (
    500,
    800,
)  # that the trainings see, a fifth and a third of what they would; half of it where it goes on


def truth_of(slide: SyntheticSlide) -> np.ndarray:
    return slide.truth(0, 0, slide.width, slide.height)


def mean_iou(found: np.ndarray, truth: np.ndarray, but: Box = NOWHERE) -> float:
    """As ``wsss-tile demo`` scores: over what is tissue in truth, but for a box; tissue without a label is missed."""
    full = np.zeros(truth.shape, np.uint8)
    found = found[: truth.shape[0], : truth.shape[1]]
    full[: found.shape[0], : found.shape[1]] = found
    tissue = truth > 0
    tissue[but.y : but.bottom, but.x : but.right] = False
    scores = []
    for label in range(1, len(NAMES) + 1):
        a, b = (full == label)[tissue], (truth == label)[tissue]
        if b.any():
            scores.append((a & b).sum() / (a | b).sum())
    return float(np.mean(scores))


class Pathologist(Hands):
    """Somebody who knows the truth of both slides and says it tile by tile."""

    def __init__(self, viewer: Any, teach: Any, qtbot: Any) -> None:
        super().__init__(viewer, teach, qtbot)
        self.known = {"first": truth_of(FIRST), "second": truth_of(SECOND)}

    def holds(self, tile: Any) -> list[int]:
        """Return the classes that fill more than a tenth of a tile's tissue, as indices."""
        box, truth = tile.box, self.known[tile.slide_id]
        part = truth[max(0, box.y) : box.bottom, max(0, box.x) : box.right]
        tissue = max(1, int((part > 0).sum()))
        return [i for i in range(len(NAMES)) if (part == i + 1).sum() > 0.1 * tissue]

    def tiles(self, slide_id: str) -> list[Any]:
        """Return the tiles that are mostly tissue."""
        project = self.teach.teacher.work.project
        grid = project.grid(slide_id)
        found = [project.tile_of(slide_id, r, c) for r in range(grid.rows) for c in range(grid.columns)]
        truth = self.known[slide_id]
        return [t for t in found if (truth[t.box.y : t.box.bottom, t.box.x : t.box.right] > 0).mean() > 0.5]

    def label(self, tile: Any) -> None:
        """Hover and press the keys of what a tile holds."""
        teacher = self.teach.teacher
        self.move(*tile.middle)
        assert teacher.labelling.tile == tile
        for index in self.holds(tile):
            self.key(str(index + 1))
        assert teacher.work.held(tile) == tuple(NAMES[i] for i in self.holds(tile))

    def answer_strip(self, count: int) -> None:
        """Answer pictures by keys alone."""
        asking = self.teach.teacher.asking
        for _ in range(count):
            classes = self.holds(asking.strip.current) or [0]
            for index in classes[:-1]:
                self.key(str(index + 1), control=True)
            self.key(str(classes[-1] + 1))

    def map_score(self) -> float:
        """Return what the live map of the slide in sight is worth."""
        teacher = self.teach.teacher
        layer = teacher.canvas.shown("map")
        assert layer is not None
        step = round(layer.scale[-1] / FIRST.mpp)
        return mean_iou(
            np.asarray(layer.data).repeat(step, 0).repeat(step, 1), self.known[teacher.work.slide_id]
        )

    def result_score(self, store: Path, but: Box = NOWHERE) -> float:
        """Return what a result of the second slide is worth, outside a box."""
        return mean_iou(np.asarray(open_store(store).labels()[0]), self.known["second"], but)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("painted")
    for name, slide in (("first", FIRST), ("second", SECOND)):
        write_slide(folder / f"{name}.tif", slide)
    return folder


@pytest.fixture
def hands(teach_window: tuple[Any, Any], qtbot: Any) -> Pathologist:
    return Pathologist(*teach_window, qtbot)


def in_front(dock: Any) -> Any:
    """Show a dock that lies behind another."""
    dock.parentWidget().show()
    dock.parentWidget().raise_()
    return dock


def segment(hands: Hands, slide: Path, model: str) -> Path:
    """Segment a slide with the model that is chosen, as the dock does."""
    _, dock = hands.viewer.window.add_plugin_dock_widget("napari-wsss", "Segment slide")
    in_front(dock)
    session = dock.session
    session.open_slide(slide)
    assert session.bundle.path.name == model
    hands.qtbot.waitUntil(dock.run.run.isEnabled, timeout=120_000)
    hands.press(dock.run.run)
    if session.question is not None:
        hands.qtbot.waitUntil(dock.run.question.isVisible, timeout=60_000)
        hands.press(dock.run.question.keep)
    hands.qtbot.waitUntil(lambda: session.state.phase == "done", timeout=300_000)
    hands.qtbot.waitUntil(lambda: dock.run.progress.text().startswith("Finished"), timeout=60_000)
    hands.picture(f"{model}-segments")
    return Path(session.state.store)


def wrong_places(truth: np.ndarray, found: np.ndarray, box: Box) -> list[tuple[int, int, int]]:
    """Return x, y and true label of the places in a box that a stroke of the brush would mend most of, worst first."""
    full = np.zeros_like(truth)
    found = found[: truth.shape[0], : truth.shape[1]]
    full[: found.shape[0], : found.shape[1]] = found
    radius = round(BRUSH_UM / 2 / SECOND.mpp)
    places = []
    for y in range(box.y + radius, min(box.bottom, truth.shape[0]) - radius, radius):
        for x in range(box.x + radius, min(box.right, truth.shape[1]) - radius, radius):
            disc = (slice(y - radius, y + radius), slice(x - radius, x + radius))
            label = int(truth[y, x])
            if label and (truth[disc] == label).mean() > 0.95 and (full[disc] > 0).all():
                places.append((float((full[disc] != label).mean()), x, y, label))
    return [(x, y, label) for wrong, x, y, label in sorted(places, reverse=True)[:STROKES] if wrong > 0.5]


def half_that_errs(truth: np.ndarray, found: np.ndarray) -> Box:
    """Return the half of the second slide, left or right, in which more places are wrong."""
    left = Box(0, 0, SECOND.width // 2, SECOND.height)
    return max(left, left.shifted(left.width, 0), key=lambda half: len(wrong_places(truth, found, half)))


def correct(hands: Pathologist, store: Path) -> tuple[Path, Box]:
    """Zoom in, paint over what is wrong with the brush, save; return the corrected result and the region."""
    _, dock = hands.viewer.window.add_plugin_dock_widget("napari-wsss", "Correct a region")
    in_front(dock)
    corrector, teacher = dock.corrector, hands.teach.teacher
    teacher.canvas.hide_map()
    layer = next(x for x in corrector.results() if Path(x.metadata["wsss"]["path"]) == store)
    corrector.choose(layer)
    dock.tick()
    truth, found = hands.known["second"], np.asarray(open_store(store).labels()[0])
    half, camera = half_that_errs(truth, found), hands.viewer.scene.camera
    slide = teacher.work.slide_layer()
    camera.center = tuple(slide.data_to_world((half.y + half.height / 2, half.x + half.width / 2))[-2:])
    height, width = hands.viewer.canvas.size
    camera.zoom = max(height / half.height, width / half.width) / slide.scale[-1]
    hands.press(dock.begin)
    assert corrector.painting is not None, corrector.problem
    dock.brush.setValue(BRUSH_UM)
    box = corrector.painting.box
    places = wrong_places(truth, found, box)
    assert len(places) >= STROKES // 2, "there is too little wrong for a brush"
    hands.canvas.setFocus()
    for x, y, label in places:
        hands.key(str(label))
        assert corrector.label == label
        hands.drag((x - 4, y), (x + 4, y))
    hands.picture("correcting")
    hands.press(dock.save)
    hands.qtbot.waitUntil(lambda: not corrector.is_busy and corrector.painting is None, timeout=120_000)
    assert "Counted anew" in corrector.notice, corrector.problem
    hands.picture("corrected")
    (kept,) = teacher.work.project.corrections("second")
    assert kept.teaches
    return Path(corrector.result.metadata["wsss"]["path"]), kept.box


def bring_in(hands: Pathologist, store: Path) -> Path:
    """Put the region that was painted before onto a newer result; return the corrected one."""
    _, dock = hands.viewer.window.add_plugin_dock_widget("napari-wsss", "Correct a region")
    in_front(dock)
    corrector = dock.corrector
    corrector.choose(next(x for x in corrector.results() if Path(x.metadata["wsss"]["path"]) == store))
    dock.tick()
    hands.press(dock.bring_in)
    assert not corrector.problem
    hands.qtbot.waitUntil(lambda: not corrector.is_busy, timeout=120_000)
    assert "Counted anew" in corrector.notice, corrector.problem
    hands.picture("brought-in")
    return Path(corrector.result.metadata["wsss"]["path"])


def train(hands: Pathologist, painted: Path, name: str) -> Path:
    """Train, and return what the model makes of the second slide."""
    teach = hands.teach
    in_front(teach)
    hands.press(teach.models.train)
    hands.rest(600_000)
    assert f"“{name}” is ready" in teach.teacher.work.notice, teach.teacher.work.problem
    assert "than the quick model is not known: label test tiles" in teach.teacher.work.notice
    hands.picture(f"{name}-ready")
    return segment(hands, painted / "second.tif", name)


# Something keeps the slides' files open until the next test; what it is, is not known yet.
@pytest.mark.leaves_behind
def test_a_model_of_unknown_slides_by_this_evening(
    hands: Pathologist, painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtWidgets import QFileDialog

    teach = hands.teach
    teacher = teach.teacher

    # A project of both slides; labels are given while they are prepared.
    hands.picture("start")
    new_project_by_hand(
        hands, tmp_path / "story.wsss", NAMES, tile_um=TILE_UM, encoder=DEFAULT_ENCODER, picture=True
    )
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([str(painted / "second.tif")], ""))
    hands.press(teach.slides.add)
    assert teacher.work.project.slides == ("first", "second")
    assert teacher.choose_slide("first")
    hands.picture("project")
    hands.press(teach.slides.prepare)
    singles = [[t for t in hands.tiles("first") if hands.holds(t) == [i]] for i in range(len(NAMES))]
    hands.label(singles[0][0])
    hands.picture("preparing")
    hands.rest()
    assert [teach.slides.table.item(row, 3).text() for row in (0, 1)] == ["yes", "yes"]
    scores = {"1 label": hands.map_score()}
    assert "the map never shows it" in teach.notice.text()
    hands.picture("one")
    for tiles in singles[1:]:
        hands.label(tiles[0])
    hands.rest()
    scores["4 labels"] = hands.map_score()
    for tiles in singles:
        for number in (1, 2):
            hands.label(tiles[len(tiles) * number // 3])
    hands.rest()
    hands.picture("twelve")

    # A rectangle and a lasso over several tissues are "all only stroma", which is wrong: one undo takes each back.
    count, side = len(teacher.work.labels()), singles[0][0].side
    corner, end = (2.1 * side, 2.1 * side), (5.9 * side, 4.9 * side)
    for tool in ("R", "L"):
        hands.key(tool)
        if tool == "R":
            hands.drag(corner, end)
        else:
            hands.drag(corner, end, through=[(end[0], corner[1]), end, (corner[0], end[1])])
        hands.picture(f"selected-{tool}")
        assert len(teacher.labelling.selection) >= 8
        hands.key("2")
        assert len(teacher.work.labels()) >= count + 8 - 3
        hands.key("Z", control=True)
        assert len(teacher.work.labels()) == count
    hands.key("C")

    # Twelve at a time, by keys alone, until forty tiles are labelled.
    hands.key("N")
    hands.rest()
    assert teacher.asking.is_asking
    hands.picture("strip")
    while len(teacher.work.labels()) < 40:
        hands.answer_strip(min(12, 40 - len(teacher.work.labels())))
        hands.rest()
    hands.key("Escape")
    teacher.choose_slide("first")
    hands.rest()
    hands.picture("forty")
    scores["40 labels"] = hands.map_score()

    # The quick model segments the second slide, with the labels of the live map, from the other dock.
    hands.press(teach.models.quick)
    hands.rest()
    assert "is ready" in teacher.work.notice, teacher.work.problem
    hands.picture("quick-ready")
    session_for(hands.viewer).set_preferences(device="cpu", folder=str(tmp_path / "results"))
    teacher.choose_slide("second")
    hands.rest()
    live = hands.map_score()
    quick = segment(hands, painted / "second.tif", "quick")
    scores["quick"] = hands.result_score(quick)

    # Trained on forty labels.
    def short(*amounts: int) -> Recipe:
        before = sum(name.startswith("trained") for name in teacher.work.project.models())
        return replace(recipe_for(*amounts), patches=PATCHES[before])

    monkeypatch.setattr("napari_wsss.project.training_run.recipe_for", short)
    first = train(hands, painted, "trained-1")
    scores["trained"] = hands.result_score(first)

    # What is worst in one half of the slide is painted over; training goes on, with these pixels and 24 labels.
    corrected, region = correct(hands, first)
    scores["corrected"] = hands.result_score(corrected)
    scores["trained, elsewhere"] = hands.result_score(first, region)
    in_front(teach)
    assert teach.models.fresh.isVisible()
    while len(teacher.work.labels()) < 64:
        hands.key("N")
        hands.rest()
        hands.answer_strip(1)
    hands.rest()
    hands.key("Escape")
    again = train(hands, painted, "trained-2")
    assert "It goes on from “trained-1”" in teacher.work.notice
    scores["retrained"] = hands.result_score(again)
    scores["retrained, elsewhere"] = hands.result_score(again, region)
    scores["with what was corrected"] = hands.result_score(bring_in(hands, again))

    hands.keep("scores.json", json.dumps(scores))
    assert scores["1 label"] < 0.3 < 0.6 < scores["4 labels"], scores
    assert scores["40 labels"] > 0.75, scores
    assert abs(scores["quick"] - live) < 0.05, (scores, live)
    # Trainings of so few patches differ by a point from run to run; outside the region half a point is left for that.
    assert scores["quick"] < scores["trained"] < scores["corrected"], scores
    assert scores["corrected"] < scores["retrained"], scores
    assert scores["corrected"] < scores["with what was corrected"], scores
    assert scores["trained, elsewhere"] - 0.005 < scores["retrained, elsewhere"], scores
    assert scores["retrained"] >= 0.80, scores


def tiles_by_darkness(hands: Hands, slide_id: str) -> list[Any]:
    """Return the tiles of a slide that are full of tissue, the darkest first: nuclei lie densest in epithelium."""
    project = hands.teach.teacher.work.project
    grid = project.grid(slide_id)
    seen = []
    with project.open_slide(slide_id) as slide:
        for row, column in np.ndindex(grid.rows, grid.columns):
            tile = project.tile_of(slide_id, row, column)
            box = tile.box
            gray = slide.read(box.x, box.y, 28, 28, mpp=box.width / 28 * slide.require_mpp()).mean(-1)
            if (gray < 225).mean() > 0.7:
                seen.append((float(gray.mean()), row, column, tile))
    return [tile for *_, tile in sorted(seen)]


@pytest.mark.shared
def test_a_real_slide_joins_the_project(
    hands: Pathologist, cmu_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan of skin among painted slides: a few tiles of epithelium and of what lies under it are enough for a map."""
    from qtpy.QtWidgets import QFileDialog

    teach, real = hands.teach, cmu_slide.stem
    teacher = teach.teacher
    new_project_by_hand(hands, tmp_path / "real.wsss", ("Epithelium", "Stroma"), tile_um=TILE_UM)
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([str(cmu_slide)], ""))
    hands.press(teach.slides.add)
    assert teacher.work.project.slides == ("first", real)
    assert teacher.choose_slide(real)
    hands.press(teach.slides.prepare)
    tiles = tiles_by_darkness(hands, real)
    count = len(tiles) // 3
    dark, pale = tiles[:count], tiles[-count:]
    for pair in zip(dark[::2][:4], pale[::2][:4], strict=True):
        for key, tile in zip("12", pair, strict=True):
            hands.move(*tile.middle)
            hands.key(key)
    hands.rest()
    hands.picture("real-map")
    assert len(teacher.work.labels()) == 8
    live = teacher.canvas.shown("map")
    step = round(live.scale[-1] / teacher.work.slide_layer().scale[-1])
    drawn = np.asarray(live.data)

    def share(group: list[Any], label: int) -> float:
        """Of the places of tiles that nobody labelled, those that have a class."""
        parts = []
        for tile in (t for t in group if not teacher.work.held(t)):
            box = tile.box
            parts.append(drawn[box.y // step : box.bottom // step, box.x // step : box.right // step].ravel())
        return float((np.concatenate(parts) == label).mean())

    shares = [share(dark, 1), share(pale, 1), share(pale, 2), share(dark, 2)]
    assert shares[0] > shares[1] + 0.3, shares
    assert shares[2] > shares[3] + 0.3, shares

    hands.press(teach.models.quick)
    hands.rest()
    assert "is ready" in teacher.work.notice, teacher.work.problem
    session_for(hands.viewer).set_preferences(device="cpu", folder=str(tmp_path / "results"))
    labels = np.asarray(open_store(segment(hands, cmu_slide, "quick")).labels()[0])
    scale = open_store(tmp_path / "results" / f"{real}.zarr").scale
    y, x = np.indices(drawn.shape)
    rows = np.minimum(((y + 0.5) * step / scale).astype(int), labels.shape[0] - 1)
    columns = np.minimum(((x + 0.5) * step / scale).astype(int), labels.shape[1] - 1)
    both = (drawn > 0) & (labels[rows, columns] > 0)
    assert both.sum() > 0.2 * drawn.size
    assert (drawn == labels[rows, columns])[both].mean() > 0.85
