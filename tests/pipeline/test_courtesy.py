"""While somebody moves in a slide, calls are made in threads with a lower priority; else in the one that asks."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, strategies as st

from napari_wsss.backends import courtesy
from napari_wsss.backends.courtesy import MOST, MOVING_SECONDS, SLOW_SECONDS, STEPS, Hand, StepBack

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
def behind() -> Iterator[ThreadPoolExecutor]:
    with courtesy._behind() as made:
        yield made


@pytest.fixture
def step_back(behind: ThreadPoolExecutor, hand: Hand) -> StepBack:
    made = StepBack(behind, hand)
    made(int)  # from now on it knows how long a call takes
    return made


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


def test_the_first_call_of_all_is_made_here(behind: ThreadPoolExecutor, hand: Hand) -> None:
    hand.note()
    assert StepBack(behind, hand)(threading.get_ident) == threading.get_ident()


def test_errors_come_through(hand: Hand, step_back: StepBack) -> None:
    hand.note()
    with pytest.raises(ValueError, match="invalid literal"):
        step_back(int, "no number")
    assert step_back(int, "5") == 5


@linux
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.01, 0.1, 0.5, 1.0, 7.0, 9.0, 100.0])), max_size=30)
)
def test_a_starved_thread_gets_no_two_calls_in_a_row(calls: list[tuple[bool, float]]) -> None:
    watch = Watch()
    hand = Hand(watch)
    behind = courtesy._behind()
    step_back = StepBack(behind, hand, watch)

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
                starved = seconds > max(MOST * usual, SLOW_SECONDS)
    finally:
        behind.shutdown()


@linux
@pytest.mark.parametrize("cores", [1, 2, 3, 8])
def test_runs_beside_each_other_take_half_the_cores_and_each_gets_its_turn(
    cores: int, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    most, at_work, lock = max(1, cores // 2), list[int](), threading.Lock()
    full, seen = threading.Event(), set[int]()

    def tile(run: int) -> None:
        with lock:
            at_work.append(run)
            seen.add(len(at_work))
            if len(at_work) == most:
                full.set()
        assert full.wait(60)  # as many as may are at work at the same time
        with lock:
            at_work.remove(run)

    def go(run: int, step_back: StepBack) -> None:
        for _ in range(5):
            step_back(tile, run)

    with courtesy._behind() as behind, ThreadPoolExecutor(2 * most) as callers:
        runs = [StepBack(behind, hand) for _ in range(2)]
        for step_back in runs:
            step_back(int)
        hand.note()
        going = [callers.submit(go, k % 2, runs[k % 2]) for k in range(2 * most)]
        for each in going:
            each.result(60)  # nobody waits for ever
        assert len(behind._threads) == behind._max_workers == most
    assert max(seen) == most


def test_the_networks_of_a_process_share_what_is_behind() -> None:
    assert StepBack()._behind is StepBack()._behind
