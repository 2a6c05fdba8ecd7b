"""The store as others see it: valid OME-Zarr 0.5, named classes, aligned frames, one writer."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import tempfile
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from wsss_toys import TOY_SCHEMA, ColourPredictor, colourful
from yaozarrs import validate_zarr_store
from yaozarrs._storage import StorageValidationError

from tiling.engine.drive import run
from tiling.errors import StoreDamagedError, StoreError, StoreLockedError
from tiling.folders import is_store
from tiling.geometry import Box
from tiling.plan.run_plan import RunOptions
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.journal import Committed, Journal
from tiling.store.lock import StoreLock
from tiling.store.ngff import label_translation
from tiling.store.reader import open_store
from tiling.store.receipt import read_receipt, verify


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "slide-1.zarr"
    image = np.tile(colourful(300, 400), (3, 3, 1))
    options = RunOptions(mpp=0.5, tissue=None, cams=True, probabilities=True)
    with Slide(ArrayReader(image, mpp=0.25, bounds=Box(40, 60, 1100, 800))) as slide:
        list(run(slide, ColourPredictor(), out, options))
    return out


def test_store_is_valid_ome_zarr(store_path: Path) -> None:
    validate_zarr_store(store_path)
    validate_zarr_store(store_path / "labels" / "tissue")
    validate_zarr_store(store_path / "cams" / "RED")
    validate_zarr_store(store_path / "probabilities" / "RED")


@pytest.mark.parametrize("damage", ["carrier level", "label image", "label levels"])
def test_a_broken_store_is_seen_by_the_validator(store_path: Path, tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "broken.zarr"
    shutil.copytree(store_path, copy)
    if damage == "carrier level":
        shutil.rmtree(copy / "0")
    elif damage == "label image":
        shutil.rmtree(copy / "labels" / "tissue")
    else:
        file = copy / "labels" / "tissue" / "zarr.json"
        content = json.loads(file.read_text())
        scales = content["attributes"]["ome"]["multiscales"][0]
        scales["datasets"] = scales["datasets"][:1]
        file.write_text(json.dumps(content))
    with pytest.raises(StorageValidationError):
        validate_zarr_store(copy)


def test_labels_have_as_many_levels_as_the_carrier(store_path: Path) -> None:
    store = open_store(store_path)
    assert len(store.labels()) == len(store.overview) == 2
    assert store.labels()[0].shape == (400, 550)


def test_label_image_names_and_colours_its_classes(store_path: Path) -> None:
    attributes = json.loads((store_path / "labels" / "tissue" / "zarr.json").read_text())["attributes"]["ome"]
    colours = {c["label-value"]: c["rgba"] for c in attributes["image-label"]["colors"]}
    assert colours[0][3] == 0
    for value, tissue in enumerate(TOY_SCHEMA.classes, start=1):
        assert colours[value] == [*tissue.rgb, 255]
    properties = {p["label-value"]: p for p in attributes["image-label"]["properties"]}
    areas = open_store(store_path).areas
    for value, tissue in enumerate(TOY_SCHEMA.classes, start=1):
        assert properties[value]["class"] == tissue.name
        assert properties[value]["area_mm2"] == areas[tissue.name] > 0


def test_all_images_of_a_store_cover_the_same_ground(store_path: Path) -> None:
    """The outer corner of every level of every image lies at the corner of the slide's bounds."""
    groups = ["", "labels/tissue", "cams/RED", "probabilities/RED"]
    for name in groups:
        ome = json.loads((store_path / name / "zarr.json").read_text())["attributes"]["ome"]
        for dataset in ome["multiscales"][0]["datasets"]:
            scale, shift = (t[t["type"]] for t in dataset["coordinateTransformations"])
            corner = [s - c / 2 for s, c in zip(shift[-2:], scale[-2:], strict=True)]
            assert corner == pytest.approx([60 * 0.25 - 0.125, 40 * 0.25 - 0.125]), name


@given(
    st.integers(-1000, 1000),
    st.integers(-1000, 1000),
    st.floats(0.05, 5),
    st.floats(0.05, 5),
    st.floats(0, 4000),
)
def test_frames_agree_on_any_point(x: int, y: int, slide_mpp: float, mpp: float, column: float) -> None:
    """A point seen from the label image and from the slide has one place in µm."""
    _, shift = label_translation((x, y), slide_mpp, mpp)
    from_label = shift + (column - 0.5) * mpp  # the left edge of label column `column`, measured from centres
    level0_edge = x + column * mpp / slide_mpp
    from_slide = (level0_edge - 0.5) * slide_mpp
    assert from_label == pytest.approx(from_slide, abs=1e-6)


