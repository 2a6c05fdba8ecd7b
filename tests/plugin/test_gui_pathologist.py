"""A whole afternoon of a pathologist, with real clicks and keys, on two real slides; see the script."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.shared]

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "pathologist.py"


def test_an_afternoon(
    make_napari_viewer: Callable[..., Any], shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open two slides, look at tissue, view then whole, keep both, switch, reopen, correct, measure, report, queue."""
    from napari_wsss.plugin.common.preferences import Preferences

    monkeypatch.setattr("napari_wsss.plugin.segment.choices.load_preferences", Preferences)
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.save_preferences", lambda preferences: None)
    spec = importlib.util.spec_from_file_location("pathologist", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    slides = [shared_dir / "slides" / name for name in ("cmu-1-small-region.svs", "slide_with_ink.jpeg")]
    person = script.Pathologist(
        lambda: make_napari_viewer(show=True), slides, tmp_path, tmp_path / "pictures"
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*shown in pixels")
        person.play()
    assert len(list((tmp_path / "pictures").glob("*.png"))) >= 18
