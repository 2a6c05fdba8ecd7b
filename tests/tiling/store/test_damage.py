"""Files of a store lost, changed, added or swapped, in the middle of a run and after it: refused, never believed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wsss_toys import ColourPredictor, colourful, tree_bytes

from tiling.engine import BlockWritten, run
from tiling.errors import StoreDamagedError, StoreError, WsssError
from tiling.plan import RunOptions
from tiling.slides import ArrayReader, Slide
from tiling.store import open_store, read_receipt, verify
from tiling.store.receipt import _own_digest

OPTIONS = RunOptions(mpp=0.5, tissue=None, batch_size=8, probabilities=True, cams=True)
PICTURE = colourful(420, 300)

Damage = Callable[[Path], object]


def segment(out: Path, stop_after: int | None = None, **how: Any) -> None:
    with Slide(ArrayReader(PICTURE, mpp=0.5)) as slide:
        events = run(slide, ColourPredictor(32), out, OPTIONS, **how)
        blocks = 0
        for event in events:
            blocks += isinstance(event, BlockWritten)
            if blocks == stop_after:
                break
        events.close()


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose run was stopped after twelve of its eighteen rows."""
    out = tmp_path_factory.mktemp("half") / "a.zarr"
    segment(out, 12)
    assert (out / "journal").is_dir()
    return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "a.zarr"
    segment(out)
    return out


@pytest.fixture
def copy(half: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(half, tmp_path / "a.zarr"))


@pytest.fixture
def done(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "a.zarr"))


def lost(path: Path) -> None:
    path.unlink()


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


PLACES = (
    "labels/tissue/0/c/0/0",
    "probabilities/RED/0/c/0/0",
    "0/c/0/0/0",
    "tiles/x/c.0",
    "labels/tissue/0/zarr.json",
    "zarr.json",
    "run.json",
)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, damage) for name in PLACES[:1] for damage in (lost, torn, emptied, flipped)),
        *((name, damage) for name in PLACES[1:-1] for damage in (lost, flipped)),
        (PLACES[-1], torn),
    ],
)
def test_a_resume_refuses_what_is_not_what_was_written(copy: Path, name: str, damage: Damage) -> None:
    damage(copy / name)
    with pytest.raises(StoreDamagedError, match="--restart"):
        segment(copy)


def test_a_damaged_store_can_be_started_over(copy: Path) -> None:
    for name in (PLACES[0], PLACES[-1]):
        torn(copy / name)
    segment(copy, resume=False)
    assert verify(copy).ok


def _value(name: str, key: str, value: object) -> Damage:
    def change(store: Path) -> None:
        content = json.loads((store / name).read_text())
        content[key] = value
        (store / name).write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        _value("labels/tissue/0/zarr.json", "fill_value", 1),
        _value("labels/tissue/0/zarr.json", "fill_value", -(10**30)),
        _value("labels/tissue/0/zarr.json", "shape", [10**9, 10**9]),
        _value("tiles/presence/zarr.json", "data_type", "int8"),
        _value("run.json", "mpp", "many"),
        _value("run.json", "grid", {}),
    ],
)
def test_a_resume_refuses_changed_metadata_before_it_believes_them(copy: Path, damage: Damage) -> None:
    damage(copy)
    with pytest.raises(StoreError, match="--restart"):
        segment(copy)


def test_a_resume_refuses_chunks_that_were_never_written(copy: Path) -> None:
    """A chunk of nothing but the fill value has no file; putting one there changes the labels."""
    chunk = copy / "labels/tissue/0/c/0/7"
    chunk.write_bytes((copy / "labels/tissue/0/c/0/0").read_bytes())
    with pytest.raises(StoreDamagedError, match="labels/tissue/0"):
        segment(copy)


def test_what_an_uncommitted_row_left_is_no_damage(copy: Path, whole: Path) -> None:
    """A kill between the chunks of a row and its commit: those chunks are written again."""
    files = [p for p in sorted((whole / "labels/tissue/0/c").rglob("*")) if p.is_file()]
    last = files[-1].relative_to(whole)
    (copy / last).parent.mkdir(parents=True, exist_ok=True)
    (copy / last).write_bytes(b"half of a chu")
    (copy / last.parent / ".wsss-00ff.tmp").write_bytes(b"half of an")
    segment(copy)
    assert tree_bytes(copy) == tree_bytes(whole)
    assert verify(copy).ok


