"""How a run may end: done, empty, broken off, refused; each leaves what the next run can trust."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from wsss_toys import EVERYWHERE, ColourPredictor, colourful, plain, segment_array

from tiling.engine.drive import run
from tiling.engine.events import Finished
from tiling.engine.predictor import Prediction
from tiling.errors import StoreError, StoreLockedError
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.receipt import read_receipt, verify


def test_a_slide_without_tissue_is_empty_not_an_error(tmp_path: Path) -> None:
    from tiling.plan.tissue import TissueParameters

    finished = segment_array(plain((250, 250, 250)), tmp_path / "a.zarr", tissue=TissueParameters())[-1]
    assert isinstance(finished, Finished)
    assert finished.status == "empty"


def test_starting_over_deletes_one_store_and_nothing_else(tmp_path: Path) -> None:
    image = colourful(100, 100)
    segment_array(image, tmp_path / "a.zarr")
    segment_array(image, tmp_path / "b.zarr")
    (tmp_path / "notes.txt").write_text("mine")
    before = (tmp_path / "b.zarr" / "receipt.json").read_bytes()
    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        list(run(slide, ColourPredictor(32), tmp_path / "a.zarr", EVERYWHERE, resume=False))
    assert (tmp_path / "b.zarr" / "receipt.json").read_bytes() == before
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("half", ["receipt.json", "labels/tissue/zarr.json"])
def test_half_a_file_is_not_done(tmp_path: Path, half: str) -> None:
    segment_array(colourful(100, 100), tmp_path / "a.zarr")
    path = tmp_path / "a.zarr" / half
    path.write_bytes(path.read_bytes()[:-40])
    assert not verify(tmp_path / "a.zarr").ok
    with pytest.raises(StoreError, match="--restart"):
        segment_array(colourful(100, 100), tmp_path / "a.zarr")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_no_end_leaves_a_lock(tmp_path: Path, error: type[BaseException]) -> None:
    class Stopped(ColourPredictor):
        def __call__(self, pixels: NDArray[np.uint8], cam_side: int | None = None) -> Prediction:
            if self.calls == 3:
                raise error
            return super().__call__(pixels)

    image = colourful(150, 150)
    with Slide(ArrayReader(image, mpp=0.5)) as slide, pytest.raises(error):
        list(run(slide, Stopped(32), tmp_path / "a.zarr", EVERYWHERE))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    segment_array(image, tmp_path / "a.zarr")
    assert verify(tmp_path / "a.zarr").ok


def test_a_second_run_on_a_store_is_refused_at_once_and_disturbs_nothing(tmp_path: Path) -> None:
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


def test_an_error_of_the_writer_is_the_runs_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tiling.store.writer.StoreWriter.append_tiles", full)
    with pytest.raises(StoreError, match="disk is full"):
        segment_array(colourful(150, 150), tmp_path / "a.zarr")
    assert read_receipt(tmp_path / "a.zarr") is None


@pytest.mark.parametrize("name", ["a" * 300, "ä" * 125])
def test_a_name_that_is_too_long_is_what_is_wrong(tmp_path: Path, name: str) -> None:
    """It used to be answered with another output folder."""
    with pytest.raises(StoreError, match=r"bytes long.*shorter slide_id in a manifest"):
        segment_array(colourful(64, 64), tmp_path / f"{name}.zarr")
