from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from napari_wsss.pipeline import Settings
from napari_wsss.plugin.common.preferences import Preferences
from napari_wsss.plugin.segment.request import RunRequest
from tiling.geometry import Box
from tiling.slides.slide import Slide


def test_every_choice_reaches_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_bundle: Any, banded_slide: Path
) -> None:
    asked: dict[str, Any] = {}

    def segment_events(slide: Slide, bundle: Any, out: Path, **options: Any) -> Any:
        asked.update(options, slide=slide.path, mpp=slide.mpp, bundle=bundle, out=out)
        return iter(())

    @contextmanager
    def borrow(bundle: Any, settings: Settings) -> Iterator[Any]:
        yield bundle, settings

    monkeypatch.setattr("napari_wsss.pipeline.segment_events", segment_events)
    monkeypatch.setattr("napari_wsss.plugin.segment.request.borrow_networks", borrow)
    monkeypatch.setattr("napari_wsss.plugin.segment.request.limit_compute_threads", lambda: None)
    chosen = Preferences(
        device="cpu",
        overlap=0.5,
        gate=False,
        gate_threshold=0.3,
        skip_background=False,
        keep_cams=True,
        batch_size=7,
    )
    slide, out, region = banded_slide, tmp_path / "a.zarr", Box(1, 2, 3, 4)
    list(RunRequest(slide, toy_bundle, out, 0.25, region, None, chosen, resume=False).events())
    assert asked == {
        "slide": slide,
        "bundle": (toy_bundle, asked["settings"]),
        "out": out,
        "mpp": 0.25,
        "resume": False,
        "settings": Settings(
            overlap=0.5,
            region=region,
            gate=False,
            gate_threshold=0.3,
            batch_size=7,
            device="cpu",
            tissue=None,
            keep_cams=True,
        ),
    }
    # No threshold of one's own: the model's.
    list(RunRequest(slide, toy_bundle, out, None, None, None, Preferences()).events())
    assert asked["settings"].gate
    assert asked["settings"].gate_threshold is None
    assert asked["settings"].tissue is not None
