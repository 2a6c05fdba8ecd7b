"""Bugs read in the source of other programs for whole slides, each under the name of the program: none of them is ours.

The number in each name is that of the list in the project's survey of engines; details are tested with their modules.
"""

from __future__ import annotations

import ast
import json
import os
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from shapely.geometry import shape
from wsss_toys import ColourPredictor, colourful

from tiling.batch.isolated import run_batch
from tiling.batch.jobs import JobError, SlideJob, find_jobs
from tiling.batch.summary import SlideOutcome, Status
from tiling.engine.drive import run
from tiling.engine.events import Event, Finished, Planned, TilesDone
from tiling.engine.predictor import Prediction
from tiling.engine.read_ahead import LOOKAHEAD_PER_THREAD, ReadAhead
from tiling.errors import SlideError, StoreError, StoreLockedError
from tiling.geometry import Box
from tiling.plan.run_plan import RunOptions
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.lock import StoreLock
from tiling.store.reader import open_store
from tiling.store.receipt import read_receipt, verify

ROOT = Path(__file__).resolve().parents[1]
EVERYWHERE = RunOptions(mpp=0.5, tissue=None, batch_size=4)


def segment(image: NDArray[np.uint8], out: Path, tile: int = 32, **options: Any) -> list[Event]:
    from dataclasses import replace

    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        return list(run(slide, ColourPredictor(tile), out, replace(EVERYWHERE, **options)))


def plain(colour: tuple[int, int, int], height: int = 120, width: int = 150) -> NDArray[np.uint8]:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


# 1, 2: LazySlide


def test_1_lazyslide_weighted_sums_are_divided_by_weights_not_by_visits(tmp_path: Path) -> None:
    segment(plain((60, 200, 60)), tmp_path / "a.zarr", overlap=0.6, probabilities=True)
    store = open_store(tmp_path / "a.zarr")
    assert (store.labels()[0][...] == 2).all()
    for share, levels in zip((61, 201, 61), store.class_images("probabilities").values(), strict=True):
        np.testing.assert_allclose(levels[0][...], 255 * share / 323, atol=1)


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (4, 2)])
def test_2_lazyslide_limits_of_memory_are_obeyed(tmp_path: Path, batch: int, threads: int) -> None:
    """However slow the network is, readers are never further ahead than the formula counts."""
    from tiling.plan.run_plan import make_plan

    read: list[int] = []

    class Counted(ArrayReader):
        def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
            read.append(1)
            return super().read_level(level, x, y, width, height)

    options = RunOptions(mpp=0.5, tissue=None, batch_size=batch, read_threads=threads)
    with Slide(Counted(colourful(200, 300), mpp=0.5)) as slide:
        plan = make_plan(slide, 32, options)
        batches = [each for row in range(plan.grid.rows) for each in plan.batches(row)]
        read.clear()
        reader = ReadAhead(slide, plan.grid, 0.5, batches, threads, False)
        with reader:
            pixels = iter(reader)
            for taken in range(1, 9):
                assert len(next(pixels).pixels) <= batch
                for future in list(reader._waiting):
                    future.result()  # let the readers do all that they may
                assert len(read) <= taken + LOOKAHEAD_PER_THREAD * threads < len(batches)


# 3, 4: TIAToolbox


def test_3_tiatoolbox_holes_stay_and_properties_are_properties(tmp_path: Path) -> None:
    from tiling.export.geojson import write_geojson

    image = plain((200, 20, 20))
    image[40:80, 50:100] = (20, 200, 20)
    segment(image, tmp_path / "a.zarr", overlap=0)
    write_geojson(open_store(tmp_path / "a.zarr"), tmp_path / "a.geojson")
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    red, green = sorted(features, key=lambda f: -shape(f["geometry"]).area)
    assert len(red["geometry"]["coordinates"]) == 2
    assert shape(red["geometry"]).area == 120 * 150 - 40 * 50
    assert shape(green["geometry"]).area == 40 * 50
    for feature in (red, green):
        assert set(feature) == {"type", "id", "geometry", "properties"}
        assert feature["properties"]["objectType"] == "annotation"
        assert set(feature["properties"]["classification"]) == {"name", "color"}


