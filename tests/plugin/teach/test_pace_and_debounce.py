from __future__ import annotations

from hypothesis import given, strategies as st

from napari_wsss.plugin.teach.debounce import Debouncer
from napari_wsss.plugin.teach.pace import LONGEST_THOUGHT, minutes_spent


def test_a_pause_counts_as_one_long_thought() -> None:
    assert minutes_spent([]) == 0
    assert minutes_spent([5.0, 2.0, 8.0]) == 0.1
    assert minutes_spent([0.0, 3.0, 10_000.0, 10_003.0]) == (6 + LONGEST_THOUGHT) / 60


@given(st.lists(st.floats(0, 1e6), max_size=30), st.floats(0, 1e6))
def test_another_decision_never_takes_time_away(times: list[float], more: float) -> None:
    assert minutes_spent([*times, more]) >= minutes_spent(times) - 1e-9
    assert minutes_spent(times) <= len(times) * LONGEST_THOUGHT / 60


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_work_waits_for_a_pause_but_not_for_ever() -> None:
    clock = Clock()
    debouncer = Debouncer(0.2, 1.0, clock)
    assert not debouncer.take()
    debouncer.wish()
    assert not debouncer.take()
    clock.now = 0.19
    debouncer.wish()
    clock.now = 0.3
    assert not debouncer.take()
    clock.now = 0.4
    assert debouncer.take()
    assert debouncer.done()
    for step in range(10):
        debouncer.wish()
        clock.now = 0.4 + 0.1 * step
        assert not debouncer.take()
        clock.now += 0.05
    clock.now = 1.5
    assert debouncer.take(), "clicking without a pause would never show a map"


def test_one_at_a_time_and_stale_results_are_known() -> None:
    clock = Clock()
    debouncer = Debouncer(0.2, 1.0, clock)
    debouncer.wish(at_once=True)
    assert debouncer.take()
    debouncer.wish()
    clock.now = 10
    assert not debouncer.take(), "two fits at once"
    assert debouncer.is_stale
    assert not debouncer.done(), "a stale result was taken for fresh"
    assert debouncer.take()
    assert debouncer.done()
    assert not debouncer.take()


def test_nothing_is_left_of_a_closed_project() -> None:
    clock = Clock()
    debouncer = Debouncer(0.0, 0.0, clock)
    debouncer.wish()
    assert debouncer.take()
    debouncer.forget()
    assert not debouncer.take()
    assert not debouncer.done()
    debouncer.wish()
    assert debouncer.take(), "work of the closed project still counts"
