"""A picture that the panel has read is not read again by a run, as long as the file is the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_wsss.plugin.common.thumbnails import ThumbnailShelf
from tiling.slides.open import open_slide
from tiling.slides.slide import Slide


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the thumbnails that were really read."""
    read: list[int] = []
    real = Slide._thumbnail

    def counted(slide: Slide, max_side: int) -> Any:
        read.append(max_side)
        return real(slide, max_side)

    monkeypatch.setattr(Slide, "_thumbnail", counted)
    return read


def test_the_same_file_is_read_once(banded_slide: Path, reads: list[int]) -> None:
    shelf = ThumbnailShelf()
    with open_slide(banded_slide) as alone:
        expected = alone.thumbnail(100)
        assert alone.thumbnail(100).flags.writeable
    reads.clear()
    for mpp in (None, 0.3):
        with open_slide(banded_slide, mpp=mpp) as slide:
            picture = shelf.lend(slide).thumbnail(100)
            np.testing.assert_array_equal(picture, expected)
            assert not picture.flags.writeable, "somebody else looks at it, too"
            slide.thumbnail(50)
    assert reads == [100, 50]


def test_a_file_that_changed_or_lies_elsewhere_is_read_anew(
    banded_slide: Path, toy: Any, tmp_path: Path, reads: list[int]
) -> None:
    shelf = ThumbnailShelf()
    other = toy.write_banded(tmp_path / "elsewhere" / banded_slide.name)
    os.utime(other, ns=(banded_slide.stat().st_mtime_ns,) * 2)
    for path in (banded_slide, other, banded_slide):
        with open_slide(path) as slide:
            shelf.lend(slide).thumbnail(100)
    os.utime(banded_slide, ns=(1, 1))
    with open_slide(banded_slide) as slide:
        shelf.lend(slide).thumbnail(100)
    assert len(reads) == 4


def test_a_run_does_not_read_what_the_estimate_has_read(
    banded_slide: Path, small_bundle: Any, tmp_path: Path, reads: list[int]
) -> None:
    from napari_wsss.plugin.common.preferences import Preferences
    from napari_wsss.plugin.segment.estimate import Estimator
    from napari_wsss.plugin.segment.request import RunRequest
    from napari_wsss.plugin.segment.tissue import _look

    request = RunRequest(
        banded_slide, small_bundle, tmp_path / "a.zarr", None, None, None, Preferences(skip_background=False)
    )
    list(Estimator().estimate(request))
    list(_look(banded_slide, None))
    list(request.events())
    assert len(reads) == 1
