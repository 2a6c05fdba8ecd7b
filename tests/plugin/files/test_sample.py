from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_wsss.plugin.files.sample import sample_files, sample_slide
from tiling.synthetic import SyntheticSlide

TINY = SyntheticSlide(width=700, height=520, mpp=0.5, seed=3, region_um=60)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_WSSS_CACHE", str(tmp_path))
    return tmp_path


def test_slide_and_truth_lie_on_each_other(cache: Path) -> None:
    (slide, image, _), (truth, labels, _) = sample_slide(TINY)
    assert np.asarray(slide).shape == (520, 700, 3)
    assert truth[0].shape == (520, 700)
    np.testing.assert_array_equal(truth[0], TINY.truth(0, 0, 700, 520))
    for key in ("scale", "translate", "units"):
        assert image[key] == labels[key]
    assert image["scale"] == pytest.approx((0.5, 0.5))
    assert image["metadata"]["wsss"]["kind"] == "slide"


def test_painted_once_for_each_sample(cache: Path) -> None:
    first = sample_files(TINY)
    written = first[0].stat().st_mtime_ns
    assert sample_files(TINY) == first
    assert first[0].stat().st_mtime_ns == written
    assert sample_files(SyntheticSlide(width=300, height=200, seed=4))[0] != first[0]
