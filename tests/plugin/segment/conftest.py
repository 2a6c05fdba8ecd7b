"""The presenter on a toy model, without a window."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from napari_wsss.models import Bundle
from napari_wsss.plugin.common import Preferences
from napari_wsss.plugin.segment.session import SegmentSession


@pytest.fixture
def viewer() -> Any:
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def make_session(
    viewer: Any, toy_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, toy: Any
) -> Callable[..., SegmentSession]:
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.load_preferences", Preferences)
    monkeypatch.setattr("napari_wsss.plugin.segment.choices.save_preferences", lambda preferences: None)

    def make(delay: float = 0.0, pause: Any = None, **options: Any) -> SegmentSession:
        events = partial(toy.events, predictor=toy.Predictor(delay, pause))
        session = SegmentSession(viewer, **{"events": events, **options})
        session.bundle, session.bundle_problem = toy_bundle, ""
        session.set_preferences(skip_background=False)
        return session

    return make