def test_4_tiatoolbox_a_broken_slide_costs_itself_only(tmp_path: Path) -> None:
    def work(job: SlideJob) -> SlideOutcome:
        if job.slide_id == "bad":
            raise SlideError("bad.svs is damaged.")
        return SlideOutcome(job.slide_id, job.path, Status.DONE)

    jobs = [SlideJob(name, Path(f"{name}.svs")) for name in ("a", "bad", "b")]
    assert [outcome.status for outcome in run_batch(jobs, work, tmp_path)] == ["done", "failed", "done"]


def test_4_tiatoolbox_a_slide_without_tissue_is_empty_not_an_error(tmp_path: Path) -> None:
    from tiling.plan.tissue import TissueParameters

    finished = segment(plain((250, 250, 250)), tmp_path / "a.zarr", tissue=TissueParameters())[-1]
    assert isinstance(finished, Finished)
    assert finished.status == "empty"


def test_4_tiatoolbox_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    image = colourful(150, 200)
    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        events = run(slide, ColourPredictor(32), tmp_path / "a.zarr", EVERYWHERE)
        for event in events:
            if isinstance(event, TilesDone) and event.row == 4:
                break
        events.close()
    planned = segment(image, tmp_path / "a.zarr")[0]
    assert isinstance(planned, Planned)
    assert planned.rows_done > 0