def test_a_damaged_label_group_is_made_again(copy: Path, whole: Path) -> None:
    """It is written anew with the areas at the end of every run, so nobody need start over for it."""
    (copy / "labels/tissue/zarr.json").write_bytes(b"{")
    segment(copy)
    assert verify(copy).ok
    assert tree_bytes(copy) == tree_bytes(whole)


def test_what_is_lost_while_the_run_goes_on_is_noticed_at_its_end(tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    with (  # noqa: PT012
        Slide(ArrayReader(PICTURE, mpp=0.5)) as slide,
        pytest.raises(StoreDamagedError, match="labels/tissue/0"),
    ):
        for event in run(slide, ColourPredictor(32), out, OPTIONS):
            if isinstance(event, BlockWritten) and event.row == 10:
                (out / "labels/tissue/0/c/0/0").unlink()
    assert read_receipt(out) is None


# --- finished stores


def restate(change: Callable[[dict[str, Any]], object], forge: bool = False) -> Damage:
    def damage(store: Path) -> None:
        receipt = json.loads((store / "receipt.json").read_text())
        change(receipt)
        if forge:
            receipt.pop("receipt_digest", None)
            receipt["receipt_digest"] = _own_digest(receipt)
        (store / "receipt.json").write_text(json.dumps(receipt))

    return damage


STATEMENTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "an area": lambda r: r["areas_mm2"].update({"red tissue": 99.0}),
    "all areas": lambda r: r.update(areas_mm2={}),
    "the model": lambda r: r["model"].update(hashes={"stage1": "0" * 64}),
    "the slide": lambda r: r["slide"].update(quick_hash="0" * 64),
    "a parameter": lambda r: r["parameters"].update(overlap=0.5),
    "the resolution": lambda r: r["resolution"].update(mpp=0.25),
    "tiles": lambda r: r["counters"].update(tiles=r["counters"]["tiles"] + 1),
    "read errors": lambda r: r["counters"].update(read_errors=3),
    "pixels": lambda r: r["counters"].update(pixels_per_label=[0, 0, 0, 1]),
    "status": lambda r: r.update(status="empty"),
    "no areas": lambda r: r.pop("areas_mm2"),
    "no counters": lambda r: r.pop("counters"),
}


@pytest.mark.parametrize("forge", [False, True], ids=["", "with its own digest made anew"])
@pytest.mark.parametrize("what", STATEMENTS)
def test_a_receipt_that_states_something_else_is_refused(done: Path, what: str, forge: bool) -> None:
    restate(STATEMENTS[what], forge)(done)
    result = verify(done)
    assert not result.ok
    assert "receipt.json" in result.problem or "damaged" in result.problem
    with pytest.raises(StoreError):  # a batch must not copy it into its summary
        segment(done, stop_after=1)


def test_labels_are_counted_again(done: Path) -> None:
    """Pixels and areas agree with each other everywhere, digests included, but not with the labels."""

    def swapped(receipt: dict[str, Any]) -> None:
        counts = receipt["counters"]["pixels_per_label"]
        counts[1], counts[2] = counts[2], counts[1]
        areas = receipt["areas_mm2"]
        areas["red tissue"], areas["green tissue"] = areas["green tissue"], areas["red tissue"]
        file = done / "labels/tissue/zarr.json"
        metadata = json.loads(file.read_text())
        for entry in metadata["attributes"]["ome"]["image-label"]["properties"][1:]:
            entry["area_mm2"] = areas[entry["class"]]
        file.write_text(json.dumps(metadata))
        from tiling.store import content_digest

        receipt["content_digest"] = content_digest(done)

    restate(swapped, forge=True)(done)
    assert verify(done, recount=False).ok
    assert "pixels per label" in verify(done).problem


