from __future__ import annotations

from hypothesis import given, strategies as st

from napari_wsss.plugin.common.strip import Strip


def test_answers_go_on_by_themselves() -> None:
    strip = Strip.of("abcd")
    assert strip.current == "a"
    answered: set[str] = set()
    for tile in "abcd":
        assert strip.current == tile
        answered.add(tile)
        strip = strip.marked(answered.__contains__).advance()
    assert strip.current is None
    assert strip.is_done
    assert strip.open_tiles == ()


def test_advance_goes_round_to_what_was_left_out() -> None:
    strip = Strip.of("abc").go(2).marked("c".__contains__).advance()
    assert strip.current == "a"


def test_an_undo_asks_again() -> None:
    strip = Strip.of("ab").marked("ab".__contains__).advance()
    assert strip.current is None
    strip = strip.marked("b".__contains__)
    assert strip.open_tiles == ("a",)
    assert strip.go(0).current == "a"


@given(st.integers(0, 12), st.lists(st.integers(-3, 3), max_size=20))
def test_steps_stay_on_the_strip(length: int, steps: list[int]) -> None:
    strip = Strip.of(range(length))
    for by in steps:
        strip = strip.step(by)
        assert (strip.current is not None) == (length > 0)
    assert strip.step(-99).current == (0 if length else None)
    assert strip.step(99).current == (length - 1 if length else None)
    assert Strip.of(range(length)).go(length) == Strip.of(range(length))