def test_overview_shows_the_scanned_area(store_path: Path) -> None:
    overview = np.moveaxis(open_store(store_path).overview[0][...], 0, -1)
    assert overview.shape == (800, 1100, 3)
    image = np.tile(colourful(300, 400), (3, 3, 1))
    np.testing.assert_array_equal(overview, image[60:860, 40:1140])


def test_a_folder_that_is_no_store_is_named(tmp_path: Path) -> None:
    assert not is_store(tmp_path)
    with pytest.raises(StoreError, match="not a result store"):
        open_store(tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"format_version": 99}', "[]"])
def test_a_damaged_receipt_is_one_clear_error(store_path: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "receipt.json").write_text(content)
    with pytest.raises(StoreError, match=r"receipt\.json"):
        read_receipt(tmp_path)
    assert not verify(tmp_path).ok


def _hold(path: Path, ready: "multiprocessing.synchronize.Event", kill: bool) -> None:  # noqa: UP037
    with StoreLock(path):
        ready.set()
        if kill:
            os.kill(os.getpid(), 9)
        time.sleep(600)  # the test kills this process


def test_second_writer_is_refused_and_told_who_owns_the_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "a.zarr", ready, False), daemon=True)
    process.start()
    assert ready.wait(300)
    with pytest.raises(StoreLockedError, match=f"process {process.pid} on "), StoreLock(tmp_path / "a.zarr"):
        pass
    process.kill()
    process.join()
    # The owner is dead: its lock is free at once, although its files are still there.
    with StoreLock(tmp_path / "a.zarr"):
        assert (tmp_path / "a.zarr.owner").exists()
    assert not list(tmp_path.iterdir())


def test_journal_forgives_a_torn_file_and_nothing_else(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.resume() == (Committed(), {})
    for rows in range(1, 4):
        carry = {"blend": np.full((2, 2), rows, np.float32), "none": np.zeros((0, 5), np.uint8)}
        journal.commit(Committed(rows, 5 * rows, (1, 2), 0.1, 0), carry)
    committed, carry = journal.resume()
    assert committed == Committed(3, 15, (1, 2), 0.1, 0)
    assert (carry["blend"] == 3).all()
    assert carry["none"].shape == (0, 5)
    newest = tmp_path / "journal" / "odd.row"
    whole = newest.read_bytes()
    for torn in (whole[:-1], whole[:20], b"", whole[:-1] + b"?"):  # killed while the third row was written
        newest.write_bytes(torn)
        committed, carry = journal.resume()
        assert committed.rows == 2
        assert (carry["blend"] == 2).all()
    (tmp_path / "journal" / "even.row").write_bytes(b"")
    with pytest.raises(StoreError, match="damaged"):
        journal.committed()
    (tmp_path / "journal" / "even.row").unlink()  # a kill while the very first row was written
    assert journal.resume() == (Committed(), {})


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_journal_returns_the_last_carry(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal")
        for row, size in enumerate(sizes):
            carry = {
                "a": rng.random((2, size)).astype(np.float32),
                "b": rng.integers(0, 9, (size,)).astype("u1").T,
            }
            journal.commit(Committed(row + 1, size, (size,), float(size), row), carry)
            committed, found = journal.resume()
            assert committed == Committed(row + 1, size, (size,), float(size), row)
            for name, array in carry.items():
                np.testing.assert_array_equal(found[name], array)
                assert found[name].flags.writeable


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.booleans(), st.integers(0, 400), st.binary(max_size=3)), max_size=3),
)
def test_what_is_committed_is_what_is_resumed_whatever_is_torn(
    rows: int, damages: list[tuple[bool, int, bytes]]
) -> None:
    def told(journal: Journal) -> tuple[Committed | str, Committed | str]:
        answers: list[Committed | str] = []
        for ask in (journal.committed, lambda: journal.resume()[0]):
            try:
                answers.append(ask())
            except StoreDamagedError as error:
                answers.append(str(error))
        return answers[0], answers[1]

    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal")
        for row in range(rows):
            journal.commit(Committed(row + 1, row, (row, 2)), {"a": np.arange(30), "b": np.zeros((0, 2))})
        for even, place, put in damages:
            path = journal.folder / ("even.row" if even else "odd.row")
            if path.exists():
                content = path.read_bytes()
                path.write_bytes(content[:place] + put + (content[place + len(put) :] if put else b""))
        committed, resumed = told(journal)
        assert committed == resumed


