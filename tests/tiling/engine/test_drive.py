"""The engine's promises on slides made of arrays."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from numpy.typing import NDArray
from PIL import Image
from wsss_toys import ColourPredictor, colourful, tree_bytes

from tiling.engine.drive import run
from tiling.engine.events import BlockWritten, Event, Finished, Planned, Progress, TilesDone
from tiling.engine.predictor import Prediction
from tiling.errors import (
    PredictionError,
    RegionError,
    ResolutionError,
    RunTooLargeError,
    SlideChangedError,
    SlideError,
    StoreError,
    StoreLockedError,
    StoreMismatchError,
)
from tiling.geometry import Box
from tiling.plan.run_plan import RunOptions, make_plan
from tiling.plan.tissue import TissueParameters
from tiling.slides.open import open_slide
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.layout import FLAG_EMPTY, FLAG_PREDICTED, FLAG_READ_ERROR
from tiling.store.lock import StoreLock
from tiling.store.reader import open_store
from tiling.store.receipt import read_receipt, verify

EVERYWHERE = RunOptions(mpp=0.5, tissue=None, batch_size=4)


def slide_of(image: NDArray[np.uint8] | list[NDArray[np.uint8]], **options: Any) -> Slide:
    return Slide(ArrayReader(image, mpp=options.pop("mpp", 0.5), **options))


def segment(
    image: NDArray[np.uint8] | list[NDArray[np.uint8]],
    out: Path,
    options: RunOptions = EVERYWHERE,
    tile: int = 32,
    **reader: Any,
) -> list[Event]:
    with slide_of(image, **reader) as slide:
        return list(run(slide, ColourPredictor(tile), out, options))


def options(**changes: Any) -> RunOptions:
    return replace(EVERYWHERE, **changes)


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    return colourful(210, 330)


def test_labels_are_exact_for_a_one_pixel_network(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    segment(picture, tmp_path / "a.zarr", options(overlap=0.25))
    labels = open_store(tmp_path / "a.zarr").labels()[0][...]
    np.testing.assert_array_equal(labels, picture.argmax(-1) + 1)


@settings(max_examples=12)
@given(
    st.floats(0, 0.8),
    st.integers(8, 48),
    st.integers(1, 90),
    st.integers(1, 70),
    st.lists(st.integers(0, 255), min_size=3, max_size=3),
    st.integers(1, 9),
)
@example(0.5, 12, 5, 7, [2, 200, 201], 1)
def test_constant_in_constant_out(
    tmp_path_factory: pytest.TempPathFactory,
    overlap: float,
    tile: int,
    width: int,
    height: int,
    colour: list[int],
    batch: int,
) -> None:
    out = tmp_path_factory.mktemp("constant") / "a.zarr"
    image = np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()
    segment(image, out, options(overlap=overlap, batch_size=batch, probabilities=True), tile)
    store = open_store(out)
    share = (np.array(colour, float) + 1) / (sum(colour) + 3)
    best, second = np.sort(share)[[2, 1]]
    labels = store.labels()[0][...]
    if best == second or best - second > 1 / 256:
        assert (labels == np.argmax(colour) + 1).all()
    else:  # what only the corner of a tile covers is counted in 256 steps: nearly equal classes are equal there
        assert set(np.unique(labels)) <= {i + 1 for i in range(3) if best - share[i] <= 1 / 256}
    for value, levels in zip(share, store.class_images("probabilities").values(), strict=True):
        got = levels[0][...].astype(int)
        assert got.max() - got.min() <= 1
        assert abs(got.mean() - value * 255) <= 1


@settings(max_examples=5)
@given(
    st.sampled_from([0.0, 0.25, 0.6]),
    st.lists(st.tuples(st.integers(1, 70), st.integers(1, 4)), min_size=2, max_size=3, unique=True),
)
def test_batch_size_and_threads_do_not_change_a_byte(
    tmp_path_factory: pytest.TempPathFactory,
    picture: NDArray[np.uint8],
    overlap: float,
    ways: list[tuple[int, int]],
) -> None:
    trees = []
    for batch, threads in ways:
        out = tmp_path_factory.mktemp("batch") / "a.zarr"
        chosen = options(
            overlap=overlap, batch_size=batch, read_threads=threads, cams=True, probabilities=True
        )
        segment(picture, out, chosen)
        trees.append(tree_bytes(out))
    assert all(tree == trees[0] for tree in trees)


@settings(max_examples=8)
@given(
    st.integers(0, 90), st.integers(0, 90), st.sampled_from([0.0, 0.25, 0.6]), st.sampled_from([0.5, 0.77])
)
def test_moving_the_bounds_moves_the_labels(
    tmp_path_factory: pytest.TempPathFactory, x: int, y: int, overlap: float, mpp: float
) -> None:
    folder = tmp_path_factory.mktemp("bounds")
    picture = colourful(110, 130)
    segment(picture, folder / "a.zarr", options(overlap=overlap, mpp=mpp))
    big = np.full((210, 230, 3), 255, np.uint8)
    big[y : y + 110, x : x + 130] = picture
    segment(big, folder / "b.zarr", options(overlap=overlap, mpp=mpp), bounds=Box(x, y, 130, 110))
    a, b = open_store(folder / "a.zarr"), open_store(folder / "b.zarr")
    # For the filter the slide's end is one thing and white beside the bounds another: the rim may differ.
    inner = slice(None) if mpp == 0.5 else slice(2, -2)
    np.testing.assert_array_equal(a.labels()[0][inner, inner], b.labels()[0][inner, inner])
    assert b.origin == (x, y)
    assert np.subtract(b.translation, a.translation) == pytest.approx([y * 0.5, x * 0.5])


@settings(max_examples=6)
@given(st.integers(40, 80), st.sampled_from([0.4, 0.5, 0.7]), st.integers(1, 3))
def test_tiled_equals_whole_for_a_small_receptive_field(
    tmp_path_factory: pytest.TempPathFactory,
    picture: NDArray[np.uint8],
    tile: int,
    overlap: float,
    reach: int,
) -> None:
    out = tmp_path_factory.mktemp("whole") / "a.zarr"

    class Blurred(ColourPredictor):
        """A box filter in front of the colour rule: wrong only within ``reach`` pixels of a tile's edge."""

        def __call__(self, pixels: NDArray[np.uint8], cam_side: int | None = None) -> Prediction:
            return super().__call__(self.blur(pixels))

        @staticmethod
        def blur(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
            from scipy import ndimage

            return ndimage.uniform_filter(pixels, (1, 2 * reach + 1, 2 * reach + 1, 1), mode="reflect")

    with slide_of(picture) as slide:
        list(run(slide, Blurred(tile), out, options(overlap=overlap)))
    got = open_store(out).labels()[0][...]
    expected = Blurred.blur(picture[None])[0].argmax(-1) + 1
    inner = (slice(reach, -reach),) * 2  # the slide's own edge is padded with white
    assert (got == expected)[inner].mean() > 0.995


def test_region_equals_the_same_part_of_a_full_run(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    region = Box(81, 33, 120, 90)
    segment(picture, tmp_path / "full.zarr")
    events = segment(picture, tmp_path / "part.zarr", options(region=region))
    full = open_store(tmp_path / "full.zarr").labels()[0][...]
    part = open_store(tmp_path / "part.zarr").labels()[0][...]
    inside = np.zeros_like(full, np.bool_)
    inside[region.y : region.bottom, region.x : region.right] = True
    np.testing.assert_array_equal(part, np.where(inside, full, 0))
    planned = events[0]
    assert isinstance(planned, Planned)
    assert planned.tiles < 35


def test_region_outside_is_refused_and_nothing_is_written(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    with pytest.raises(RegionError, match="outside the scanned area"):
        segment(picture, tmp_path / "a.zarr", options(region=Box(9000, 0, 10, 10)))
    assert not (tmp_path / "a.zarr").exists()


def test_labels_stay_on_the_tissue_and_white_tiles_never_reach_the_network(tmp_path: Path) -> None:
    image = np.full((600, 800, 3), 255, np.uint8)
    image[150:400, 200:500] = (200, 80, 120)
    seen: list[NDArray[np.uint8]] = []
    with slide_of(image) as slide:
        predictor = ColourPredictor(32, on_call=lambda pixels: seen.append(pixels.copy()))
        list(run(slide, predictor, tmp_path / "a.zarr", RunOptions(mpp=0.5)))
    labels = open_store(tmp_path / "a.zarr").labels()[0][...]
    truth = (image != 255).any(-1)
    overlap = (labels > 0) & truth
    assert overlap.sum() / truth.sum() > 0.97
    assert (labels[~truth] > 0).mean() < 0.03  # the mask may be a little generous
    assert set(np.unique(labels[overlap])) == {1}
    tiles = np.concatenate(seen)
    assert len(tiles) < 220
    assert (tiles == 255).all((1, 2, 3)).mean() < 0.25  # at the rim of the mask only


def test_tile_table_tells_what_happened(tmp_path: Path) -> None:
    image = np.full((96, 160, 3), 255, np.uint8)
    image[:, :64] = (200, 80, 120)
    segment(image, tmp_path / "a.zarr", options(overlap=0, region=Box(0, 0, 64, 96)))
    table = open_store(tmp_path / "a.zarr").tiles()
    flags = table["flags"].reshape(3, 5)
    np.testing.assert_array_equal(
        flags, np.where(np.arange(5) < 2, FLAG_PREDICTED, FLAG_EMPTY)[None].repeat(3, 0)
    )
    np.testing.assert_array_equal(table["x"].reshape(3, 5)[0], np.arange(5) * 32)
    np.testing.assert_array_equal(table["y"].reshape(3, 5)[:, 0], np.arange(3) * 32)
    predicted = table["flags"] == FLAG_PREDICTED
    assert np.isfinite(table["presence"][predicted]).all()
    assert np.isnan(table["presence"][~predicted]).all()
    assert table["shares"][predicted].sum(1) == pytest.approx(1, abs=1e-5)


def test_events_come_in_order_and_add_up(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    events = segment(picture, tmp_path / "a.zarr")
    planned, finished = events[0], events[-1]
    assert isinstance(planned, Planned)
    assert isinstance(finished, Finished)
    assert sum(len(e.columns) for e in events if isinstance(e, TilesDone)) == planned.tiles == finished.tiles
    blocks = [e for e in events if isinstance(e, BlockWritten)]
    assert [b.row for b in blocks] == list(range(planned.rows))
    labels = np.concatenate([b.labels for b in blocks])
    np.testing.assert_array_equal(labels, open_store(tmp_path / "a.zarr").labels()[0][...])
    np.testing.assert_array_equal(blocks[-1].counts, np.bincount(labels.ravel(), minlength=4))
    last = [e for e in events if isinstance(e, Progress)][-1]
    assert last.tiles_done == planned.tiles
    assert last.seconds_left == 0
    mm2 = finished.areas["red tissue"]
    assert mm2 == pytest.approx((labels == 1).sum() * 0.25e-6, abs=1e-6)


def test_non_integer_scale_covers_the_slide(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    segment(picture, tmp_path / "a.zarr", mpp=0.347)
    store = open_store(tmp_path / "a.zarr")
    height, width = store.labels()[0].shape
    assert height == int(np.ceil(210 * 0.347 / 0.5))
    assert width == int(np.ceil(330 * 0.347 / 0.5))
    assert (store.labels()[0][...] > 0).all()
    y = ((np.arange(height) + 0.5) * 0.5 / 0.347).astype(int).clip(0, 209)
    x = ((np.arange(width) + 0.5) * 0.5 / 0.347).astype(int).clip(0, 329)
    expected = picture[y][:, x].argmax(-1) + 1
    assert (store.labels()[0][...] == expected).mean() > 0.95


def test_a_slide_without_mpp_is_refused_before_anything_is_written(
    tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    with pytest.raises(ResolutionError, match="--mpp"):
        segment(picture, tmp_path / "a.zarr", mpp=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", [1, 4, 9, 20, 33, 47])
def test_a_closed_run_resumes_to_the_same_bytes(
    tmp_path: Path, picture: NDArray[np.uint8], stop: int
) -> None:
    chosen = options(overlap=0.25, probabilities=True, cams=True)
    segment(picture, tmp_path / "whole" / "a.zarr", chosen)
    out = tmp_path / "cut" / "a.zarr"
    with slide_of(picture) as slide:
        events = run(slide, ColourPredictor(), out, chosen)
        rows = [e for e, _ in zip(events, range(stop), strict=False) if isinstance(e, BlockWritten)]
        events.close()
    assert read_receipt(out) is None
    assert not verify(out).ok
    again = segment(picture, out, chosen)
    planned = again[0]
    assert isinstance(planned, Planned)
    assert planned.rows_done >= len(rows)
    computed = {e.row for e in again if isinstance(e, TilesDone)}
    assert computed == set(range(planned.rows_done, planned.rows))
    assert tree_bytes(out) == tree_bytes(tmp_path / "whole" / "a.zarr")
    first, second = read_receipt(out), read_receipt(tmp_path / "whole" / "a.zarr")
    assert first is not None
    assert second is not None
    assert first["content_digest"] == second["content_digest"]
    assert first["counters"] == second["counters"]


def test_an_exception_in_the_network_leaves_a_resumable_store(
    tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    class Breaks(ColourPredictor):
        def __call__(self, pixels: NDArray[np.uint8], cam_side: int | None = None) -> Prediction:
            if self.calls == 9:
                raise MemoryError("the GPU is full")
            return super().__call__(pixels, cam_side)

    with slide_of(picture) as slide, pytest.raises(MemoryError):
        list(run(slide, Breaks(), tmp_path / "a.zarr", EVERYWHERE))
    planned = segment(picture, tmp_path / "a.zarr")[0]
    assert isinstance(planned, Planned)
    assert planned.rows_done > 0
    assert verify(tmp_path / "a.zarr").ok


def test_a_finished_store_is_kept_and_checked(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    out = tmp_path / "a.zarr"
    segment(picture, out)
    before = tree_bytes(out)
    (finished,) = segment(picture, out)
    assert isinstance(finished, Finished)
    assert finished.status == "cached"
    assert tree_bytes(out) == before
    chunk = next(p for p in (out / "labels" / "tissue" / "0" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(StoreError, match="differs from its receipt"):
        segment(picture, out)
    assert not verify(out).ok


def test_another_configuration_is_refused_with_the_difference(
    tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    out = tmp_path / "a.zarr"
    segment(picture, out, options(overlap=0.25))
    with pytest.raises(StoreMismatchError, match=r"parameters.overlap: 0.25 → 0.5.*--restart"):
        segment(picture, out, options(overlap=0.5))
    with slide_of(picture) as slide:
        list(run(slide, ColourPredictor(), out, options(overlap=0.5), resume=False))
    receipt = read_receipt(out)
    assert receipt is not None
    assert receipt["parameters"]["overlap"] == 0.5


def test_another_slide_of_the_same_name_is_refused(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    segment(picture, tmp_path / "a.zarr")
    with pytest.raises(StoreMismatchError, match=r"slide.dimensions"):
        segment(picture[:-5], tmp_path / "a.zarr")


def test_an_unknown_folder_is_never_overwritten(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    out = tmp_path / "a.zarr"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with slide_of(picture) as slide, pytest.raises(StoreError, match="not a result store of ours"):
        list(run(slide, ColourPredictor(), out, EVERYWHERE, resume=False))
    assert (out / "thesis.txt").read_text() == "years of work"


def test_a_slide_without_tissue_is_empty_and_says_so(tmp_path: Path) -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    for _ in range(2):  # the second time the finished store is found
        finished = segment(image, tmp_path / "a.zarr", RunOptions(mpp=0.5))[-1]
        assert isinstance(finished, Finished)
        assert finished.status == "empty"
        assert finished.tiles == 0
    assert verify(tmp_path / "a.zarr").ok
    assert not open_store(tmp_path / "a.zarr").labels()[0][...].any()


def test_the_overview_is_a_stored_level_where_one_fits(
    tmp_path: Path, picture: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read as it is: no finer level is decoded, nothing is resampled."""
    picture = np.ascontiguousarray(picture[:208, :328])
    side = 328
    levels = [picture, *(np.ascontiguousarray(picture[::step, ::step]) for step in (2, 4))]
    for largest, expected in ((side // 2, 1), (side - 1, 1), (side // 4, 2), (side // 4 - 1, None)):
        monkeypatch.setattr("tiling.plan.run_plan.OVERVIEW_SIDE", largest)
        reader = ArrayReader(levels, mpp=0.5)
        with Slide(reader) as slide:
            overview = make_plan(slide, 32, options()).overview
        if expected is None:
            assert max(overview.shape) == largest
        else:
            np.testing.assert_array_equal(overview, levels[expected])
            assert {level for level, _ in reader.reads} == {expected}


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("tissue", [False, True])
def test_an_unreadable_tile_fails_the_slide_or_is_left_blank_on_request(
    tmp_path: Path, picture: NDArray[np.uint8], levels: int, tissue: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the overview must be made from the broken level, and with the store of the run that failed."""
    if levels == 2:  # the overview comes from the intact coarse level
        monkeypatch.setattr("tiling.plan.run_plan.OVERVIEW_SIDE", 165)
    pyramid = [picture, np.ascontiguousarray(picture[::2, ::2])][:levels]
    broken: dict[str, Any] = {"fail_at": Box(130, 100, 4, 4), "fail_level": 0}
    chosen = options(overlap=0, **({"tissue": TissueParameters()} if tissue else {}))
    with pytest.raises(SlideError):
        segment(pyramid, tmp_path / "b.zarr", chosen, **broken)
    if levels == 2:
        assert (tmp_path / "b.zarr" / "journal").exists()
    segment(pyramid, tmp_path / "b.zarr", replace(chosen, read_errors="fill"), **broken)
    store = open_store(tmp_path / "b.zarr")
    table = store.tiles()
    assert (table["flags"] & FLAG_READ_ERROR).sum() == FLAG_READ_ERROR
    labels = store.labels()[0][...]
    expected = picture.argmax(-1) + 1
    expected[96:128, 128:160] = 0
    assert (labels == expected)[labels > 0].all()
    assert (labels[96:128, 128:160] == 0).all()
    assert tissue or (labels == expected).all()
    assert store.receipt is not None
    assert any("could not be read" in warning for warning in store.receipt["warnings"])
    assert verify(store.path).ok


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: replace(p, probabilities=np.full_like(p.probabilities, np.nan)),
        lambda p: replace(p, presence=np.where(p.presence > 2, p.presence, np.inf)),
        lambda p: replace(p, probabilities=p.probabilities[:, :1]),
        lambda p: replace(p, probabilities=p.probabilities[..., :-1]),
        lambda p: replace(p, presence=p.presence[:, :1]),
        lambda p: replace(p, presence=p.presence[:1]),
        lambda p: replace(p, shares=p.shares[:, 0]),
        lambda p: replace(p, confidence=p.confidence * np.nan),
        lambda p: replace(p, probabilities=p.probabilities.astype(np.int64)),
        lambda p: replace(p, cams=None),
        lambda p: replace(p, cams=p.cams[:, :, :1]),
    ],
)
def test_what_is_no_prediction_is_refused(tmp_path: Path, picture: NDArray[np.uint8], spoil: Any) -> None:
    class Wrong(ColourPredictor):
        def __call__(self, pixels: NDArray[np.uint8], cam_side: int | None = None) -> Prediction:
            good = super().__call__(pixels, cam_side)
            return spoil(good) if self.calls > 3 else good

    with slide_of(picture) as slide, pytest.raises(PredictionError, match="The network's"):
        list(run(slide, Wrong(), tmp_path / "a.zarr", options(cams=True)))
    assert read_receipt(tmp_path / "a.zarr") is None


def test_a_finished_store_needs_no_memory_and_no_pixel(
    tmp_path: Path, picture: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(picture, tmp_path / "a.zarr")
    monkeypatch.setattr("tiling.engine.drive.available_memory", lambda: 1)
    reader = ArrayReader(picture, mpp=0.5, fail_at=Box(0, 0, 330, 210))
    with Slide(reader) as slide:
        (finished,) = run(slide, ColourPredictor(), tmp_path / "a.zarr", EVERYWHERE)
        assert isinstance(finished, Finished)
        assert finished.status == "cached"
        assert reader.reads == []
    with pytest.raises(RunTooLargeError):
        segment(picture, tmp_path / "b.zarr")


@pytest.mark.parametrize("rows", [2, None], ids=["unfinished", "finished"])
def test_it_does_not_matter_who_said_the_resolution(
    tmp_path: Path, picture: NDArray[np.uint8], rows: int | None
) -> None:
    out = tmp_path / "a.zarr"
    with Slide(ArrayReader(picture), mpp=0.5, mpp_source="manifest") as slide:
        events = run(slide, ColourPredictor(), out, EVERYWHERE)
        blocks = (event for event in events if isinstance(event, BlockWritten))
        list(islice(blocks, rows))
        events.close()
    with Slide(ArrayReader(picture), mpp=0.5, mpp_source="--mpp") as slide:
        list(run(slide, ColourPredictor(), out, EVERYWHERE))
    receipt = read_receipt(out)
    assert receipt is not None
    assert receipt["resolution"] == {"mpp": 0.5, "source": "manifest"}
    assert verify(out).ok
    with (
        Slide(ArrayReader(picture), mpp=0.6, mpp_source="--mpp") as slide,
        pytest.raises(StoreMismatchError, match=r"resolution\.mpp: 0\.5 → 0\.6"),
    ):
        list(run(slide, ColourPredictor(), out, EVERYWHERE))


@pytest.mark.parametrize("change", ["touched", "replaced", "gone", "grown"])
def test_a_slide_that_changes_while_it_is_read_gets_no_receipt(
    tmp_path: Path, picture: NDArray[np.uint8], change: str
) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(picture).save(file)
    with open_slide(file, mpp=0.5) as slide, pytest.raises(SlideChangedError, match=r"a\.png was changed"):  # noqa: PT012
        for number, _ in enumerate(run(slide, ColourPredictor(), tmp_path / "a.zarr", EVERYWHERE)):
            if number == 8:
                if change == "touched":
                    os.utime(file, ns=(1, 1))
                elif change == "replaced":
                    other = tmp_path / "other.png"
                    Image.fromarray(picture[::-1].copy()).save(other)
                    other.replace(file)
                elif change == "grown":
                    with file.open("ab") as stream:
                        stream.write(b"more")
                else:
                    file.unlink()
    assert read_receipt(tmp_path / "a.zarr") is None


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_store_reached_through_a_link_is_the_same_store(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    real, link = tmp_path / "real" / "a.zarr", tmp_path / "b.zarr"
    segment(picture, real)
    link.symlink_to(real)
    with StoreLock(real), pytest.raises(StoreLockedError, match="is being written by process"):
        segment(picture, link)
    with slide_of(picture) as slide:
        (finished,) = run(slide, ColourPredictor(), link, EVERYWHERE, name="a")
        assert isinstance(finished, Finished)
        with pytest.raises(StoreError, match="is a link"):
            list(run(slide, ColourPredictor(), link, EVERYWHERE, name="a", resume=False))
    assert verify(real).ok
    dangling = tmp_path / "c.zarr"
    dangling.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        segment(picture, dangling)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("content", ['{"seed": 1, "model": "resnet"}', "[]", "{", ""])
def test_a_folder_of_another_program_with_a_run_json_is_never_deleted(
    tmp_path: Path, picture: NDArray[np.uint8], content: str
) -> None:
    out = tmp_path / "a.zarr"
    (out / "weights").mkdir(parents=True)
    (out / "weights" / "last.ckpt").write_bytes(b"weeks of training")
    (out / "run.json").write_text(content)
    for resume in (True, False):
        with slide_of(picture) as slide, pytest.raises(StoreError):
            list(run(slide, ColourPredictor(), out, EVERYWHERE, resume=resume))
    assert (out / "weights" / "last.ckpt").read_bytes() == b"weeks of training"


def test_a_run_leaves_no_thread_behind(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    before = {t.name for t in threading.enumerate()}
    with slide_of(picture) as slide:
        events = run(slide, ColourPredictor(), tmp_path / "a.zarr", EVERYWHERE)
        for _ in range(6):
            next(events)
        events.close()
    left = {t.name for t in threading.enumerate() if t.name.startswith("wsss")} - before
    assert not left
    assert not (tmp_path / "a.zarr.lock").exists()


def test_the_receipt_says_how_the_store_was_made(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    segment(picture, tmp_path / "a.zarr")
    receipt = json.loads((tmp_path / "a.zarr" / "receipt.json").read_text())
    assert receipt["slide"]["dimensions"] == [330, 210]
    assert receipt["resolution"]["mpp"] == 0.5
    assert receipt["parameters"]["overlap"] == 0.25
    assert receipt["versions"]["numpy"] == np.__version__
    assert "not for diagnosis" in receipt["notice"]
    assert not (tmp_path / "a.zarr" / "journal").exists()
    shutil.rmtree(tmp_path / "a.zarr")
    assert verify(tmp_path / "a.zarr").problem.endswith("is not a folder.")