FOREIGN: dict[str, Damage] = {
    "a file": lambda s: (s / "thesis.txt").write_text("years of work"),
    "a file among chunks": lambda s: (s / "labels/tissue/0/c/0/x").write_text("?"),
    "a link": lambda s: (s / "labels/tissue/0/c/9").symlink_to(s / "labels/tissue/0/c/0"),
    "a dangling link": lambda s: (s / "notes").symlink_to("/nowhere"),
    "a loop": lambda s: (s / "loop").symlink_to(s),
    "a pipe": lambda s: os.mkfifo(s / "labels/tissue/pipe"),
    "a pipe for a chunk": lambda s: os.mkfifo(s / "labels/tissue/0/c/0/1"),
    "a name that is no UTF-8": lambda s: (s / os.fsdecode(b"Pr\xe4parat")).write_bytes(b""),
    "a name of two lines": lambda s: (s / "labels" / "a\nb").write_text("?"),
    "a half-written file": lambda s: (s / ".wsss-0011223344.tmp").write_bytes(b""),
    "a folder swapped for a link": lambda s: (
        shutil.move(s / "labels", s.parent / "labels"),
        (s / "labels").symlink_to(s.parent / "labels"),
    ),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and links")
@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_part_of_a_store_is_named(done: Path, what: str) -> None:
    FOREIGN[what](done)
    result = verify(done)
    assert not result.ok
    assert re.search("which is no part of a result store|differs from its receipt", result.problem)
    assert "\n" not in result.problem
    with pytest.raises(StoreError):
        segment(done)
    if what != "a half-written file":
        with pytest.raises(StoreError, match=r"move|link"):  # --restart deletes nothing that is not ours
            segment(done, resume=False)


def test_what_a_file_manager_leaves_changes_nothing(done: Path) -> None:
    for folder, name in (("", ".DS_Store"), ("labels", "Thumbs.db"), ("labels/tissue", "._0")):
        (done / folder / name).write_bytes(b"a Mac was here")
    assert verify(done).ok


@pytest.mark.parametrize("damage", [lost, torn, emptied, flipped])
@pytest.mark.parametrize(
    "name", ["labels/tissue/0/c/0/0", "tiles/flags/c.0", "zarr.json", "labels/tissue/0/zarr.json"]
)
def test_a_damaged_store_is_read_or_refused_in_one_sentence(done: Path, name: str, damage: Damage) -> None:
    damage(done / name)
    assert not verify(done).ok
    try:
        store = open_store(done)
        store.tiles()
        store.labels()
        _ = store.overview, store.class_images("cams"), store.receipt
    except WsssError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_receipt_is_not_called_damaged(done: Path) -> None:
    (done / "receipt.json").chmod(0)
    assert "Permission denied" in verify(done).problem
    assert "damaged" not in verify(done).problem


def test_the_seconds_of_all_runs_make_the_speed(copy: Path) -> None:
    """Tiles of the first run over the seconds of the last would be a wrong speed."""
    from tiling.store import Journal

    before = Journal(copy / "journal").committed().seconds
    segment(copy)
    receipt = read_receipt(copy)
    assert receipt is not None
    timings = receipt["timings"]
    assert before > 0
    assert timings["seconds"] == pytest.approx(before + timings["seconds_last_run"], abs=0.01)


def test_labels_of_a_resumed_run_are_those_of_the_receipt(copy: Path) -> None:
    segment(copy)
    store = open_store(copy)
    counts = np.bincount(store.labels()[0][...].ravel(), minlength=4)
    assert store.receipt is not None
    assert counts.tolist() == store.receipt["counters"]["pixels_per_label"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", None),
        ("cam_tile", "x"),
        ("cam_tile", -0.5),
        ("schema", {"classes": []}),
        ("grid", []),
        ("mpp", None),
    ],
)
def test_an_odd_run_json_is_one_kind_of_error(done: Path, key: str, value: object) -> None:
    run_json = json.loads((done / "run.json").read_text())
    run_json[key] = value
    if value is None:
        del run_json[key]
    (done / "run.json").write_text(json.dumps(run_json))
    with pytest.raises(StoreDamagedError, match=r"run\.json is damaged"):
        open_store(done)
