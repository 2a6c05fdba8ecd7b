from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from napari_wsss.plugin.teach.decision import decide, gesture_of
from napari_wsss.plugin.teach.words import next_words

NAMES = ("tumour", "stroma", "necrosis")
held = st.frozensets(st.sampled_from(NAMES))
name = st.sampled_from(NAMES)


@given(held, name)
def test_gestures(held: frozenset[str], name: str) -> None:
    assert decide(held, name, "add") == held | {name}
    assert decide(held, name, "only") == {name}
    assert decide(held, name, "remove") == held - {name}


def test_a_key_adds_to_one_tile_and_is_alone_in_many() -> None:
    assert gesture_of(shift=False, control=False, several=False) == "add"
    assert gesture_of(shift=False, control=False, several=True) == "only"
    assert gesture_of(shift=False, control=True, several=True) == "add"
    assert {gesture_of(shift=True, control=c, several=s) for c in (False, True) for s in (False, True)} == {
        "remove"
    }


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"slides": 0}, "add a slide"),
        ({"prepared": False}, "press Prepare"),
        ({"prepared": False, "preparing": True, "labels": 0}, "press the key of a class"),
        ({"labels": 0}, "press the key of a class"),
        ({"labels": 5}, "5 of the first 12"),
        ({"labels": 12}, "make a model"),
    ],
)
def test_what_to_do_next_is_always_said(state: dict[str, Any], said: str) -> None:
    usual = {"writable": True, "slides": 2, "prepared": True, "preparing": False, "labels": 5}
    assert said in next_words(**{**usual, **state})
    assert next_words(**{**usual, **state, "writable": False}) == ""
