"""What a finished store's label pyramid holds: every chunk written once, no level too few, no label lost."""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
from wsss_toys import colourful, segment_array

from tiling.store.reader import open_store


def test_every_chunk_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: Counter[str] = Counter()
    replace = os.replace

    def counted(source: str, target: str) -> None:
        written[str(target)] += 1
        replace(source, target)

    monkeypatch.setattr("tiling.store.chunks.os.replace", counted)
    segment_array(colourful(900, 700), tmp_path / "a.zarr", tile=64, overlap=0.25)
    chunks = {key: times for key, times in written.items() if "/labels/tissue/" in key and "/c/" in key}
    assert len(chunks) > 4
    assert set(chunks.values()) == {1}


def test_labels_are_stored_without_loss(tmp_path: Path) -> None:
    from tiling.export.tiff import write_tiff

    image = colourful(300, 300)
    segment_array(image, tmp_path / "a.zarr", overlap=0)
    store = open_store(tmp_path / "a.zarr")
    np.testing.assert_array_equal(store.labels()[0][...], image.argmax(-1) + 1)
    write_tiff(store, tmp_path / "a.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert {page.compression.name for page in tiff.pages} == {"ADOBE_DEFLATE"}
        np.testing.assert_array_equal(tiff.series[0].asarray(), store.labels()[0][...])


def test_labels_have_the_levels_of_their_image(tmp_path: Path) -> None:
    segment_array(colourful(1200, 700), tmp_path / "a.zarr", tile=64)
    store = open_store(tmp_path / "a.zarr")
    assert len(store.labels()) == len(store.overview) > 1
    for finer, coarser in pairwise(store.labels()):
        assert coarser.shape == tuple(-(-side // 2) for side in finer.shape)
        assert set(np.unique(coarser[...])) <= set(np.unique(finer[...]))
