"""Stepping back while somebody moves in a slide: networks then compute in threads that take what the viewer leaves.

A pause would cost pace on machines that have cores enough for both; a lower priority costs it only where both want the
same core.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

__all__ = ["HAND", "Hand", "StepBack", "lower_priority"]

P = ParamSpec("P")
T = TypeVar("T")

PRIORITIES = sys.platform == "linux"
"""Whether priorities belong to threads, and new threads inherit them.

Elsewhere they belong to whole processes (macOS) or are not inherited (Windows).
"""

MOVING_SECONDS = 0.3
"""So long after a move the next one is expected."""

STEPS = 10
"""By how much the priority is lowered: of a core that the viewer wants as well, a thirtieth is left."""

MOST = 8
"""How many times as long as usual a call may take before the next one is made with the usual priority."""

SLOW_SECONDS = 0.5
"""What a call may take in any case: drawing takes most of two cores, and is no busy machine."""


class Hand:
    """Knows whether somebody moves in a slide.

    Parameters
    ----------
    clock : callable
        Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = float("-inf")

    def note(self, _event: object = None) -> None:
        """Take note of a move (also a slot for the events of a camera)."""
        self._last = self._clock()

    @property
    def is_moving(self) -> bool:
        """Whether the last move was a moment ago."""
        return self._clock() - self._last < MOVING_SECONDS


HAND = Hand()
"""Of this process: a viewer notes the moves, and networks step back, whichever run they work for."""


def lower_priority(steps: int) -> None:
    """Let other threads have the core first, where this thread and they want the same one (on Linux)."""
    if PRIORITIES:
        thread = threading.get_native_id()
        with suppress(OSError):  # where a sandbox forbids it, the work is done all the same
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + steps)


def _behind() -> ThreadPoolExecutor:
    """Return half as many threads as there are cores, with a lower priority; none is started before it is needed."""
    return ThreadPoolExecutor(
        max(1, (os.cpu_count() or 2) // 2),
        thread_name_prefix="openvino-behind",
        initializer=lower_priority,
        initargs=(STEPS,),
    )


BEHIND = _behind()
"""Of this process, whichever runs there are: a run and a queue beside each other take no more cores than one run."""


class StepBack:
    """Calls functions in the thread that asks, and while somebody moves in a slide in one with a lower priority.

    Only for what leaves the GIL alone for nearly all of its time: a thread further back that held it would let the
    viewer wait.

    A thread may not raise its priority again, hence others. There are half as many as cores, for all runs together, and
    calls take them in the order in which they were made. On a machine that other programs keep busy they get next to
    nothing; so a call there that took ``MOST`` times as long as one here, and longer than ``SLOW_SECONDS``, is followed
    by one here. Where threads have no priorities of their own, all calls are made here.

    Parameters
    ----------
    behind : Executor
        Its threads have the lower priority.
    hand : Hand
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        behind: Executor = BEHIND,
        hand: Hand = HAND,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._behind = behind
        self._hand = hand
        self._clock = clock
        self._usual = 0.0  # seconds of the last call here; 0 before the first
        self._too_slow = False

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function and return what it returns, or raise what it raises."""
        started = self._clock()
        # Threads that write these two at once only blur which call is made where.
        if not (PRIORITIES and self._hand.is_moving and self._usual > 0 and not self._too_slow):
            value = function(*args, **kwargs)
            self._usual, self._too_slow = self._clock() - started, False
            return value
        value = self._behind.submit(function, *args, **kwargs).result()
        self._too_slow = self._clock() - started > max(MOST * self._usual, SLOW_SECONDS)
        return value