@pytest.mark.parametrize(
    "header", [b"[]", b'{"committed":{"rows":"a","counts":[]},"arrays":{}}', b'{"arrays":[]}']
)
def test_a_journal_that_says_nonsense_is_damaged(tmp_path: Path, header: bytes) -> None:
    journal = Journal(tmp_path)
    rest = len(header).to_bytes(4, "little") + header
    for name in ("even.row", "odd.row"):
        (tmp_path / name).write_bytes(b"wsss-row" + zlib.crc32(rest).to_bytes(4, "little") + rest)
    for ask in (journal.committed, journal.resume):
        with pytest.raises(StoreDamagedError, match="damaged"):
            ask()


def test_what_is_committed_is_told_without_the_carry_in_memory(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for rows in (1, 2):
        journal.commit(Committed(rows), {"blend": np.ones(4_000_000)})
    tracemalloc.start()
    try:
        assert journal.committed().rows == 2
        assert tracemalloc.get_traced_memory()[1] < 8_000_000  # the carry has 32 million bytes
    finally:
        tracemalloc.stop()


def test_a_kill_while_the_store_is_created_leaves_nothing_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.zarr"
    options = RunOptions(mpp=0.5, tissue=None)

    def segment() -> None:
        with Slide(ArrayReader(colourful(100, 100), mpp=0.5)) as slide:
            list(run(slide, ColourPredictor(32), out, options))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    steps = ("store.create._content", "store.create.write_json_atomic", "engine.drive.StoreWriter")
    for step in (*steps, "store.writer.StoreWriter.write_overview"):
        with monkeypatch.context() as patch:
            patch.setattr(f"tiling.{step}", killed)
            with pytest.raises(KeyboardInterrupt):
                segment()
        # Either nothing is there, or a folder that says what it is.
        assert not out.exists() or (out / "run.json").exists()
    segment()
    assert verify(out).ok
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_a_file_that_cannot_be_removed_neither_hides_the_error_nor_keeps_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(ZeroDivisionError), StoreLock(tmp_path / "a.zarr"):  # noqa: PT012
        monkeypatch.setattr(Path, "unlink", refused)
        _ = 1 / 0
    monkeypatch.undo()
    with StoreLock(tmp_path / "a.zarr"):
        pass


@pytest.mark.parametrize("owner", ["[]", "{", "", '{"pid": 1}', "3"])
def test_an_odd_owner_file_does_not_hide_that_the_store_is_owned(tmp_path: Path, owner: str) -> None:
    with StoreLock(tmp_path / "a.zarr"):
        (tmp_path / "a.zarr.owner").write_text(owner)
        with pytest.raises(StoreLockedError, match="another process"), StoreLock(tmp_path / "a.zarr"):
            pass


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
@pytest.mark.parametrize("planted", ["a.zarr.owner", "a.zarr.lock"])
def test_a_planted_link_beside_a_store_is_never_written_through(tmp_path: Path, planted: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / planted).symlink_to(victim)
    with contextlib.suppress(StoreError), StoreLock(tmp_path / "a.zarr"):
        pass
    assert victim.read_text() == "precious"


def test_a_name_of_full_length_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="File name too long"), StoreLock(tmp_path / ("a" * 250 + ".zarr")):
        pass


def test_an_id_that_looks_like_a_pattern_clears_only_its_own(tmp_path: Path) -> None:
    """``[ab]`` once deleted the staging folder of ``a``."""
    for name in ("a", "b"):
        (tmp_path / f".{name}.zarr.77.new").mkdir()
    with Slide(ArrayReader(colourful(60, 60), mpp=0.5)) as slide:
        list(run(slide, ColourPredictor(32), tmp_path / "[ab].zarr", RunOptions(mpp=0.5, tissue=None)))
    assert {p.name for p in tmp_path.iterdir()} == {".a.zarr.77.new", ".b.zarr.77.new", "[ab].zarr"}


def test_a_foreign_folder_of_the_staging_name_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"

    def segment() -> None:
        with Slide(ArrayReader(colourful(60, 60), mpp=0.5)) as slide:
            list(run(slide, ColourPredictor(32), out, RunOptions(mpp=0.5, tissue=None)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tiling.store.create._content", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            segment()
    (staging,) = tmp_path.iterdir()
    (staging / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match=r"thesis\.txt, which is no part"):
        segment()
    assert (staging / "thesis.txt").exists()
