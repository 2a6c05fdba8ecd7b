"""A result behind an address is read like one in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from wsss_far import serving
from wsss_toys import EVERYWHERE, ColourPredictor, colourful

from tiling.engine.drive import run
from tiling.errors import StoreDamagedError, StoreError
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide
from tiling.store.reader import open_store

pytest.importorskip("aiohttp")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tiling.far._PAUSES", (0.01, 0.01))
    with Slide(ArrayReader(colourful(300, 400), mpp=0.5)) as slide:
        list(run(slide, ColourPredictor(32), tmp_path / "a.zarr", EVERYWHERE))
    return tmp_path


def test_the_same_as_in_the_folder(folder: Path) -> None:
    near = open_store(folder / "a.zarr")
    with serving(folder) as server:
        server.fail_next = 2
        far = open_store(f"{server.address}/a.zarr")
        assert (far.run, far.receipt, far.is_complete) == (near.run, near.receipt, True)
        for ours, theirs in zip(far.labels(), near.labels(), strict=True):
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
        assert len(far.overview) == len(near.overview)
        for name, column in far.tiles().items():
            np.testing.assert_array_equal(column, near.tiles()[name])


def test_what_is_no_result_or_cannot_be_reached_is_one_sentence(folder: Path) -> None:
    (folder / "a.zarr" / "receipt.json").unlink()
    (folder / "b.zarr").mkdir()
    (folder / "b.zarr" / "run.json").write_text("{")
    with serving(folder) as server:
        assert not open_store(f"{server.address}/a.zarr").is_complete
        with pytest.raises(StoreDamagedError):
            open_store(f"{server.address}/b.zarr")
        with pytest.raises(StoreError, match="is not a result store"):
            open_store(f"{server.address}/c.zarr")
        server.dead_after = 0
        with pytest.raises(StoreError, match="cannot be read"):
            open_store(f"{server.address}/a.zarr")
