"""While somebody moves in a slide, calls are made in threads with a lower priority; else in the one that asks."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from napari_wsss.backends.courtesy import MOST, MOVING_SECONDS, STEPS, Hand, StepBack

linux = pytest.mark.skipif(sys.platform != "linux", reason="priorities belong to threads on Linux only")


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def hand(watch: Watch) -> Hand:
    return Hand(watch)


@pytest.fixture
def step_back(hand: Hand) -> Iterator[StepBack]:
    made = StepBack(2, hand)
    made(int)  # from now on it knows how long a call takes
    yield made
    made._behind.shutdown()


def test_a_hand_moves_for_a_moment_after_each_move(watch: Watch, hand: Hand) -> None:
    assert not hand.is_moving
    hand.note()
    assert hand.is_moving
    watch.seconds += MOVING_SECONDS * 0.9
    hand.note("an event of a camera")
    watch.seconds += MOVING_SECONDS * 0.9
    assert hand.is_moving
    watch.seconds += MOVING_SECONDS * 0.2
    assert not hand.is_moving


def test_while_nobody_moves_no_thread_is_needed(step_back: StepBack) -> None:
    before = set(threading.enumerate())
    assert step_back(threading.get_ident) == threading.get_ident()
    assert set(threading.enumerate()) == before


@linux
def test_while_somebody_moves_calls_take_what_is_left_of_the_cores(hand: Hand, step_back: StepBack) -> None:
    def where() -> tuple[int, int]:
        return threading.get_ident(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    here = where()
    hand.note()
    behind = step_back(where)
    assert behind[0] != here[0]
    assert behind[1] == min(19, here[1] + STEPS)
    assert where() == here  # this thread is as it was


def test_the_first_call_of_all_is_made_here(hand: Hand) -> None:
    hand.note()
    assert StepBack(1, hand)(threading.get_ident) == threading.get_ident()


def test_errors_come_through(hand: Hand, step_back: StepBack) -> None:
    hand.note()
    with pytest.raises(ValueError, match="invalid literal"):
        step_back(int, "no number")
    assert step_back(int, "5") == 5


@linux
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.5, 1.0, 7.0, 9.0, 100.0])), max_size=30))
def test_a_starved_thread_gets_no_two_calls_in_a_row(calls: list[tuple[bool, float]]) -> None:
    watch = Watch()
    hand = Hand(watch)
    step_back = StepBack(1, hand, watch)

    def work(seconds: float) -> int:
        watch.seconds += seconds
        return threading.get_ident()

    here, usual, starved = threading.get_ident(), 0.0, False
    try:
        for moves, seconds in calls:
            watch.seconds += 2 * MOVING_SECONDS
            if moves:
                hand.note()
            was_here = step_back(work, seconds) == here
            assert was_here == (not moves or usual == 0 or starved)
            if was_here:
                usual, starved = seconds, False
            else:
                starved = seconds > MOST * usual
    finally:
        step_back._behind.shutdown()
