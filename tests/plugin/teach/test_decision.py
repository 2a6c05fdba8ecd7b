from __future__ import annotations

from hypothesis import given, strategies as st

from napari_wsss.plugin.teach.decision import decide, gesture_of, in_order

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


@given(held)
def test_names_come_in_the_order_of_the_schema(held: frozenset[str]) -> None:
    assert in_order(held, NAMES) == [n for n in NAMES if n in held]