def test_4_tiatoolbox_starting_over_deletes_one_store_and_nothing_else(tmp_path: Path) -> None:
    image = colourful(100, 100)
    segment(image, tmp_path / "a.zarr")
    segment(image, tmp_path / "b.zarr")
    (tmp_path / "notes.txt").write_text("mine")
    before = (tmp_path / "b.zarr" / "receipt.json").read_bytes()
    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        list(run(slide, ColourPredictor(32), tmp_path / "a.zarr", EVERYWHERE, resume=False))
    assert (tmp_path / "b.zarr" / "receipt.json").read_bytes() == before
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_4_tiatoolbox_two_slides_of_one_name_are_refused_before_any_work(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.svs").touch()
    with pytest.raises(JobError, match=r"x/same\.svs.*y/same\.svs"):
        find_jobs([tmp_path])


# 5: WSInfer


def test_5_wsinfer_a_failure_names_the_slide_not_its_folder(tmp_path: Path) -> None:
    def work(job: SlideJob) -> SlideOutcome:
        raise OSError(5, "Input/output error", "/data/slides")

    job = SlideJob("case", Path("/data/slides/case.ndpi"))
    (outcome,) = run_batch([job], work, tmp_path, schedule=lambda run_one, jobs: map(_hasty(run_one), jobs))
    assert (outcome.slide_id, outcome.path) == ("case", job.path)
    assert "/data/slides/case.ndpi" in (tmp_path / "summary.csv").read_text()


def _hasty(run_one: Any) -> Any:
    from dataclasses import replace

    return replace(run_one, pause_s=0)


@pytest.mark.parametrize("ending", ["svs", "ndpi", "ome.tif", "zarr"])
def test_5_wsinfer_no_format_of_slides_is_written_into_names(tmp_path: Path, ending: str) -> None:
    from napari_wsss.cli.export import files_beside

    path = tmp_path / f"case.7.{ending}"
    path.mkdir() if ending == "zarr" else path.touch()
    if ending == "zarr":
        (path / "zarr.json").touch()
    (job,) = find_jobs([path])
    target = files_beside(tmp_path / "out" / f"{job.slide_id}.zarr", ("geojson",))
    assert target.geojson == tmp_path / "out" / f"{job.slide_id}.geojson"
    assert job.slide_id.startswith("case.7")


@pytest.mark.parametrize("half", ["receipt.json", "labels/tissue/zarr.json"])
def test_5_wsinfer_half_a_file_is_not_done(tmp_path: Path, half: str) -> None:
    segment(colourful(100, 100), tmp_path / "a.zarr")
    path = tmp_path / "a.zarr" / half
    path.write_bytes(path.read_bytes()[:-40])
    assert not verify(tmp_path / "a.zarr").ok
    with pytest.raises(StoreError, match="--restart"):
        segment(colourful(100, 100), tmp_path / "a.zarr")


# 6: TRIDENT


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_6_trident_no_end_leaves_a_lock(tmp_path: Path, error: type[BaseException]) -> None:
    class Stopped(ColourPredictor):
        def __call__(self, pixels: NDArray[np.uint8], cam_side: int | None = None) -> Prediction:
            if self.calls == 3:
                raise error
            return super().__call__(pixels)

    image = colourful(150, 150)
    with Slide(ArrayReader(image, mpp=0.5)) as slide, pytest.raises(error):
        list(run(slide, Stopped(32), tmp_path / "a.zarr", EVERYWHERE))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    segment(image, tmp_path / "a.zarr")
    assert verify(tmp_path / "a.zarr").ok


def test_6_trident_of_many_who_want_the_lock_at_once_one_gets_it(tmp_path: Path) -> None:
    start, given = threading.Barrier(8, timeout=300), threading.Barrier(8, timeout=300)
    got: list[str] = []

    def want() -> None:
        start.wait()
        try:
            with StoreLock(tmp_path / "a.zarr"):
                got.append("mine")
                given.wait()
        except StoreLockedError:
            got.append("refused")
            given.wait()

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(got) == {"mine": 1, "refused": 7}


def test_6_trident_a_second_run_on_a_store_is_refused_at_once_and_disturbs_nothing(tmp_path: Path) -> None:
    image = colourful(150, 150)
    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        first = run(slide, ColourPredictor(32), tmp_path / "a.zarr", EVERYWHERE)
        next(first)
        for resume in (True, False):
            with (
                Slide(ArrayReader(image, mpp=0.5)) as again,
                pytest.raises(StoreLockedError, match="is being written by process"),
            ):
                next(run(again, ColourPredictor(32), tmp_path / "a.zarr", EVERYWHERE, resume=resume))
        list(first)
    assert verify(tmp_path / "a.zarr").ok


def test_6_trident_many_overlapping_tiles_do_not_run_over(tmp_path: Path) -> None:
    """Every pixel lies in up to 25 tiles: 25 × 255 is far beyond 8 bits."""
    segment(plain((250, 10, 10)), tmp_path / "a.zarr", overlap=0.8, probabilities=True)
    store = open_store(tmp_path / "a.zarr")
    assert (store.labels()[0][...] == 1).all()
    (most, *_) = store.class_images("probabilities").values()
    np.testing.assert_allclose(most[0][...], 255 * 251 / 273, atol=1)


# 7: MONAI


def test_7_monai_untouched_pixels_are_nothing_not_0_by_0(tmp_path: Path) -> None:
    with np.errstate(all="raise"):
        segment(colourful(160, 160), tmp_path / "a.zarr", region=Box(70, 70, 20, 20), probabilities=True)
    store = open_store(tmp_path / "a.zarr")
    outside = np.ones((160, 160), np.bool_)
    outside[70:90, 70:90] = False
    assert not store.labels()[0][...][outside].any()
    assert store.labels()[0][...][~outside].all()
    for levels in store.class_images("probabilities").values():
        assert not levels[0][...][:30].any()


def test_7_monai_every_chunk_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: Counter[str] = Counter()
    replace = os.replace

    def counted(source: str, target: str) -> None:
        written[str(target)] += 1
        replace(source, target)

    monkeypatch.setattr("tiling.store.chunks.os.replace", counted)
    segment(colourful(900, 700), tmp_path / "a.zarr", tile=64, overlap=0.25)
    chunks = {key: times for key, times in written.items() if "/labels/tissue/" in key and "/c/" in key}
    assert len(chunks) > 4
    assert set(chunks.values()) == {1}


# 8: ahcore


def test_8_ahcore_an_error_of_the_writer_is_the_runs_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tiling.store.writer.StoreWriter.append_tiles", full)
    with pytest.raises(StoreError, match="disk is full"):
        segment(colourful(150, 150), tmp_path / "a.zarr")
    assert read_receipt(tmp_path / "a.zarr") is None


# 9: CellViT


def test_9_cellvit_nothing_asks_in_the_middle_of_a_batch() -> None:
    asking = {"input", "confirm", "prompt", "getpass"}
    for package in ("tiling", "napari_wsss", "training"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func).rpartition(".")[2]
                    assert name not in asking, f"{path}:{node.lineno}"


def test_9_cellvit_regions_are_streamed_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiling.export import geojson
    from tiling.export.polygons import label_regions

    drawn: list[int] = []

    def watched(labels: Any, **options: Any) -> Any:
        for region in label_regions(labels, **{**options, "block": 64}):
            drawn.append(region.label)
            yield region

    monkeypatch.setattr(geojson, "label_regions", watched)
    segment(colourful(400, 400), tmp_path / "a.zarr")
    features = geojson.features(open_store(tmp_path / "a.zarr"))
    next(features)
    assert len(drawn) == 1
    assert len(list(features)) > 10


# 10: wsi-tile-processor


def test_10_wsi_tile_processor_labels_are_stored_without_loss(tmp_path: Path) -> None:
    from tiling.export.tiff import write_tiff

    image = colourful(300, 300)
    segment(image, tmp_path / "a.zarr", overlap=0)
    store = open_store(tmp_path / "a.zarr")
    np.testing.assert_array_equal(store.labels()[0][...], image.argmax(-1) + 1)
    write_tiff(store, tmp_path / "a.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert {page.compression.name for page in tiff.pages} == {"ADOBE_DEFLATE"}
        np.testing.assert_array_equal(tiff.series[0].asarray(), store.labels()[0][...])


def test_10_wsi_tile_processor_sums_of_weights_are_exact() -> None:
    from tiling.engine.blend import blend_window

    window = blend_window(224, True)
    # Whole numbers, and a sum of all that can lie on one pixel is below 2^24: float32 adds them without rounding.
    assert window.dtype == np.float32
    assert (window == np.rint(window)).all()
    assert 4 * window.max() < 2**24


# 11: napari-wsi


def test_11_napari_wsi_levels_do_not_drift_and_have_no_alpha() -> None:
    """A downsample of 4.016 taken for 4 is 32 level-0 pixels off at the far end of this slide."""
    from napari_wsss.plugin.view.pyramid import slide_pyramid

    width, factor = 8192, 8192 / 2040
    line = np.arange(width) // 64
    fine = np.broadcast_to(line.astype(np.uint8)[None, :, None], (16, width, 3)).copy()
    coarse = np.broadcast_to(
        ((np.arange(2040) + 0.5) * factor / 64).astype(np.uint8)[None, :, None], (4, 2040, 3)
    ).copy()
    slide = Slide(ArrayReader([fine, coarse], mpp=0.25, downsamples=(1.0, factor)))
    levels = slide_pyramid(slide, coarsest_max=1024)
    assert all(level.shape[2] == 3 for level in levels)
    for level in levels:
        step = width / level.shape[1]
        values = np.asarray(level[0, level.shape[1] // 2 :, 0]).astype(float)
        places = (np.arange(level.shape[1] // 2, level.shape[1]) + 0.5) * step
        assert np.abs(values - (places - 32) / 64).max() <= 1.1, step


# 12: labels without a pyramid


def test_12_labels_have_the_levels_of_their_image(tmp_path: Path) -> None:
    segment(colourful(1200, 700), tmp_path / "a.zarr", tile=64)
    store = open_store(tmp_path / "a.zarr")
    assert len(store.labels()) == len(store.overview) > 1
    for finer, coarser in pairwise(store.labels()):
        assert coarser.shape == tuple(-(-side // 2) for side in finer.shape)
        assert set(np.unique(coarser[...])) <= set(np.unique(finer[...]))
